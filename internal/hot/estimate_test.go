package hot_test

import (
	"fmt"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// estimate asks about app.t as the planner sees fit.
func estimate(t *testing.T, h *hot.DB, predicate string) hot.Estimate {
	t.Helper()
	e, err := h.Estimates(t.Context(), hot.AnyWay, []hot.Scan{{Schema: "app", Table: "t", Predicate: predicate}})
	if err != nil {
		t.Fatal(err)
	}
	return e[0]
}

// Any number of scans is answered in order, each by itself, however PostgreSQL joins or leaves out their parts.
func TestEstimatesOfMany(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	table(t, db, h, "t", `CREATE TABLE app.t (id int PRIMARY KEY, at int CHECK (at >= 0))`, `INSERT INTO app.t SELECT g, g FROM generate_series(1, 20000) g`, `CREATE INDEX t_at ON app.t (at)`, `ANALYZE app.t`)
	table(t, db, h, "r", `CREATE TABLE app.r (t int)`, `INSERT INTO app.r SELECT g FROM generate_series(1, 5000) g`, `ANALYZE app.r`)
	var scans []hot.Scan
	for i := range 250 {
		p := fmt.Sprintf("at <= %d", i*40+40)
		switch i % 5 {
		case 1:
			p = "at < 0"
		case 2:
			p = "NOT EXISTS (SELECT 1 FROM app.r WHERE r.t = t.id) -- said by a join"
		case 3:
			p = ""
		}
		scans = append(scans, hot.Scan{Schema: "app", Table: "t", Predicate: p})
	}
	found, err := h.Estimates(t.Context(), hot.AnyWay, scans)
	if err != nil || len(found) != len(scans) {
		t.Fatal(len(found), err)
	}
	for i, e := range found {
		want := int64(i*40 + 40)
		switch i % 5 {
		case 1:
			if !e.Empty || e.Rows != 0 {
				t.Errorf("%d: %+v", i, e)
			}
			continue
		case 2:
			want = 15000
		case 3:
			want = 20000
		}
		if e.Empty || e.Rows < want*8/10-20 || e.Rows > want*12/10+20 || e.Cost <= 0 {
			t.Errorf("%d: %+v, want %d rows", i, e, want)
		}
	}
	one := []hot.Scan{{Schema: "app", Table: "t", Predicate: "at < 0"}}
	if e, err := h.Estimates(t.Context(), hot.AnyWay, one); err != nil || !e[0].Empty {
		t.Errorf("nothing but an empty scan: %+v, %v", e, err)
	}
	one[0].Predicate = "at < 100"
	seen := map[hot.How]hot.Estimate{}
	for _, how := range []hot.How{hot.AnyWay, hot.ByBlocks, hot.ByIndex} {
		e, err := h.Estimates(t.Context(), how, one)
		if err != nil {
			t.Fatal(err)
		}
		seen[how] = e[0]
	}
	if seen[hot.AnyWay] != seen[hot.ByIndex] || seen[hot.AnyWay].Index != "t_at" || seen[hot.ByBlocks].Scan != "Seq Scan" || seen[hot.ByBlocks].Cost <= seen[hot.AnyWay].Cost {
		t.Errorf("%+v", seen)
	}
	if _, err := h.Estimates(t.Context(), hot.AnyWay, []hot.Scan{{Schema: "app", Table: "t", Predicate: "no_such_column"}}); hot.SQLState(err) != "42703" {
		t.Errorf("a bad predicate: %v", err)
	}
}
