package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

type tablesOptions struct {
	clientOptions
	limit int
	flush flushOptions // which flush is thought of
}

func newTables(env *Env) *cobra.Command {
	var o tablesOptions
	cmd := &cobra.Command{
		Use:   "tables [TABLE]",
		Short: "Show what tables take up, hot and cold, and what a flush would move now",
		Long: `Show registered tables: what they take up in PostgreSQL, what in files, and about how much space that saves. bytes_saved is
an estimate: what the cold rows took up in the table, going by its last flush, less what their files take up.

With a TABLE, also of one that was never flushed, it shows what a flush would move now, as EXPLAIN FLUSH TABLE estimates it from
PostgreSQL's statistics: no row is read. --where, --older-than and --with say which flush.`,
		Example: `  spillway tables
  spillway tables app.events
  spillway tables app.events --older-than '30 days' --age-column created_at -o json`,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) > 1 {
				return &fail.Usage{Msg: fmt.Sprintf("%s: unexpected argument %q", cmd.CommandPath(), given[1]), Todo: "usage: " + cmd.UseLine()}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error { return runTables(cmd, env, &o, given) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.IntVar(&o.limit, "limit", 100, "at most so many tables, the largest in PostgreSQL first")
	f.StringVar(&o.flush.where, "where", "", "with a TABLE: of a flush of rows that match this SQL condition")
	f.StringVar(&o.flush.olderThan, "older-than", "", "with a TABLE: of a flush of rows older than this interval: '7 days'")
	f.StringVar(&o.flush.ageColumn, "age-column", "", "with --older-than: the column that tells a row's age")
	f.StringArrayVar(&o.flush.with, "with", nil, "with a TABLE: an option of that flush, name=value (may be repeated)")
	return cmd
}

func runTables(cmd *cobra.Command, env *Env, o *tablesOptions, given []string) error {
	if len(given) == 0 && (o.flush.where != "" || o.flush.olderThan != "" || len(o.flush.with) > 0) {
		return &fail.Usage{Msg: "--where, --older-than and --with are about the flush of one table, and none is named", Todo: "usage: " + cmd.UseLine()}
	}
	c, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	view, err := c.View(cmd.Context(), "tables")
	if err != nil {
		return err
	}
	out, _ := cmd.Flags().GetString("output")
	if len(given) == 0 {
		text := tablesQuery(view, "true", out != "json") + fmt.Sprintf(" ORDER BY t.bytes_hot DESC NULLS LAST, 1 LIMIT %d", max(0, o.limit))
		return c.Run(cmd.Context(), text, newSink(cmd, env))
	}
	statement, err := o.flush.statement(given)
	if err != nil {
		return err
	}
	return showTable(cmd.Context(), c, view, statement, out != "json", newSink(cmd, env))
}

// tableColumns are the columns of the list, and what they are in terms of system.tables. Those that are sizes print as such.
var tableColumns = []struct {
	name, expression string
	size             bool
}{
	{"table", "t.table_schema || '.' || t.table_name", false},
	{"bytes_hot", "t.bytes_hot", true},
	{"rows_cold", "t.rows_cold", false},
	{"bytes_cold", "t.bytes_cold", true},
	{"segments", "t.segments", false},
	// What the last flush made free, per row: given back to the system, or left in the table for new rows.
	{"bytes_saved", `CASE WHEN t.last_rows_flushed > 0 AND t.rows_cold > 0 AND t.last_bytes_hot_before - t.last_bytes_hot_after + t.last_bytes_dead > 0
		THEN (t.rows_cold::numeric * (t.last_bytes_hot_before - t.last_bytes_hot_after + t.last_bytes_dead) / t.last_rows_flushed - t.bytes_cold)::bigint END`, true},
	{"last_flush_at", "t.last_flush_at", false},
}

func tablesQuery(view, condition string, pretty bool) string {
	var list []string
	for _, c := range tableColumns {
		expression := c.expression
		if c.size && pretty {
			expression = "pg_catalog.pg_size_pretty((" + expression + ")::bigint)"
		}
		list = append(list, expression+` AS "`+c.name+`"`)
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + view + " AS t WHERE " + condition
}

// showTable shows one table, with what a flush would move now.
func showTable(ctx context.Context, c *sqlclient.Client, view, flush string, pretty bool, s show.Sink) error {
	plan, err := c.Rows(ctx, "EXPLAIN "+flush)
	if err != nil {
		return err
	}
	if len(plan) == 0 {
		return errors.New("the front-end explained nothing")
	}
	whole := sqlclient.Row{} // of the table itself: later rows are of its partitions
	for _, r := range plan {
		if _, twice := whole[r["property"]]; r["subject"] == plan[0]["subject"] && !twice {
			whole[r["property"]] = r["value"]
		}
		if r["property"] == "refusal" && whole["refusal"] == "" { // of a partition
			whole["refusal"] = r["value"]
		}
	}
	known, err := c.Rows(ctx, tablesQuery(view, "t.table_schema || '.' || t.table_name = "+sqlclient.Literal(plan[0]["subject"]), pretty))
	if err != nil {
		return err
	}
	row := sqlclient.Row{"table": plan[0]["subject"], "bytes_hot": whole["bytes"]} // of one that was never flushed
	if len(known) > 0 {
		row = known[0]
	} else if pretty && row["bytes_hot"] != "" {
		size, err := c.Rows(ctx, "SELECT pg_catalog.pg_size_pretty("+row["bytes_hot"]+"::bigint) AS s")
		if err != nil {
			return err
		}
		row["bytes_hot"] = size[0]["s"]
	}
	row["flush"], row["flush_rows"], row["flush_chunks"], row["flush_files"] = whole["outcome"], whole["rows"], whole["chunks"], whole["files"]
	row["why_not"] = whole["refusal"]
	if row["why_not"] == "" {
		row["why_not"] = whole["running_job"]
	}
	return printRow(s, row)
}

// printRow prints what showTable has found.
func printRow(s show.Sink, row sqlclient.Row) error {
	var cols []show.Column
	var values [][]byte
	add := func(name string, oid uint32) {
		cols = append(cols, show.Column{Name: name, OID: oid})
		var value []byte
		if text := row[name]; text != "" {
			value = []byte(text)
		}
		values = append(values, value)
	}
	for _, c := range tableColumns {
		oid := uint32(pgtype.Int8OID)
		if c.name == "table" || c.name == "last_flush_at" {
			oid = pgtype.TextOID
		}
		add(c.name, oid)
	}
	add("flush", pgtype.TextOID)
	for _, name := range []string{"flush_rows", "flush_chunks", "flush_files"} {
		add(name, pgtype.Int8OID)
	}
	add("why_not", pgtype.TextOID)
	if err := s.Begin(cols); err != nil {
		return err
	}
	if err := s.Row(values); err != nil {
		return err
	}
	return s.End("SELECT 1")
}
