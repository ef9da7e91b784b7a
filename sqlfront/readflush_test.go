package sqlfront_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// ReadFlush asks for what the same statement asks for through the front-end, and refuses what that refuses.
func TestReadFlush(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t,
		`CREATE TABLE app.events (id int, at timestamptz, kind text, "odd name" int)`,
		`CREATE VIEW app.view AS SELECT 1 AS id`,
		`GRANT USAGE ON SCHEMA app TO `+w.Worker, `GRANT SELECT ON ALL TABLES IN SCHEMA app TO `+w.Worker,
		`CREATE FUNCTION app.mine(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'`)
	worker := w.Connect(t, w.WorkerURL).PgConn()
	front := w.through(t, w.OwnerURL, pgx.QueryExecModeSimpleProtocol)
	ctx := t.Context()
	for _, text := range []string{
		`FLUSH TABLE app.events`,
		`FLUSH TABLE app.events WITH (parallelism = 3, chunk_bytes = '1MB', wait = true) WHERE kind = 'x' AND "odd name" > 1;`,
		`flush table app.events where at < '2025-01-01 00:00+00'::timestamptz`,
		`FLUSH TABLE app.events WHERE at < date '2025-01-01' - interval '1 month' OR upper(kind) LIKE 'A%' -- enough`,
	} {
		got, err := sqlfront.ReadFlush(ctx, pgwire.Direct(worker), text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		w.jobs.endAll()
		if _, err := front.Exec(ctx, withoutWait(text)); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if want := w.jobs.last(); got.Canonical() != want.Canonical() {
			t.Errorf("%s\nasks for %s\nwant     %s", text, got.Canonical(), want.Canonical())
		}
		if got.RequestedBy != w.Worker || got.Statement == "" {
			t.Errorf("%+v", got)
		}
	}
	for text, code := range map[string]string{
		`FLUSH TABLE events`:                                                 "42601",
		`FLUSH TABLE app.nothing`:                                            "42P01",
		`FLUSH TABLE app.view`:                                               "42809",
		`FLUSH TABLE pg_catalog.pg_class`:                                    "42501",
		`FLUSH TABLE spillway.segments`:                                      "42P01",
		`FLUSH TABLE app.events WITH (speed = 1)`:                            "22023",
		`FLUSH TABLE app.events WHERE nope = 1`:                              "42703",
		`FLUSH TABLE app.events WHERE id`:                                    "42804",
		`FLUSH TABLE app.events WHERE app.mine(id)`:                          "0A000",
		`FLUSH TABLE app.events WHERE id IN (SELECT 1)`:                      "0A000",
		`FLUSH TABLE app.events WHERE true) AS x; DROP TABLE app.events; --`: "42601",
		`FLUSH ALL TABLES`:                                                   "0A000",
		`SELECT 1`:                                                           "42601",
	} {
		_, err := sqlfront.ReadFlush(ctx, pgwire.Direct(worker), text, nil)
		var e *pgwire.Error
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v, want %s", text, err, code)
		}
		if worker.TxStatus() != 'I' {
			t.Fatalf("%s: the connection is left in state %c", text, worker.TxStatus())
		}
	}
}

func withoutWait(text string) string { return strings.ReplaceAll(text, ", wait = true", "") }
