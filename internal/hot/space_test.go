package hot_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// The limit is PostgreSQL's own arithmetic in the zone of who asks.
func TestAgeLimit(t *testing.T) { // A17
	t.Parallel()
	h := open(t, pgtest.Database(t), nil)
	at := time.Date(2026, 3, 29, 12, 0, 0, 500_000, time.UTC) // the day on which Berlin's clocks went forward
	for _, c := range []struct {
		interval, zone string
		want           hot.AgeLimit
	}{
		{"1 days", "", hot.AgeLimit{Instant: "2026-03-28 12:00:00.0005+00", Local: "2026-03-28 12:00:00.0005", Day: "2026-03-28"}},
		{"1 days", "Europe/Berlin", hot.AgeLimit{Instant: "2026-03-28 13:00:00.0005+00", Local: "2026-03-28 14:00:00.0005", Day: "2026-03-28"}},
		{"24 hours", "Europe/Berlin", hot.AgeLimit{Instant: "2026-03-28 12:00:00.0005+00", Local: "2026-03-28 13:00:00.0005", Day: "2026-03-28"}},
		{"1 mons", "Pacific/Auckland", hot.AgeLimit{Instant: "2026-02-27 12:00:00.0005+00", Local: "2026-02-28 01:00:00.0005", Day: "2026-02-28"}},
		{"11 hours 3600 secs", "<-09>9", hot.AgeLimit{Instant: "2026-03-29 00:00:00.0005+00", Local: "2026-03-28 15:00:00.0005", Day: "2026-03-28"}},
		{"36000 mons", "UTC", hot.AgeLimit{Instant: "0975-03-29 12:00:00.0005+00 BC", Local: "0975-03-29 12:00:00.0005 BC", Day: "0975-03-29 BC"}},
	} {
		got, err := h.AgeLimit(t.Context(), at, c.interval, c.zone)
		if err != nil || got != c.want {
			t.Errorf("%s in %q: %+v, %v", c.interval, c.zone, got, err)
		}
		// PostgreSQL reads it back as the same moment.
		var same bool
		if err := h.Pool().QueryRow(t.Context(), "SELECT $1::text::timestamptz::text = $1", got.Instant).Scan(&same); err != nil || !same {
			t.Errorf("%s reads back as another moment: %v", got.Instant, err)
		}
	}
	if _, err := h.AgeLimit(t.Context(), time.Time{}, "1 days", "Nowhere/Land"); hot.SQLState(err) != "22023" {
		t.Errorf("an unknown zone: %v", err)
	}
	if now, err := h.AgeLimit(t.Context(), time.Time{}, "0 secs", ""); err != nil || now.Day < "2026" {
		t.Errorf("now: %+v, %v", now, err)
	}
}

func TestOlderThan(t *testing.T) { // A17
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	tab := table(t, db, h, "t", `CREATE TABLE app.t (id int, at timestamptz, "On" timestamp, day date)`, "CREATE INDEX t_at ON app.t (at)",
		`INSERT INTO app.t SELECT g, timestamptz '2026-01-01 00:00+00' + g * interval '1 h', timestamp '2026-01-01' + g * interval '1 h', date '2026-01-01' + g / 24 FROM generate_series(0, 9999) g`,
		"INSERT INTO app.t VALUES (-1, '-infinity', '-infinity', '-infinity'), (-2, 'infinity', 'infinity', 'infinity'), (-3, NULL, NULL, NULL)", "ANALYZE app.t")
	limit := hot.AgeLimit{Instant: "2026-01-02 00:00:00+00", Local: "2026-01-02 12:00:00", Day: "2026-01-03"}
	for column, want := range map[string]int64{"at": 25, "On": 37, "day": 49} {
		where, err := tab.OlderThan(column, limit)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := h.CountMatching(t.Context(), h.Pool(), "app", "t", where, 0); err != nil || n != want {
			t.Errorf("%s: %d rows, want %d: %v", column, n, want, err)
		}
	}
	where, _ := tab.OlderThan("at", limit)
	if e := estimate(t, h, where); e.Index != "t_at" || e.Rows > 200 {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{"id", "none"} {
		if where, err := tab.OlderThan(bad, limit); err == nil {
			t.Errorf("%s: %s", bad, where)
		}
	}
	// Of another kind, the column is an error and never something else.
	db.Exec(t, `ALTER TABLE app.t ALTER at TYPE text USING at::text`)
	if _, err := h.CountMatching(t.Context(), h.Pool(), "app", "t", where, 0); hot.SQLState(err) == "" {
		t.Errorf("over text: %v", err)
	}
}

func TestSpace(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	tab := table(t, db, h, "t", `CREATE TABLE app.t (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = off)`, `INSERT INTO app.t SELECT g, 'note' FROM generate_series(1, 10000) g`)
	s, err := h.Space(t.Context(), []uint32{tab.OID, 1})
	if want := pgtest.Value[int64](t, db, "SELECT pg_total_relation_size('app.t')"); err != nil || s.Bytes != want || s.VacuumEnd != nil {
		t.Errorf("%+v, %v; want %d bytes", s, err, want)
	}
	db.Exec(t, "DELETE FROM app.t WHERE id <= 4000", "VACUUM app.t")
	deadline := time.Now().Add(20 * time.Second)
	for s.VacuumEnd == nil && time.Now().Before(deadline) { // statistics lag
		if s, err = h.Space(t.Context(), []uint32{tab.OID}); err != nil {
			t.Fatal(err)
		}
	}
	if s.VacuumEnd == nil {
		t.Errorf("after VACUUM: %+v", s)
	}
	if s, err := h.Space(t.Context(), nil); err != nil || s.Bytes != 0 {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
	// A look waits for nobody for long.
	conn := db.Connect(t, db.OwnerURL)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE app.t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Space(t.Context(), []uint32{tab.OID}); hot.SQLState(err) != "55P03" {
		t.Errorf("of a locked table: %v", err)
	}
	err = h.Briefly(t.Context(), func(q hot.Querier) error {
		_, err := h.Inspect(t.Context(), q, "app", "t")
		return err
	})
	if hot.SQLState(err) != "55P03" {
		t.Errorf("a look at a locked table: %v", err)
	}
}

func TestSuspects(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	setup := []string{"CREATE TABLE app.t (id int) PARTITION BY RANGE (id)", "CREATE FUNCTION app.tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'"}
	for i := range 6 {
		setup = append(setup, fmt.Sprintf("CREATE TABLE app.t%d PARTITION OF app.t FOR VALUES FROM (%d) TO (%d)", i, i, i+1))
	}
	setup = append(setup, "CREATE RULE keep AS ON DELETE TO app.t1 DO INSTEAD NOTHING", "CREATE TRIGGER tell BEFORE DELETE ON app.t2 FOR EACH ROW EXECUTE FUNCTION app.tell()",
		"CREATE TRIGGER insert_only BEFORE INSERT ON app.t3 FOR EACH ROW EXECUTE FUNCTION app.tell()")
	tab := table(t, db, h, "t", setup...)
	db.Exec(t, "GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO "+db.Worker, "REVOKE DELETE ON app.t4 FROM "+db.Worker)
	find := func(limit int) (names []string) {
		t.Helper()
		found, err := h.Suspects(t.Context(), h.Pool(), tab, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			names = append(names, l.Name)
		}
		return names
	}
	if got := find(10); !slices.Equal(got, []string{"t1", "t2", "t4"}) {
		t.Errorf("suspects %v", got)
	}
	if got := find(1); !slices.Equal(got, []string{"t1"}) {
		t.Errorf("the first suspect is %v", got)
	}
}
