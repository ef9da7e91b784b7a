package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

type grantsOptions struct {
	clientOptions
	databaseURL string
	tables      []string
	script      grantScript
}

func newGrants(env *Env) *cobra.Command {
	var o grantsOptions
	cmd := &cobra.Command{
		Use:   "grants --for TABLE…",
		Short: "Print the least-privilege script for the worker's role",
		Long: `Print the SQL that makes a role for the worker with what it needs and nothing more. It changes nothing itself: read it,
then run it as the tables' owner or a superuser. Run it again after adding tables or partitions.`,
		Example: `  spillway grants --for app.events --database-url postgres://admin@db/app | psql postgres://admin@db/app
  spillway grants --restore --for app.events --for app.clicks --database-url postgres://admin@db/app`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, more []string) error {
			o.tables = append(o.tables, more...)
			return runGrants(cmd.Context(), env, &o)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.tables, "for", nil, "the tables to flush, schema.table (may be repeated)")
	f.StringVar(&o.databaseURL, "database-url", "", "where to look up columns and partitions (default: through a running 'spillway up')")
	f.StringVar(&o.script.ledger, "ledger-schema", ledger.DefaultSchema, "schema of the ledger")
	f.StringVar(&o.script.system, "system-schema", ledger.DefaultSystemSchema, "schema of the views that people read")
	f.StringVar(&o.script.role, "role", "spillway", "the worker's role")
	f.BoolVar(&o.script.restore, "restore", false, "also what RESTORE needs: INSERT on the tables, and temporary tables")
	f.StringArrayVar(&o.script.readers, "reader", nil, "a role that may read the views of the schema system (may be repeated)")
	f.BoolVar(&o.script.monitor, "monitor", false, "let the worker read how far standbys are, which the option max_replication_lag of FLUSH needs")
	f.BoolVar(&o.script.truncate, "truncate", false, "grant TRUNCATE on partitions, for WITH (whole_partition = truncate)")
	f.BoolVar(&o.script.maintain, "maintain", false, "grant MAINTAIN, for the VACUUM after a flush (PostgreSQL 17 and newer)")
	f.BoolVar(&o.script.operators, "operators", true, "make the role spillway_operator: its members may flush, restore and verify tables of others, clean up, and change storages")
	return cmd
}

func runGrants(ctx context.Context, env *Env, o *grantsOptions) error {
	if len(o.tables) == 0 {
		return &fail.Usage{Msg: "grants: no table given", Todo: "usage: spillway grants --for schema.table"}
	}
	url := o.databaseURL
	if url == "" {
		url = o.sqlURL
	}
	if url == "" {
		up, err := datadir.FindUp(o.dataDir)
		if err != nil {
			return fail.Hint(err, "columns and partitions are looked up in the database: give --database-url")
		}
		url = up.SQLURL
	}
	db, err := hot.Open(ctx, url, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	if o.script.maintain && db.ServerVersionNum() < 170000 {
		return fail.Hint(fmt.Errorf("PostgreSQL %s has no right MAINTAIN", db.ServerVersion()), "before version 17 only owners may VACUUM: GRANT the owner's role to the worker's, or leave it to autovacuum")
	}
	if err := db.Pool().QueryRow(ctx, "SELECT current_database()").Scan(&o.script.database); err != nil {
		return fmt.Errorf("look up the database: %w", err)
	}
	for _, name := range o.tables {
		t, err := lookUpGrant(ctx, db.Pool(), name)
		if err != nil {
			return err
		}
		o.script.tables = append(o.script.tables, t)
	}
	_, err = fmt.Fprint(env.Stdout, o.script.String())
	return err
}

// grantTable is a table with what the script has to know about it. Names are quoted where they need it.
type grantTable struct {
	schema, name, column string
	partitions           []grantTable // the whole tree below, by partitioning or inheritance, leaves included
}

// lookUpGrant finds a table and the partitions below it.
func lookUpGrant(ctx context.Context, db hot.Querier, name string) (grantTable, error) {
	if !strings.Contains(name, ".") {
		return grantTable{}, fail.Usagef("grants: %q: expected schema.table", name)
	}
	// The column: the first of the primary key, or else the first of all.
	const query = `
		WITH RECURSIVE below(oid) AS (SELECT to_regclass($1)::oid UNION SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid)
		SELECT c.relname, n.nspname, coalesce((
			SELECT a.attname FROM pg_catalog.pg_attribute a
			LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = i.indkey[0]
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			ORDER BY i.indrelid IS NULL, a.attnum LIMIT 1), '')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid IN (SELECT oid FROM below) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
		ORDER BY c.oid <> to_regclass($1)::oid, n.nspname, c.relname`
	rows, err := db.Query(ctx, query, name)
	if err != nil {
		return grantTable{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (grantTable, error) {
		var t grantTable
		err := row.Scan(&t.name, &t.schema, &t.column)
		t.name, t.schema, t.column = parse.QuoteName(t.name), parse.QuoteName(t.schema), parse.QuoteName(t.column)
		return t, err
	})
	if err != nil {
		return grantTable{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	if len(found) == 0 {
		return grantTable{}, fail.Hint(fmt.Errorf("table %s does not exist", name), "names are spelled as in SQL: app.events, app.\"Odd Name\"")
	}
	t := found[0]
	t.partitions = found[1:]
	return t, nil
}

// grantScript is the script that `spillway grants` prints and `spillway up` runs in a private PostgreSQL.
type grantScript struct {
	role      string
	ledger    string // schema of the ledger; "" is the default
	system    string // schema of the views; the same
	database  string
	tables    []grantTable
	readers   []string
	operators bool
	monitor   bool
	truncate  bool // on partitions
	maintain  bool
	restore   bool // what RESTORE needs too
}

const operatorRole = "spillway_operator"

func (g *grantScript) String() string {
	role := parse.QuoteName(g.role)
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("-- Rights of Spillway's worker in the database %s. Run this as a superuser, or as a role with CREATEROLE that may create", parse.QuoteName(g.database))
	p("-- schemas here and owns the tables. It may be run again.")
	p("BEGIN;")
	p("")
	p("-- The role that the worker logs in as; set its password afterwards, in psql with \\password %s.", role)
	p("-- Who is no superuser must be its member to create schemas that it owns.")
	createRole(p, g.role, "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", true)
	p("")
	own, system := parse.QuoteName(cmp.Or(g.ledger, ledger.DefaultSchema)), parse.QuoteName(cmp.Or(g.system, ledger.DefaultSystemSchema))
	p("-- Its two schemas: %s, the ledger of what was moved, and %s, the views that people read.", own, system)
	p("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s;", own, role)
	p("CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s;", system, role)
	g.tableGrants(p, role)
	if g.monitor {
		p("-- How far standbys are, for flushes WITH (max_replication_lag = …). It shows the worker all sessions' statements too, and takes a")
		p("-- superuser, or a role that may grant it.")
		p("GRANT pg_read_all_stats TO %s;", role)
		p("")
	}
	g.readerGrants(p, role, system)
	p("COMMIT;")
	return b.String()
}

func createRole(p func(string, ...any), name, attributes string, member bool) {
	p("DO $$ BEGIN")
	p("    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN", sqlclient.Literal(name))
	p("        CREATE ROLE %s %s;", parse.QuoteName(name), attributes)
	p("    END IF;")
	if member {
		p("    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN")
		p("        GRANT %s TO CURRENT_USER;", parse.QuoteName(name))
		p("    END IF;")
	}
	p("END $$;")
}

func (g *grantScript) tableGrants(p func(string, ...any), role string) {
	if len(g.tables) == 0 {
		p("")
		return
	}
	p("")
	p("-- The tables to flush. SELECT and DELETE: rows are moved by DELETE … RETURNING. UPDATE on one column: rows that others")
	p("-- hold are stepped over by SELECT … FOR UPDATE SKIP LOCKED, which asks for that right; nothing is ever updated.")
	p("-- Partitions are moved one by one and need their own grants; run this again when new ones have come.")
	var schemas []string
	for _, t := range g.tables {
		for _, one := range append([]grantTable{t}, t.partitions...) {
			if !slices.Contains(schemas, one.schema) {
				schemas = append(schemas, one.schema)
				p("GRANT USAGE ON SCHEMA %s TO %s;", one.schema, role)
			}
		}
	}
	for _, t := range g.tables {
		grantTableTo(p, t, role)
		for _, leaf := range t.partitions {
			grantTableTo(p, leaf, role)
		}
		g.optionalGrants(p, t, role)
	}
	if g.restore {
		g.restoreGrants(p, role)
	}
	p("")
}

// restoreGrants: rows go back through the table itself, also where it has partitions.
func (g *grantScript) restoreGrants(p func(string, ...any), role string) {
	p("")
	p("-- RESTORE puts rows back: by COPY, or through a temporary table where some may stay cold (WHERE, on_conflict = skip).")
	for _, t := range g.tables {
		p("GRANT INSERT ON TABLE %s.%s TO %s;", t.schema, t.name, role)
	}
	p("GRANT TEMPORARY ON DATABASE %s TO %s;", parse.QuoteName(g.database), role)
}

func grantTableTo(p func(string, ...any), t grantTable, role string) {
	p("GRANT SELECT, DELETE ON TABLE %s.%s TO %s;", t.schema, t.name, role)
	if t.column != "" {
		p("GRANT UPDATE (%s) ON TABLE %s.%s TO %s;", t.column, t.schema, t.name, role)
	}
}

// optionalGrants are those that a flush can do without.
func (g *grantScript) optionalGrants(p func(string, ...any), t grantTable, role string) {
	for _, leaf := range t.partitions {
		if g.truncate {
			p("GRANT TRUNCATE ON TABLE %s.%s TO %s;", leaf.schema, leaf.name, role)
		}
	}
	for _, one := range append([]grantTable{t}, t.partitions...) {
		if g.maintain {
			p("GRANT MAINTAIN ON TABLE %s.%s TO %s;", one.schema, one.name, role)
		}
	}
}

func (g *grantScript) readerGrants(p func(string, ...any), role, system string) {
	readers := g.readers
	if g.operators {
		p("-- Members of this role may flush tables that they do not own, and kill any job: GRANT %s TO somebody;", operatorRole)
		createRole(p, operatorRole, "NOLOGIN", false)
		p("")
		readers = append([]string{operatorRole}, readers...)
	}
	if len(readers) == 0 {
		return
	}
	p("-- Who may read %[1]s.jobs and %[1]s.segments. The views themselves come when the worker first starts.", system)
	for _, r := range readers {
		r = parse.QuoteName(r)
		p("GRANT USAGE ON SCHEMA %s TO %s;", system, r)
		p("GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s;", system, r)
		p("ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA %s GRANT SELECT ON TABLES TO %s;", role, system, r)
	}
	p("")
}
