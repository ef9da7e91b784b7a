package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
)

type grantsOptions struct {
	clientOptions
	databaseURL string
	tables      []string
	script      grants.Script
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
	f.StringVar(&o.script.Ledger, "ledger-schema", ledger.DefaultSchema, "schema of the ledger")
	f.StringVar(&o.script.System, "system-schema", ledger.DefaultSystemSchema, "schema of the views that people read")
	f.StringVar(&o.script.Role, "role", "spillway", "the worker's role")
	f.BoolVar(&o.script.Restore, "restore", false, "also what RESTORE needs: INSERT on the tables, and temporary tables")
	f.StringArrayVar(&o.script.Readers, "reader", nil, "a role that may read the views of the schema system (may be repeated)")
	f.BoolVar(&o.script.Monitor, "monitor", false, "let the worker read how far standbys are, which the option max_replication_lag of FLUSH needs")
	f.BoolVar(&o.script.Truncate, "truncate", false, "grant TRUNCATE on partitions, for WITH (whole_partition = truncate)")
	f.BoolVar(&o.script.Maintain, "maintain", false, "grant MAINTAIN, for the VACUUM after a flush (PostgreSQL 17 and newer)")
	f.BoolVar(&o.script.Operators, "operators", true, "make the role spillway_operator: its members may flush, restore and verify tables of others, clean up, and change storages")
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
	if o.script.Maintain && db.ServerVersionNum() < 170000 {
		return fail.Hint(fmt.Errorf("PostgreSQL %s has no right MAINTAIN", db.ServerVersion()), "before version 17 only owners may VACUUM: GRANT the owner's role to the worker's, or leave it to autovacuum")
	}
	if err := db.Pool().QueryRow(ctx, "SELECT current_database()").Scan(&o.script.Database); err != nil {
		return fmt.Errorf("look up the database: %w", err)
	}
	for _, name := range o.tables {
		t, err := grants.LookUp(ctx, db.Pool(), name)
		if err != nil {
			return err
		}
		o.script.Tables = append(o.script.Tables, t)
	}
	_, err = fmt.Fprint(env.Stdout, o.script.String())
	return err
}
