package hot_test

import (
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// TestTruncatedText: times are cut in UTC, in a session of any zone, and what no calendar has stays what it is.
func TestTruncatedText(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	tab := table(t, db, h, "t", `CREATE DOMAIN app.moment AS timestamptz`, `CREATE TABLE app.t (n int, z app.moment, l timestamp, d date, note text, many timestamptz[])`,
		`INSERT INTO app.t VALUES (1, '2026-01-01 00:30+02', '2026-01-01 00:30', '2026-01-01', NULL, NULL), (2, 'infinity', '-infinity', 'infinity', NULL, NULL),
			(3, NULL, NULL, NULL, NULL, NULL), (4, '0044-03-15 12:00+00 BC', '0044-03-15 12:00 BC', '0044-03-15 BC', NULL, NULL), (5, '2026-07-01 23:59:59.999999-01', '12026-07-01 23:59', '12026-07-01', NULL, NULL)`)
	conn := db.Connect(t, db.SuperURL)
	if _, err := conn.Exec(t.Context(), "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = ISO"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ column, unit, want string }{
		{"z", hot.UnitDay, "2025-12-31;infinity;NULL;0044-03-15 BC;2026-07-02"},
		{"z", hot.UnitHour, "2025-12-31 22:00:00;infinity;NULL;0044-03-15 12:00:00 BC;2026-07-02 00:00:00"},
		{"z", hot.UnitMonth, "2025-12-01;infinity;NULL;0044-03-01 BC;2026-07-01"},
		{"z", hot.UnitYear, "2025-01-01;infinity;NULL;0044-01-01 BC;2026-01-01"},
		{"l", hot.UnitDay, "2026-01-01;-infinity;NULL;0044-03-15 BC;12026-07-01"},
		{"l", hot.UnitHour, "2026-01-01 00:00:00;-infinity;NULL;0044-03-15 12:00:00 BC;12026-07-01 23:00:00"},
		{"d", hot.UnitDay, "2026-01-01;infinity;NULL;0044-03-15 BC;12026-07-01"},
		{"d", hot.UnitMonth, "2026-01-01;infinity;NULL;0044-03-01 BC;12026-07-01"},
	} {
		expr, err := tab.TruncatedText(c.column, c.unit)
		if err != nil {
			t.Errorf("%s(%s): %v", c.unit, c.column, err)
			continue
		}
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT string_agg(coalesce("+expr+", 'NULL'), ';' ORDER BY n) FROM app.t").Scan(&got); err != nil || got != c.want {
			t.Errorf("%s(%s): %s, %v, want %s", c.unit, c.column, got, err, c.want)
		}
		if err := h.CheckSort(t.Context(), h.Pool(), tab, []string{expr}, []hot.SortKey{{Expr: hot.ReturningColumn(c.column), Descending: true}}); err != nil {
			t.Errorf("%s(%s) cannot be sorted: %v", c.unit, c.column, err)
		}
	}
	for _, c := range []struct{ column, unit, want string }{
		{"d", hot.UnitHour, "no hours"}, {"note", hot.UnitDay, "expected date"}, {"many", hot.UnitDay, "expected date"}, {"nobody", hot.UnitDay, "does not exist"},
	} {
		if expr, err := tab.TruncatedText(c.column, c.unit); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s(%s): %s, %v", c.unit, c.column, expr, err)
		}
	}
}

// TestEstimatedValues: what EXPLAIN FLUSH tells of files comes from statistics, and says so where there are none.
func TestEstimatedValues(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	tab := table(t, db, h, "t", `CREATE TABLE app.t (id int, kind int, at timestamptz, whenever timestamp)`,
		`INSERT INTO app.t SELECT i, i % 40, '2026-01-01'::timestamptz + i * interval '1 hour', 'infinity' FROM generate_series(1, 2400) i`)
	if _, ok, err := h.EstimateUnits(t.Context(), h.Pool(), tab, "at", hot.UnitDay); ok || err != nil {
		t.Errorf("without statistics: %v, %v", ok, err)
	}
	db.Exec(t, "ANALYZE app.t")
	if n, ok, err := h.EstimateUnits(t.Context(), h.Pool(), tab, "at", hot.UnitDay); !ok || err != nil || n < 95 || n > 105 {
		t.Errorf("%d days, %v, %v; there are 100", n, ok, err)
	}
	if _, ok, err := h.EstimateUnits(t.Context(), h.Pool(), tab, "whenever", hot.UnitDay); ok || err != nil {
		t.Errorf("infinity: %v, %v", ok, err)
	}
	if n, err := h.EstimateGroups(t.Context(), h.Pool(), tab, "", []string{hot.ReturningText("kind")}); err != nil || n != 40 {
		t.Errorf("%d kinds, %v", n, err)
	}
}

// TestSlowReaderIsWaitedFor: where rows become many small files, PostgreSQL waits longer for its receiver.
func TestSlowReaderIsWaitedFor(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	for _, c := range []struct {
		keys []string
		want string
	}{{nil, "20000"}, {[]string{"'k'"}, "300000"}} {
		s, err := h.Session(t.Context(), "spillway:test", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Begin(t.Context(), &hot.Move{Schema: "app", Table: "t", Keys: c.keys}); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := s.QueryRow(t.Context(), "SELECT pg_catalog.current_setting('tcp_user_timeout')").Scan(&got); err != nil || got != c.want {
			t.Errorf("with keys %v: %s, %v, want %s", c.keys, got, err, c.want)
		}
		s.Close()
	}
}
