package uninstall

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/manifest"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// Options say what is removed and how, where the person is asked, and where it is told.
type Options struct {
	DatabaseURL   string
	LedgerSchema  string
	SystemSchema  string
	Yes           bool // do not ask
	Cascade       bool // also what depends on Spillway's schemas
	AbandonJobs   bool // also while the ledger says that jobs live
	KeepManifests bool // write none

	In   io.Reader // the answer
	Err  io.Writer // the question, and what happens
	Rows show.Sink // what stays
}

// Run removes Spillway from a database, if the person says yes.
func Run(ctx context.Context, o *Options) error {
	// One connection: any other one with our name is somebody who uses the ledger.
	db, err := hot.Open(ctx, o.DatabaseURL, &hot.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer db.Close()
	u := &remover{opt: o, db: db, ledger: ledger.New(db.Pool(), &ledger.Options{Schema: o.LedgerSchema, SystemSchema: o.SystemSchema})}
	return u.run(ctx)
}

// remover looks first, then asks, then acts.
type remover struct {
	opt    *Options
	db     *hot.DB
	ledger *ledger.Ledger
}

func (u *remover) say(format string, args ...any) {
	fmt.Fprintf(u.opt.Err, format+"\n", args...)
}

func (u *remover) run(ctx context.Context) error {
	schemas, foreign, err := u.ledger.Installed(ctx)
	if err != nil {
		return err
	}
	if foreign != nil {
		u.say("schema %q is not Spillway's and stays as it is: %s", foreign.Schema, foreign.Reason)
	}
	if len(schemas) == 0 {
		u.say("nothing to remove: the database has no schema %q and none %q", u.opt.LedgerSchema, u.opt.SystemSchema)
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
		return fail.Hint(err, "nothing was removed; --keep-manifests leaves the manifests as they are")
	}
	parts := u.temporalParts(ctx)
	if err := u.ledger.Uninstall(ctx, u.options(false)); err != nil {
		return err
	}
	u.say("removed: schema %s", strings.Join(schemas, ", schema "))
	u.tellTemporal(parts)
	return nil
}

func (u *remover) options(dry bool) *ledger.UninstallOptions {
	return &ledger.UninstallOptions{Cascade: u.opt.Cascade, AbandonJobs: u.opt.AbandonJobs, DryRun: dry}
}

// rehearse finds out whether it would work, and names what --cascade would take along.
func (u *remover) rehearse(ctx context.Context) error {
	if err := u.ledger.Uninstall(ctx, u.options(true)); err != nil || !u.opt.Cascade {
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
func (u *remover) seeStorages(ctx context.Context, left []ledger.Leftover) error {
	if u.opt.KeepManifests {
		return nil
	}
	for _, f := range left {
		dir, local := objstore.Path(f.Location)
		if !local {
			if _, _, err := coldstore.NewLedgerStores(u.ledger, nil).Store(ctx, f.Storage); err != nil {
				return fail.Hint(fmt.Errorf("the manifests cannot be written: %w", err),
					"run this where the workers' keys are, or give --keep-manifests: what jobs published last then is all that says which files count")
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, objstore.OwnerKey)); err == nil {
			continue
		}
		return fail.Hint(fmt.Errorf("the storage %s (%s) is not on this machine, so the manifests cannot be written", f.Storage, f.Location),
			"run this where the storage is, or give --keep-manifests: what jobs published last then is all that says which files count")
	}
	return nil
}

// tell says what stays.
func (u *remover) tell(left []ledger.Leftover) error {
	if len(left) == 0 {
		u.say("no segments were ever written")
		return nil
	}
	var files, rows, bytes int64
	err := u.opt.Rows.Begin([]show.Column{{Name: "table"}, {Name: "segments", OID: pgtype.Int8OID}, {Name: "rows", OID: pgtype.Int8OID}, {Name: "bytes", OID: pgtype.Int8OID}, {Name: "old_segments", OID: pgtype.Int8OID}, {Name: "manifest"}})
	if err != nil {
		return err
	}
	for _, f := range left {
		files, rows, bytes = files+f.Segments+f.OldSegments, rows+f.Rows, bytes+f.Bytes+f.OldBytes
		row := [][]byte{[]byte(f.Schema + "." + f.Table), number(f.Segments), number(f.Rows), number(f.Bytes), number(f.OldSegments), []byte(manifestOf(f))}
		if err := u.opt.Rows.Row(row); err != nil {
			return err
		}
	}
	if err := u.opt.Rows.End(""); err != nil {
		return err
	}
	u.say("%s files stay where they are: %s cold rows, %s. Each manifest lists the files of its table; to read them in DuckDB:", show.Groups(strconv.FormatInt(files, 10)),
		show.Groups(strconv.FormatInt(rows, 10)), show.Bytes(strconv.FormatInt(bytes, 10)))
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
	return "  SET VARIABLE files = (SELECT list(replace(url_decode(s.location), 'file://', '')) FROM (SELECT unnest(segments) AS s FROM read_json(" + sqlclient.Literal(manifest) + ")));\n" +
		"  SELECT count(*) FROM read_parquet(getvariable('files'), union_by_name = true);"
}

// confirm asks, unless --yes has answered.
func (u *remover) confirm(ctx context.Context, names string) (bool, error) {
	if u.opt.Yes {
		return true, nil
	}
	var database string
	if err := u.db.Pool().QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return false, fmt.Errorf("look up the database: %w", err)
	}
	fmt.Fprintf(u.opt.Err, "Remove the schemas %s from the database %s, for good? [y/N] ", names, database)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(u.opt.In).ReadString('\n') // no answer is a no
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
func (u *remover) publish(ctx context.Context, left []ledger.Leftover) error {
	if u.opt.KeepManifests || len(left) == 0 {
		return nil
	}
	manifests := manifest.New(u.ledger, coldstore.NewLedgerStores(u.ledger, nil), slog.New(slog.DiscardHandler))
	for _, t := range left {
		if err := manifests.Publish(ctx, t.Schema, t.Table); err != nil {
			return err
		}
	}
	return nil
}
