package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// Bounds of what counts as a clock that runs right: a skew within the first is nobody's trouble.
const (
	clockFine = 2 * time.Second
	clockBad  = time.Minute
)

// examineDatabase looks at the database, and from there at the storage that its ledger names.
func (d *doctor) examineDatabase(ctx context.Context) {
	databaseURL := d.o.DatabaseURL
	if databaseURL == "" && d.up != nil {
		databaseURL = d.up.WorkerURL
	}
	if databaseURL == "" {
		if d.o.Storage != "" {
			d.examineStorage(ctx, d.o.Storage, nil)
		}
		return
	}
	db, err := hot.Open(ctx, databaseURL, nil)
	if err != nil {
		d.failed("database", err)
		if d.o.Storage != "" {
			d.examineStorage(ctx, d.o.Storage, nil)
		}
		return
	}
	defer db.Close()
	cfg := db.Pool().Config().ConnConfig
	d.ok("database", "PostgreSQL %s at %s, database %s, role %s", db.ServerVersion(), cfg.Host, cfg.Database, cfg.User)
	d.examineServer(ctx, db)
	l := ledger.New(db.Pool(), &ledger.Options{Schema: d.o.LedgerSchema, SystemSchema: d.o.SystemSchema})
	exists := d.examineLedger(ctx, db)
	if exists {
		d.examineTables(ctx, db, l)
		rows, err := l.Storages(ctx)
		if err != nil {
			d.failed("storage", err)
			return
		}
		if len(rows) > 0 {
			d.examineStorages(ctx, rows, l)
			return
		}
	}
	switch {
	case d.o.Storage == "":
		d.ok("storage", "none yet; `spillway up` makes one in its data directory unless --storage names another")
	case exists:
		d.examineStorage(ctx, d.o.Storage, l)
	default:
		d.examineStorage(ctx, d.o.Storage, nil)
	}
}

// examineStorages tries all that the ledger names. This machine needs what the workers have: keys, and a way there.
func (d *doctor) examineStorages(ctx context.Context, rows []ledger.StorageRow, l *ledger.Ledger) {
	for _, row := range rows {
		what := "storage"
		if !row.IsDefault {
			what += " " + row.Name
		}
		options, err := row.OptionMap()
		if err != nil {
			d.failed(what, err)
			continue
		}
		d.examinePlace(ctx, what, row.Location, options, l)
	}
}

// examineServer looks at settings that matter, and at the clocks.
func (d *doctor) examineServer(ctx context.Context, db *hot.DB) {
	if enc := db.Encoding(); enc == "SQL_ASCII" {
		d.warn("encoding", "text that is not UTF-8 fails its chunk; convert the database to UTF8", "SQL_ASCII")
	} else {
		d.ok("encoding", "%s", enc)
	}
	var super bool
	var fsync, autovacuum, commit string
	var now time.Time
	before := time.Now()
	err := db.Pool().QueryRow(ctx, `
		SELECT rolsuper, current_setting('fsync'), current_setting('autovacuum'), current_setting('synchronous_commit'), clock_timestamp()
		FROM pg_catalog.pg_roles WHERE rolname = current_user`).Scan(&super, &fsync, &autovacuum, &commit, &now)
	if err != nil {
		d.failed("settings", err)
		return
	}
	if super {
		d.warn("role", "use a role with only what `spillway grants` prints", "a superuser; the worker needs none")
	} else {
		d.ok("role", "no superuser")
	}
	switch {
	case fsync == "off":
		d.warn("settings", "set fsync = on: without it a crash of the server can bring moved rows back, or lose others", "fsync = off")
	case autovacuum == "off":
		d.warn("settings", "VACUUM the tables yourself after flushes: moved rows leave dead ones behind", "autovacuum = off")
	default:
		d.ok("settings", "fsync %s, autovacuum %s, synchronous_commit %s (raised to on where rows move)", fsync, autovacuum, commit)
	}
	d.examineClock(now, before, time.Now())
	switch reads, err := db.ReadsReplication(ctx); {
	case err != nil:
		d.failed("replication", err)
	case reads:
		d.ok("replication", "its lag can be read: FLUSH … WITH (max_replication_lag = …) works")
	default:
		d.ok("replication", "its lag cannot be read; for FLUSH … WITH (max_replication_lag = …) run what `spillway grants --monitor` prints")
	}
}

func (d *doctor) examineClock(server, before, after time.Time) {
	middle := before.Add(after.Sub(before) / 2)
	skew := server.Sub(middle).Round(10 * time.Millisecond)
	switch {
	case skew.Abs() > clockBad:
		d.fail("clocks", "let NTP set the clocks: times in file names and in system.jobs mean nothing otherwise", "the database is %s off this machine", skew)
	case skew.Abs() > clockFine+after.Sub(before):
		d.warn("clocks", "let NTP set the clocks", "the database is %s off this machine", skew)
	default:
		d.ok("clocks", "the database is %s off this machine", skew)
	}
}

// examineLedger reports whether there is a ledger to be read. It makes none.
func (d *doctor) examineLedger(ctx context.Context, db *hot.DB) bool {
	var owner, version string
	var mine, mayCreate bool
	err := db.Pool().QueryRow(ctx, `
		SELECT coalesce((SELECT pg_catalog.pg_get_userbyid(nspowner) FROM pg_catalog.pg_namespace WHERE nspname = $1), ''),
		       coalesce((SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = $1), false),
		       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')`, d.o.LedgerSchema).Scan(&owner, &mine, &mayCreate)
	grants := "let the owner of the database run what `spillway grants` prints"
	switch {
	case err != nil:
		d.failed("ledger", err)
		return false
	case owner == "" && mayCreate:
		d.ok("ledger", "not there yet; the first start makes it")
		return false
	case owner == "":
		d.fail("ledger", grants, "schema %q is missing, and this role may not create schemas", d.o.LedgerSchema)
		return false
	case !mine:
		d.fail("ledger", "connect as "+owner+", or "+grants, "schema %q belongs to role %s", d.o.LedgerSchema, owner)
		return false
	}
	var there bool
	if err := db.Pool().QueryRow(ctx, `SELECT pg_catalog.to_regclass(pg_catalog.format('%I.migrations', $1::text)) IS NOT NULL`, d.o.LedgerSchema).Scan(&there); err != nil {
		d.failed("ledger", err)
		return false
	}
	if !there {
		d.ok("ledger", "schema %q is there and empty; the first start fills it", d.o.LedgerSchema)
		return false
	}
	if err := db.Pool().QueryRow(ctx, "SELECT coalesce(max(version), 0)::text FROM "+parse.QuoteName(d.o.LedgerSchema)+".migrations").Scan(&version); err != nil {
		d.failed("ledger", err)
		return false
	}
	d.ok("ledger", "schema %q, version %s", d.o.LedgerSchema, version)
	return true
}

// examineTables asks for each registered table what FLUSH would ask.
func (d *doctor) examineTables(ctx context.Context, db *hot.DB, l *ledger.Ledger) {
	tables, err := l.RegisteredTables(ctx, "")
	if err != nil {
		d.failed("tables", err)
		return
	}
	for _, t := range tables {
		name := fmt.Sprintf("table %s.%s", t.Schema, t.Table)
		found, err := db.Inspect(ctx, db.Pool(), t.Schema, t.Table)
		if errors.Is(err, hot.ErrNoTable) {
			d.warn(name, "", "is gone; its cold rows are still registered")
			continue
		} else if err != nil {
			d.failed(name, err)
			continue
		}
		refusals := found.Refusals(hot.RefusalOptions{})
		for _, r := range refusals {
			d.fail(name, r.Hint, "%s", r.Msg)
		}
		if len(refusals) == 0 {
			d.ok(name, "can be flushed")
		}
	}
}

// examineStorage tries a storage that a flag names. A nil ledger has no identity yet.
func (d *doctor) examineStorage(ctx context.Context, flag string, l *ledger.Ledger) {
	location, options, err := objstore.SplitOptions(flag)
	if err != nil {
		d.failed("storage", err)
		return
	}
	d.examinePlace(ctx, "storage", location, options, l)
}

// examinePlace writes, reads and deletes an object, and looks whose storage it is.
func (d *doctor) examinePlace(ctx context.Context, what, location string, options map[string]string, l *ledger.Ledger) {
	store, err := objstore.OpenWith(ctx, location, options)
	if err == nil {
		err = objstore.Probe(ctx, store)
	}
	if err != nil {
		d.failed(what, err)
		return
	}
	d.ok(what, "%s can be written, read and deleted from", store.URL(""))
	found, err := objstore.ReadOwner(ctx, store)
	switch {
	case errors.Is(err, objstore.ErrNotExist):
		d.ok(what+" owner", "nobody yet; the first start claims it")
		return
	case err != nil:
		d.failed(what+" owner", err)
		return
	case l == nil:
		d.warn(what+" owner", "give this database a storage of its own, if this one belongs to another", "%s", found)
		return
	}
	ours, err := coldstore.OwnerOf(ctx, l)
	if err == nil {
		err = objstore.CheckOwner(ctx, store, ours)
	}
	if err != nil {
		d.failed(what+" owner", err)
		return
	}
	d.ok(what+" owner", "this database")
}
