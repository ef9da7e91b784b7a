package ledger_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

func ours(t *testing.T, db *pgtest.DB) int {
	t.Helper()
	return pgtest.Value[int](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname IN ('spillway', 'system')`)
}

func TestUninstall(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	db.Exec(t, `CREATE TABLE app.events (id int)`)
	for range 2 {
		must(t, l.Uninstall(t.Context(), &ledger.UninstallOptions{DryRun: true}))
	}
	if n := ours(t, db); n != 2 {
		t.Errorf("%d schemas after a dry run", n)
	}
	for range 2 {
		must(t, l.Uninstall(t.Context(), nil))
	}
	if n := ours(t, db); n != 0 {
		t.Errorf("%d schemas are left", n)
	}
	if !pgtest.Value[bool](t, db, `SELECT to_regclass('app.events') IS NOT NULL`) {
		t.Error("a table of the user is gone")
	}
	if _, _, err := l.History(t.Context(), "x"); !errors.Is(err, ledger.ErrNoLedger) {
		t.Errorf("read without a ledger: %v", err)
	}
	must(t, l.Migrate(t.Context()))
}

// Nothing of others goes without being asked for, and tables never.
func TestUninstallSparesOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sql string
		want      string // in the error; empty: none
		cascade   string // the same with Cascade
	}{
		{"a view", `CREATE VIEW app.mine AS SELECT job_id FROM system.jobs`, "view app.mine depends on view system.jobs", ""},
		{"a view on a view", `CREATE VIEW app.mine AS SELECT job_id FROM system.jobs; CREATE VIEW app.yours AS SELECT * FROM app.mine`, "view app.yours depends on view app.mine", ""},
		{"a foreign key", `CREATE TABLE app.t (j text REFERENCES spillway.job_history)`, "constraint t_j_fkey on table app.t depends on", ""},
		{"a column", `CREATE TABLE app.t (id int, j system.jobs)`, "column j of table app.t depends on type system.jobs", "would drop tables or columns of yours"},
		{"an only column", `CREATE TABLE app.t (j system.jobs)`, "column j of table app.t depends on type system.jobs", "would drop tables or columns of yours"},
		{"a table that inherits", `CREATE TABLE app.t () INHERITS (spillway.segments)`, "table app.t depends on table spillway.segments", "would drop tables or columns of yours"},
		{"a table in our schema", `CREATE TABLE spillway.users_own (id int)`, "table spillway.users_own depends on schema spillway", "holds objects that are not Spillway's"},
		{"the worker's table in our schema", `SET ROLE {worker}; CREATE TABLE system.users_own (id int)`, "table system.users_own depends on schema system", "holds objects that are not Spillway's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l, db, _ := migrated(t)
			db.Super(t, strings.ReplaceAll(c.sql, "{worker}", db.Worker))
			tables := `SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r' AND (c.relnamespace = 'app'::regnamespace OR c.relname = 'users_own')`
			before := pgtest.Value[int](t, db, tables)
			var de *ledger.DependentError
			if err := l.Uninstall(t.Context(), nil); !errors.As(err, &de) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("uninstall: %v", err)
			}
			err := l.Uninstall(t.Context(), &ledger.UninstallOptions{Cascade: true})
			if c.cascade == "" && err != nil || c.cascade != "" && (!errors.As(err, &de) || !strings.Contains(err.Error(), c.cascade)) {
				t.Errorf("with cascade: %v", err)
			}
			if n := pgtest.Value[int](t, db, tables); n != before {
				t.Errorf("tables of the user had %d columns, and have %d", before, n)
			}
			if n := ours(t, db); n != 2 && err != nil || n != 0 && err == nil {
				t.Errorf("%d schemas are left", n)
			}
		})
	}
}

func TestUninstallWhileInUse(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	cfg, err := pgx.ParseConfig(db.WorkerURL)
	must(t, err)
	cfg.RuntimeParams["application_name"] = "spillway"
	process, err := pgx.ConnectConfig(t.Context(), cfg)
	must(t, err)
	var used *ledger.InUseError
	if err := l.Uninstall(t.Context(), &ledger.UninstallOptions{AbandonJobs: true}); !errors.As(err, &used) || len(used.Processes) != 1 || used.Processes[0].Backend != int32(process.PgConn().PID()) {
		t.Errorf("in use: %v", err)
	}
	must(t, process.Close(t.Context()))

	job := "flush:app.events:" + uuid.NewString()
	_, err = l.ClaimTable(t.Context(), "app", "events", job)
	must(t, err)
	var live *ledger.LiveJobsError
	gone := func() error { // the server may need a moment to forget the process
		err := l.Uninstall(t.Context(), nil)
		for errors.As(err, &used) {
			err = l.Uninstall(t.Context(), nil)
		}
		return err
	}
	if err := gone(); !errors.As(err, &live) || !strings.Contains(err.Error(), job) {
		t.Errorf("with a live job: %v", err)
	}
	must(t, l.Uninstall(t.Context(), &ledger.UninstallOptions{AbandonJobs: true}))
}

// A schema system that is somebody else's is no obstacle.
func TestUninstallBesideForeignSystem(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	p := pool(t, db.WorkerURL)
	must(t, ledger.New(p, &ledger.Options{SystemSchema: "views"}).Migrate(t.Context()))
	db.Super(t, `CREATE SCHEMA system; CREATE TABLE system.theirs (id int)`)
	l := ledger.New(p, nil)
	schemas, foreign, err := l.Installed(t.Context())
	if err != nil || foreign == nil || foreign.Schema != "system" || len(schemas) != 1 {
		t.Errorf("found %v, foreign %v, %v", schemas, foreign, err)
	}
	// The views have another name, which has to be said.
	var de *ledger.DependentError
	if err := l.Uninstall(t.Context(), nil); !errors.As(err, &de) || !strings.Contains(err.Error(), "view views.jobs") {
		t.Errorf("with the wrong name: %v", err)
	}
	must(t, ledger.New(p, &ledger.Options{SystemSchema: "views"}).Uninstall(t.Context(), nil))
	if !pgtest.Value[bool](t, db, `SELECT to_regclass('system.theirs') IS NOT NULL AND to_regnamespace('spillway') IS NULL AND to_regnamespace('views') IS NULL`) {
		t.Error("the wrong things are gone")
	}
}
