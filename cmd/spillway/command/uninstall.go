package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
)

type uninstallOptions struct {
	databaseURL   string
	ledgerSchema  string
	systemSchema  string
	yes           bool
	cascade       bool
	abandonJobs   bool
	keepManifests bool
}

func newUninstall(env *Env) *cobra.Command {
	var o uninstallOptions
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
	f.StringVar(&o.databaseURL, "database-url", "", "the database to remove them from")
	f.StringVar(&o.ledgerSchema, "ledger-schema", ledger.DefaultSchema, "schema of the ledger")
	f.StringVar(&o.systemSchema, "system-schema", ledger.DefaultSystemSchema, "schema of the views that people read")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.cascade, "cascade", false, "also drop views, functions and constraints that depend on Spillway's")
	f.BoolVar(&o.abandonJobs, "abandon-jobs", false, "also if the ledger says that jobs have not ended")
	f.BoolVar(&o.keepManifests, "keep-manifests", false, "do not write manifests; for storages that this machine does not see")
	return cmd
}

func runUninstall(cmd *cobra.Command, env *Env, o *uninstallOptions) error {
	if o.databaseURL == "" {
		return &usageError{msg: "uninstall: no database given", hint: "give --database-url; a private PostgreSQL goes with its data directory"}
	}
	if !o.yes && !env.Interactive {
		return &usageError{msg: "uninstall: there is no terminal to ask at", hint: "--yes removes without asking"}
	}
	ctx := cmd.Context()
	// One connection: any other one with our name is somebody who uses the ledger.
	db, err := hot.Open(ctx, o.databaseURL, &hot.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	u := &uninstaller{opt: o, env: env, db: db, out: newSink(cmd, env),
		ledger: ledger.New(db.Pool(), &ledger.Options{Schema: o.ledgerSchema, SystemSchema: o.systemSchema})}
	return u.run(ctx)
}

// uninstaller looks first, then asks, then acts.
type uninstaller struct {
	opt    *uninstallOptions
	env    *Env
	db     *hot.DB
	ledger *ledger.Ledger
	out    sink
}

func (u *uninstaller) say(format string, args ...any) {
	fmt.Fprintf(u.env.Stderr, format+"\n", args...)
}

func (u *uninstaller) run(ctx context.Context) error {
	schemas, foreign, err := u.ledger.Installed(ctx)
	if err != nil {
		return err
	}
	if foreign != nil {
		u.say("schema %q is not Spillway's and stays as it is: %s", foreign.Schema, foreign.Reason)
	}
	if len(schemas) == 0 {
		u.say("nothing to remove: the database has no schema %q and none %q", u.opt.ledgerSchema, u.opt.systemSchema)
		return nil
	}
	if err := u.rehearse(ctx); err != nil {
		return err
	}
	left, err := u.ledger.Leftovers(ctx)
	if err != nil && !errors.Is(err, ledger.ErrNoLedger) { // schemas may be there and empty
		return err
	}
	if err := u.seeStorages(ctx, left); err != nil {
		return err
	}
	if err := u.tell(left); err != nil {
		return err
	}
	names := strings.Join(schemas, " and ")
	if ok, err := u.confirm(ctx, names); err != nil || !ok {
		return err
	}
	if err := u.publish(ctx, left); err != nil {
		return hint(err, "nothing was removed; --keep-manifests leaves the manifests as they are")
	}
	parts := u.temporalParts(ctx)
	if err := u.ledger.Uninstall(ctx, u.options(false)); err != nil {
		return err
	}
	u.say("removed: schema %s", strings.Join(schemas, ", schema "))
	u.tellTemporal(parts)
	return nil
}

func (u *uninstaller) options(dry bool) *ledger.UninstallOptions {
	return &ledger.UninstallOptions{Cascade: u.opt.cascade, AbandonJobs: u.opt.abandonJobs, DryRun: dry}
}

// rehearse finds out whether it would work, and names what --cascade would take along.
func (u *uninstaller) rehearse(ctx context.Context) error {
	if err := u.ledger.Uninstall(ctx, u.options(true)); err != nil || !u.opt.cascade {
		return err
	}
	o := u.options(true)
	o.Cascade = false
	var more *ledger.DependentError
	if err := u.ledger.Uninstall(ctx, o); errors.As(err, &more) {
		u.say("--cascade also drops what depends on Spillway's:")
		for _, object := range more.Objects {
			u.say("  %s", object)
		}
	}
	return nil
}

// seeStorages makes sure that the manifests can be written. A storage that was never used by us is another machine's.
func (u *uninstaller) seeStorages(ctx context.Context, left []ledger.Leftover) error {
	if u.opt.keepManifests {
		return nil
	}
	for _, f := range left {
		dir, local := objstore.Path(f.Location)
		if !local {
			if _, _, err := coldstore.NewLedgerStores(u.ledger, nil).Store(ctx, f.Storage); err != nil {
				return hint(fmt.Errorf("the manifests cannot be written: %w", err),
					"run this where the workers' keys are, or give --keep-manifests: what jobs published last then is all that says which files count")
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, objstore.OwnerKey)); err == nil {
			continue
		}
		return hint(fmt.Errorf("the storage %s (%s) is not on this machine, so the manifests cannot be written", f.Storage, f.Location),
			"run this where the storage is, or give --keep-manifests: what jobs published last then is all that says which files count")
	}
	return nil
}

// tell says what stays.
func (u *uninstaller) tell(left []ledger.Leftover) error {
	if len(left) == 0 {
		u.say("no segments were ever written")
		return nil
	}
	var files, rows, bytes int64
	err := u.out.begin([]column{{name: "table"}, {"segments", pgtype.Int8OID}, {"rows", pgtype.Int8OID}, {"bytes", pgtype.Int8OID}, {"old_segments", pgtype.Int8OID}, {name: "manifest"}})
	if err != nil {
		return err
	}
	for _, f := range left {
		files, rows, bytes = files+f.Segments+f.OldSegments, rows+f.Rows, bytes+f.Bytes+f.OldBytes
		row := [][]byte{[]byte(f.Schema + "." + f.Table), number(f.Segments), number(f.Rows), number(f.Bytes), number(f.OldSegments), []byte(manifestOf(f))}
		if err := u.out.row(row); err != nil {
			return err
		}
	}
	if err := u.out.end(""); err != nil {
		return err
	}
	u.say("%s files stay where they are: %s cold rows, %s. Each manifest lists the files of its table; to read them in DuckDB:", groups(strconv.FormatInt(files, 10)),
		groups(strconv.FormatInt(rows, 10)), bytesText(strconv.FormatInt(bytes, 10)))
	u.say("%s", readManifest(manifestOf(left[0])))
	return nil
}

func number(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// manifestOf is where the manifest of a table is, in one storage.
func manifestOf(f ledger.Leftover) string {
	location := f.Location
	if dir, ok := objstore.Path(location); ok {
		location = dir
	}
	key, err := layout.ManifestKey(f.Schema, f.Table)
	if err != nil {
		return location
	}
	return strings.TrimSuffix(location, "/") + "/" + key
}

// readManifest is how DuckDB reads exactly the files that a manifest lists.
func readManifest(manifest string) string {
	return "  SET VARIABLE files = (SELECT list(replace(url_decode(s.location), 'file://', '')) FROM (SELECT unnest(segments) AS s FROM read_json(" + literal(manifest) + ")));\n" +
		"  SELECT count(*) FROM read_parquet(getvariable('files'), union_by_name = true);"
}

// confirm asks, unless --yes has answered.
func (u *uninstaller) confirm(ctx context.Context, names string) (bool, error) {
	if u.opt.yes {
		return true, nil
	}
	var database string
	if err := u.db.Pool().QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return false, fmt.Errorf("look up the database: %w", err)
	}
	fmt.Fprintf(u.env.Stderr, "Remove the schemas %s from the database %s, for good? [y/N] ", names, database)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(u.env.Stdin).ReadString('\n') // no answer is a no
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return true, nil
		}
	}
	u.say("nothing was removed")
	return false, nil
}

// publish writes the manifests a last time: a job that was killed has not.
func (u *uninstaller) publish(ctx context.Context, left []ledger.Leftover) error {
	if u.opt.keepManifests || len(left) == 0 {
		return nil
	}
	f, err := flush.New(flush.Deps{Hot: u.db, Ledger: u.ledger, Stores: coldstore.NewLedgerStores(u.ledger, nil), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	for _, t := range left {
		if err := f.PublishTable(ctx, t.Schema, t.Table); err != nil {
			return err
		}
	}
	return nil
}
