package command

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sharedDir is a temporary folder that other accounts may enter, because PostgreSQL does not run as root.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spillway-command-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// What a newcomer finds: a database of his own, and a worker that may flush what he creates and nothing else.
func TestPrivatePostgres(t *testing.T) {
	t.Parallel()
	dir := sharedDir(t)
	for range 2 { // the second start finds all as it was
		p, err := startPrivate(t.Context(), dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		user := dialPG(t, p.userURL)
		must(t, user, "CREATE TABLE IF NOT EXISTS notes (id int PRIMARY KEY, text text)", "INSERT INTO notes VALUES (1, 'a') ON CONFLICT DO NOTHING")
		var schema string
		if err := user.QueryRow(t.Context(), "SELECT relnamespace::regnamespace FROM pg_class WHERE relname = 'notes'").Scan(&schema); err != nil || schema != "app" {
			t.Errorf("a table without a schema lands in %q (%v), want app", schema, err)
		}
		must(t, user, "CREATE SCHEMA IF NOT EXISTS other", "CREATE TABLE IF NOT EXISTS other.t (id int)")

		worker := dialPG(t, p.workerURL)
		must(t, worker, "BEGIN; SELECT FROM app.notes FOR UPDATE SKIP LOCKED; DELETE FROM app.notes; INSERT INTO app.notes VALUES (2, 'b'); ROLLBACK", "SELECT FROM other.t")
		must(t, worker, "CREATE TABLE IF NOT EXISTS spillway.probe (id int)", "CREATE OR REPLACE VIEW system.probe AS SELECT 1 AS one")
		must(t, user, "SELECT one FROM system.probe")
		for _, forbidden := range []string{"TRUNCATE app.notes", "CREATE SCHEMA mine", "CREATE ROLE mine", "DROP TABLE app.notes"} {
			_, err := worker.Exec(t.Context(), forbidden)
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "42501" {
				t.Errorf("worker: %s: got %v, want 42501", forbidden, err)
			}
		}
		must(t, worker, "DROP VIEW system.probe")
		if err := p.server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(pgpassPath(dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("pgpass: %v, %v", info, err)
	}
}

func dialPG(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) }) // the server may have gone before
	return conn
}

func must(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	if err := execute(t.Context(), conn, statements...); err != nil {
		t.Fatal(err)
	}
}
