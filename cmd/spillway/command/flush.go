package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

type flushOptions struct {
	clientOptions
	all, wait, local     bool
	in, where            string
	olderThan, ageColumn string
	with                 []string
	localOptions         localOptions
}

func newFlush(env *Env) *cobra.Command {
	var o flushOptions
	cmd := &cobra.Command{
		Use:   "flush TABLE | --all",
		Short: "Move rows of a table to Parquet files",
		Long: `Move rows of a table to Parquet files, through a running ` + "`spillway up`" + ` or front-end.

With --local the flush runs in this process: no Temporal and no server is needed, and the command ends when the flush does. It
connects as the worker's role (--database-url) and writes to --storage. Ctrl-C cancels it, a second Ctrl-C ends it at once. A flush
that was cut off, by kill -9 for example, loses no row: the next one closes it and goes on.`,
		Example: `  spillway flush app.events --wait
  spillway flush app.events --older-than '7 days' --age-column created_at
  spillway flush app.events --where "created_at < '2025-01-01'"
  spillway flush app.events --with 'partition_by=(kind, month(created_at))' --with storage=archive
  spillway flush --all --in app
  spillway flush app.events --local --database-url postgres://spillway@db/app --storage /srv/cold`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, given []string) error { return runFlush(cmd, env, &o, given) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "flush every registered table")
	f.StringVar(&o.in, "in", "", "with --all: only tables of this schema")
	f.StringVar(&o.where, "where", "", "only rows that match this SQL condition")
	f.StringVar(&o.olderThan, "older-than", "", "only rows older than this interval: '7 days'")
	f.StringVar(&o.ageColumn, "age-column", "", "with --older-than: the column that tells a row's age (default: the only one with a time)")
	f.StringArrayVar(&o.with, "with", nil, "an option of FLUSH, name=value; a list in parentheses (may be repeated)")
	f.BoolVar(&o.wait, "wait", false, "wait for the end, showing progress")
	f.BoolVar(&o.local, "local", false, "run the flush in this process, without Temporal, and wait for it")
	o.localOptions.flags(cmd)
	return cmd
}

func runFlush(cmd *cobra.Command, env *Env, o *flushOptions, given []string) error {
	statement, err := o.statement(given)
	if err != nil {
		return err
	}
	if o.local {
		return runLocal(cmd, env, &o.localOptions, statement)
	}
	return startJobs(cmd, env, &o.clientOptions, statement, o.wait)
}

// startJobs runs a statement that starts jobs and, if asked to, waits for their ends.
func startJobs(cmd *cobra.Command, env *Env, o *clientOptions, statement string, wait bool) error {
	c, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	c.OnNotice = func(n *pgconn.Notice) { sqlclient.PrintNotice(env.Stderr, n) }
	var started sqlclient.Collector
	answer := tee{&started}
	if !wait { // who waits sees how the jobs ended, not that they began
		answer = append(answer, newSink(cmd, env))
	}
	if err := c.Run(cmd.Context(), statement, answer); err != nil {
		return err
	}
	var ids []string
	var failed []error
	for _, row := range started.Rows {
		if row["error"] != "" {
			failed = append(failed, fmt.Errorf("%s: %s", row["target"], row["error"]))
		}
		if row["job_id"] != "" {
			ids = append(ids, row["job_id"])
		}
	}
	if wait {
		failed = append(failed, waitJobs(cmd, env, c, ids, progress.Follow))
	}
	return errors.Join(failed...)
}

// statement renders the FLUSH that the flags and arguments ask for.
func (o *flushOptions) statement(given []string) (string, error) {
	switch {
	case o.local && o.all:
		return "", fail.Usagef("flush: --local takes one table, not --all")
	case !o.local && o.localOptions.takeOver:
		return "", fail.Usagef("flush: --take-over goes with --local")
	case o.all && len(given) > 0:
		return "", fail.Usagef("flush: give either a table or --all, not both")
	case o.all && o.where != "":
		return "", fail.Usagef("flush: --where goes with one table, not with --all")
	case o.all && o.olderThan != "":
		return "", fail.Usagef("flush: --older-than goes with one table, not with --all")
	case o.ageColumn != "" && o.olderThan == "":
		return "", fail.Usagef("flush: --age-column goes with --older-than")
	case !o.all && o.in != "":
		return "", fail.Usagef("flush: --in goes with --all")
	case !o.all && len(given) != 1:
		return "", &fail.Usage{Msg: "flush: expected one TABLE, or --all", Todo: "usage: spillway flush schema.table"}
	}
	var b strings.Builder
	if o.all {
		b.WriteString("FLUSH ALL TABLES")
		if o.in != "" {
			b.WriteString(" IN " + parse.QuoteName(o.in))
		}
	} else {
		b.WriteString("FLUSH TABLE " + given[0])
	}
	if o.olderThan != "" {
		b.WriteString(" OLDER THAN " + sqlclient.Literal(o.olderThan))
	}
	if o.ageColumn != "" {
		b.WriteString(" ON " + o.ageColumn)
	}
	with, err := withList("flush", o.with)
	if err != nil {
		return "", err
	}
	b.WriteString(with)
	if o.where != "" {
		b.WriteString(" WHERE " + o.where)
	}
	return b.String(), nil
}

// withList renders the WITH list that --with flags ask for, or "".
func withList(command string, given []string) (string, error) {
	var with []string
	for _, w := range given {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return "", fail.Usagef("%s: --with %s: expected name=value", command, w)
		}
		if value = strings.TrimSpace(value); !strings.HasPrefix(value, "(") { // a list is SQL as it stands
			value = sqlclient.Literal(value)
		}
		with = append(with, parse.QuoteName(strings.TrimSpace(name))+" = "+value)
	}
	if len(with) == 0 {
		return "", nil
	}
	return " WITH (" + strings.Join(with, ", ") + ")", nil
}

// waitJobs waits for the jobs, one after the other, and prints what became of each.
func waitJobs(cmd *cobra.Command, env *Env, c *sqlclient.Client, ids []string, wait progress.Waiter) error {
	if len(ids) == 0 {
		return nil
	}
	var bad []error
	for _, id := range ids {
		p := &progress.Meter{W: env.Stderr, Bar: env.Bar}
		if len(ids) > 1 {
			p.Label = targetOf(id) + ": "
		}
		row, err := wait(cmd.Context(), c, id, p)
		if err != nil {
			return err
		}
		if row["status"] != string(jobmanager.Completed) {
			bad = append(bad, jobError(row))
		}
	}
	quoted := make([]string, len(ids))
	for i, id := range ids {
		quoted[i] = sqlclient.Literal(id)
	}
	err := printJobs(cmd.Context(), c, newSink(cmd, env), "job_id IN ("+strings.Join(quoted, ", ")+")")
	return errors.Join(append(bad, err)...)
}

// targetOf is the table in a job's id, or the whole id of a job that has none.
func targetOf(id string) string {
	_, rest, _ := strings.Cut(id, ":")
	if i := strings.LastIndexByte(rest, ':'); i > 0 {
		return rest[:i]
	}
	return id
}

// jobError is the error of a job that did not complete.
func jobError(row sqlclient.Row) error {
	text := fmt.Sprintf("job %s %s", row["job_id"], row["status"])
	if row["error_class"] != "" {
		text += " (" + row["error_class"] + ")"
	}
	if row["error"] != "" {
		text += ": " + row["error"]
	}
	return errors.New(text)
}

// jobColumns are the columns of system.jobs that a person wants to see of a job.
var jobColumns = []string{
	"job_id", "status", "progress", "rows_flushed", "segments", "bytes_written", "created_at", "finished_at", "error",
}

// printJobs prints the jobs that match a condition, newest first.
func printJobs(ctx context.Context, c *sqlclient.Client, s show.Sink, condition string) error {
	view, err := c.View(ctx, "jobs")
	if err != nil {
		return err
	}
	return c.Run(ctx, "SELECT "+strings.Join(jobColumns, ", ")+" FROM "+view+" WHERE "+condition+" ORDER BY created_at DESC, job_id", s)
}

// tee hands every result to all of its sinks.
type tee []show.Sink

func (t tee) each(f func(show.Sink) error) error {
	for _, s := range t {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

func (t tee) Begin(cols []show.Column) error {
	return t.each(func(s show.Sink) error { return s.Begin(cols) })
}

func (t tee) Row(values [][]byte) error {
	return t.each(func(s show.Sink) error { return s.Row(values) })
}

func (t tee) End(tag string) error { return t.each(func(s show.Sink) error { return s.End(tag) }) }

// oneOf returns a condition that is true for these values of a column.
func oneOf(column string, values ...jobmanager.Status) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = sqlclient.Literal(string(v))
	}
	slices.Sort(quoted)
	return column + " IN (" + strings.Join(quoted, ", ") + ")"
}
