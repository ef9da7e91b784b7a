package sqlfront_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront"
)

func TestPredicateFunctions(t *testing.T) { // A52
	t.Parallel()
	w := newWorld(t, &sqlfront.Options{PredicateFunctions: []string{"app.stale(timestamp with time zone)", "app.random_one()", "events.lower(text)", "app.many(integer)", "app.to_text(integer)"}})
	w.Super(t, "CREATE SCHEMA events AUTHORIZATION "+w.Owner)
	w.Exec(t,
		"CREATE TABLE app.events (id bigint, n int, note text, at timestamptz)",
		"CREATE FUNCTION app.stale(timestamptz) RETURNS bool STABLE LANGUAGE sql AS $$ SELECT $1 < '2026-01-01 00:00:00+00' $$",
		"CREATE FUNCTION app.stale(text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION app.other(timestamptz) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION app.random_one() RETURNS bool VOLATILE LANGUAGE sql AS 'SELECT random() < 0.5'",
		"CREATE FUNCTION app.many(int) RETURNS SETOF bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION app.to_text(int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'x' $$",
		"CREATE OPERATOR app.~~> (rightarg = timestamptz, function = app.stale)",
		"CREATE FUNCTION events.lower(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'mine' $$",
	)
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	if err := exec(t, conn, "SET search_path = app, public"); err != nil {
		t.Fatal(err)
	}
	worker := w.Connect(t, w.SuperURL)
	if err := exec(t, worker, "SET search_path = ''"); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"stale(at) AND n > 1":         "(app.stale(at) AND (n > 1))",
		"NOT app.stale(events.at)":    "(NOT app.stale(at))",
		"events.lower(note) = 'mine'": "(events.lower(note) = 'mine'::text)",
		"to_text(n) = 'x'":            "(app.to_text(n) = 'x'::text)",
	} {
		if err := exec(t, conn, "FLUSH TABLE app.events WHERE "+sql); err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		where := w.jobs.last().Params["where"]
		w.jobs.endAll()
		if got := unguarded(where); got != want {
			t.Errorf("%s: %s", sql, got)
		}
		if err := exec(t, worker, "EXPLAIN SELECT 1 FROM app.events WHERE "+where); err != nil {
			t.Errorf("the worker cannot read %s: %v", where, err)
		}
	}
	for sql, says := range map[string]string{
		"app.stale(note)":          "not PostgreSQL's own",
		"app.other(at)":            "not PostgreSQL's own",
		"OPERATOR(app.~~>) at":     "not PostgreSQL's own",
		"app.random_one()":         "volatile",
		"app.many(n)":              "set-returning functions are not allowed",
		"pg_temp.stale(at)":        "does not exist",
		"app.stale(at, 1) IS NULL": "does not exist",
	} {
		if pe := pgError(t, exec(t, conn, "FLUSH TABLE app.events WHERE "+sql)); !strings.Contains(pe.Message, says) {
			t.Errorf("%s: %+v", sql, pe)
		}
	}
	// A cast is not a call: who makes the cast is not who is vouched for.
	w.Super(t, "CREATE TYPE app.t AS ENUM ('a')", "CREATE FUNCTION app.f(app.t) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'x' $$", "CREATE CAST (app.t AS text) WITH FUNCTION app.f(app.t)",
		"ALTER TABLE app.events ADD feel app.t")
	if pe := pgError(t, exec(t, conn, "FLUSH TABLE app.events WHERE feel::text = 'x'")); pe.Code != "0A000" {
		t.Errorf("%+v", pe)
	}
	if n := pgtest.Value[int](t, w.DB, "SELECT count(*) FROM pg_class WHERE relname LIKE 'spillway%'"); n != 0 {
		t.Errorf("%d views left", n)
	}
}
