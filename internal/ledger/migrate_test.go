package ledger_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	p := pool(t, db.WorkerURL)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = ledger.New(p, nil).Migrate(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		must(t, err)
	}
	if n := pgtest.Value[int](t, db, `SELECT count(*) FROM spillway.migrations`); n != known(t)+1 {
		t.Errorf("%d rows of migrations, want the views and every version", n)
	}
	if n := pgtest.Value[int](t, db, `SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE relnamespace IN ('spillway'::regnamespace, 'system'::regnamespace) AND rolname <> '`+db.Worker+`'`); n != 0 {
		t.Errorf("%d relations are not the worker's", n)
	}
	missing := pgtest.Value[string](t, db, `
		SELECT coalesce(string_agg(c.relname || coalesce('.' || a.attname, ''), ', '), '')
		FROM pg_class c JOIN LATERAL (SELECT 0 AS attnum, NULL::name AS attname
			UNION ALL SELECT attnum, attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS a ON true
		LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum
		WHERE c.relnamespace = 'system'::regnamespace AND coalesce(d.description, '') = ''`)
	if missing != "" {
		t.Errorf("without a comment: %s", missing)
	}
	for _, view := range []string{"jobs", "segments", "tables", "workers"} {
		if !pgtest.Value[bool](t, db, `SELECT to_regclass('system.' || $1) IS NOT NULL`, view) {
			t.Errorf("there is no system.%s", view)
		}
	}
}

func TestMigrateWithoutCreate(t *testing.T) { // A52
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, fmt.Sprintf(`REVOKE CREATE ON DATABASE %s FROM %s`, db.Name, db.Worker))
	l := ledger.New(pool(t, db.WorkerURL), nil)
	var pe *ledger.PrivilegeError
	if err := l.Migrate(t.Context()); !errors.As(err, &pe) || pe.SQLState != "42501" || !strings.Contains(pe.Hint, "spillway grants") {
		t.Fatalf("migrate without CREATE: %v", err)
	}
	// A DBA makes the schemas for the role.
	db.Super(t, `CREATE SCHEMA spillway AUTHORIZATION `+db.Worker, `CREATE SCHEMA system AUTHORIZATION `+db.Worker)
	must(t, l.Migrate(t.Context()))
	must(t, l.Migrate(t.Context()))
	must(t, l.Uninstall(t.Context(), nil))
}

func TestMigrateForeignSchema(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, sql, schema, hint string }{
		{"system in use", `CREATE SCHEMA system; CREATE TABLE system.t (id int)`, "system", "Rename it"},
		{"ledger in use", `CREATE SCHEMA spillway; CREATE FUNCTION spillway.f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, "spillway", "Rename it"},
		{"in use, though ours", `CREATE SCHEMA system AUTHORIZATION {worker}; CREATE TYPE system.t AS ENUM ('a')`, "system", "Rename it"},
		{"another's, empty", `CREATE SCHEMA system`, "system", "ALTER SCHEMA"},
		{"another's, marked", `CREATE SCHEMA spillway; COMMENT ON SCHEMA spillway IS 'Spillway: the ledger'; CREATE TABLE spillway.t (id int)`, "spillway", "connect as"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t)
			db.Super(t, strings.ReplaceAll(c.sql, "{worker}", db.Worker))
			l := ledger.New(pool(t, db.WorkerURL), nil)
			for what, err := range map[string]error{"migrate": l.Migrate(t.Context()), "uninstall": l.Uninstall(t.Context(), nil)} {
				var fe *ledger.ForeignSchemaError
				if what == "uninstall" && strings.Contains(c.name, "empty") && err == nil {
					t.Error("uninstall dropped another's schema")
				}
				if !errors.Is(err, ledger.ErrForeignSchema) || !errors.As(err, &fe) || fe.Schema != c.schema || !strings.Contains(fe.Hint, c.hint) {
					t.Errorf("%s: %v (%+v)", what, err, fe)
				}
			}
			if n := pgtest.Value[int](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname IN ('spillway', 'system')`); n != 1 {
				t.Errorf("%d schemas, want the foreign one only", n)
			}
		})
	}
}

// known is the newest version of this build.
func known(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob("migrations/*.sql")
	must(t, err)
	return len(names)
}

func TestMigrateVersions(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	db.Super(t, `INSERT INTO spillway.migrations (version, checksum) VALUES (99, 'x')`)
	var ve *ledger.VersionError
	if err := l.Migrate(t.Context()); !errors.As(err, &ve) || ve.Found != 99 || ve.Known != known(t) {
		t.Errorf("newer ledger: %v", err)
	}
	db.Super(t, `DELETE FROM spillway.migrations WHERE version = 99; UPDATE spillway.migrations SET checksum = 'x' WHERE version = 1`)
	var ce *ledger.ChecksumError
	if err := l.Migrate(t.Context()); !errors.As(err, &ce) || ce.Version != 1 {
		t.Errorf("other text: %v", err)
	}
}

// Views that changed are replaced; what was granted on them and built upon them stays.
func TestMigrateReplacesViews(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	db.Super(t, `GRANT SELECT ON system.jobs TO `+db.Owner, `CREATE VIEW app.mine AS SELECT job_id FROM system.jobs`,
		`UPDATE spillway.migrations SET checksum = 'older' WHERE version = 0`)
	must(t, l.Migrate(t.Context()))
	if !pgtest.Value[bool](t, db, `SELECT has_table_privilege('`+db.Owner+`', 'system.jobs', 'SELECT') AND to_regclass('app.mine') IS NOT NULL`) {
		t.Error("the grant or the view upon it is gone")
	}
	if pgtest.Value[string](t, db, `SELECT checksum FROM spillway.migrations WHERE version = 0`) == "older" {
		t.Error("the views were not replaced")
	}
}

// Names may need quoting, and two ledgers may share a database.
func TestMigrateOtherNames(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	p := pool(t, db.WorkerURL)
	l := ledger.New(p, &ledger.Options{Schema: `The "ledger"`, SystemSchema: `the system`})
	must(t, l.Migrate(t.Context()))
	must(t, ledger.New(p, nil).Migrate(t.Context()))
	if _, err := l.Installation(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	must(t, l.Uninstall(t.Context(), nil))
	if got := pgtest.Value[string](t, db, `SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname ~ 'ledger|spillway|system'`); got != "spillway,system" {
		t.Errorf("schemas left: %s", got)
	}
}

func TestIdentity(t *testing.T) { // A58
	t.Parallel()
	l, db, _ := migrated(t)
	id, err := l.Identity(t.Context())
	must(t, err)
	if want := pgtest.Value[string](t, db, `SELECT system_identifier::text FROM pg_control_system()`); id.SystemIdentifier != want {
		t.Errorf("system identifier %q, want %q", id.SystemIdentifier, want)
	}
	if want := pgtest.Value[uint32](t, db, `SELECT oid FROM pg_database WHERE datname = current_database()`); id.DatabaseOID != want || id.Timeline != 1 {
		t.Errorf("%+v, want database %d, timeline 1", id, want)
	}
	// A provider may have taken the functions away.
	db.Super(t, `REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn() FROM PUBLIC`)
	id, err = l.Identity(t.Context())
	must(t, err)
	if id.SystemIdentifier != "" || id.Timeline != 1 {
		t.Errorf("without the right: %+v", id)
	}
	a, err := l.Installation(t.Context(), "")
	must(t, err)
	b, err := l.Installation(t.Context(), "other")
	must(t, err)
	if a != b || a.Name != db.Name || a.ID.String() == "00000000-0000-0000-0000-000000000000" {
		t.Errorf("installation %+v, then %+v", a, b)
	}
}
