package command

import (
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/uninstall"
	"github.com/spillwaydb/spillway/internal/ledger"
)

func newUninstall(env *Env) *cobra.Command {
	var o uninstall.Options
	cmd := &cobra.Command{
		Use:   "uninstall --database-url URL",
		Short: "Remove the schemas spillway and system from a database",
		Long: `Remove the ledger and the system views from a database. Your tables stay as they are, and so do the files of segments: their
cold rows can be read for ever. Before the ledger goes, the manifest.json of each table is written anew: from then on it is the list
of the table's files. Run this on a machine that sees the storage, as the worker's role or a superuser.

It refuses while a process of Spillway is connected to the database, while jobs have not ended, and where a schema is not
Spillway's. Views of yours upon the system views are named; they go only with --cascade, tables never.

Schedules and the FlushScheduler stay in a Temporal of your own, which this does not reach: it prints the commands that remove them.`,
		Example: `  spillway uninstall --database-url postgres://spillway@db/app`,
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runUninstall(cmd, env, &o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.DatabaseURL, "database-url", "", "the database to remove them from")
	f.StringVar(&o.LedgerSchema, "ledger-schema", ledger.DefaultSchema, "schema of the ledger")
	f.StringVar(&o.SystemSchema, "system-schema", ledger.DefaultSystemSchema, "schema of the views that people read")
	f.BoolVar(&o.Yes, "yes", false, "do not ask")
	f.BoolVar(&o.Cascade, "cascade", false, "also drop views, functions and constraints that depend on Spillway's")
	f.BoolVar(&o.AbandonJobs, "abandon-jobs", false, "also if the ledger says that jobs have not ended")
	f.BoolVar(&o.KeepManifests, "keep-manifests", false, "do not write manifests; for storages that this machine does not see")
	return cmd
}

func runUninstall(cmd *cobra.Command, env *Env, o *uninstall.Options) error {
	if o.DatabaseURL == "" {
		return &fail.Usage{Msg: "uninstall: no database given", Todo: "give --database-url; a private PostgreSQL goes with its data directory"}
	}
	if !o.Yes && !env.Interactive {
		return &fail.Usage{Msg: "uninstall: there is no terminal to ask at", Todo: "--yes removes without asking"}
	}
	o.In, o.Err, o.Rows = env.Stdin, env.Stderr, newSink(cmd, env)
	return uninstall.Run(cmd.Context(), o)
}
