package pgtest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestDatabaseRoles(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events (id bigint PRIMARY KEY)", "INSERT INTO app.events VALUES (1)")

	worker := db.Connect(t, db.WorkerURL)
	ctx := t.Context()
	if _, err := worker.Exec(ctx, "CREATE SCHEMA spillway"); err != nil {
		t.Errorf("the worker makes its schema: %v", err)
	}
	for _, denied := range []string{
		"SELECT * FROM app.events",
		"DELETE FROM app.events",
		"CREATE TABLE public.t ()",
		"CREATE DATABASE other",
		"CREATE ROLE other",
	} {
		if _, err := worker.Exec(ctx, denied); sqlState(err) != "42501" {
			t.Errorf("%s as the worker: %v, want insufficient privilege", denied, err)
		}
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*) FROM app.events"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestDatabasesAreDropped(t *testing.T) {
	t.Parallel()
	var gone *pgtest.DB
	t.Run("inner", func(t *testing.T) {
		gone = pgtest.Database(t)
		gone.Connect(t, gone.OwnerURL) // FORCE deals with it if it is still open
	})
	db := pgtest.Database(t)
	query := "SELECT count(*) FROM pg_database WHERE datname = $1"
	if n := pgtest.Value[int](t, db, query, gone.Name); n != 0 {
		t.Error("the database is still there")
	}
	query = "SELECT count(*) FROM pg_roles WHERE rolname IN ($1, $2)"
	if n := pgtest.Value[int](t, db, query, gone.Owner, gone.Worker); n != 0 {
		t.Error("the roles are still there")
	}
}

// recorder notes failures instead of failing.
type recorder struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Helper()               {}
func (r *recorder) Cleanup(f func())      { r.cleanups = append(r.cleanups, f) }

func (r *recorder) finish() {
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
}

func TestOpenTransactionFails(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"spillway:job:1": true, "psql": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := &recorder{TB: t}
			db := pgtest.Database(rec)
			cfg, err := pgx.ParseConfig(db.WorkerURL)
			if err != nil {
				t.Fatal(err)
			}
			cfg.RuntimeParams["application_name"] = name
			conn, err := pgx.ConnectConfig(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
				t.Fatal(err)
			}
			rec.finish()
			if rec.failed != want {
				t.Errorf("failed = %v, want %v", rec.failed, want)
			}
		})
	}
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
