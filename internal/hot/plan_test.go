package hot_test

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

func TestBlocksPerChunk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bytes int64
		block int
		want  uint32
	}{{64 << 20, 8192, 8192}, {1, 8192, 1}, {0, 8192, 1}, {-5, 8192, 1}, {8192*3 - 1, 8192, 2}, {64 << 20, 32768, 2048}, {1 << 62, 8192, 1 << 31}, {100, 0, 1}} {
		if got := hot.BlocksPerChunk(c.bytes, c.block); got != c.want {
			t.Errorf("BlocksPerChunk(%d, %d) = %d, want %d", c.bytes, c.block, got, c.want)
		}
	}
}

func TestEstimates(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	empty := table(t, db, h, "t", `CREATE TABLE app.t (id int, kind text)`)
	if empty.Blocks != 0 || empty.RowsEstimate != 0 {
		t.Errorf("empty table: %d blocks, %d rows", empty.Blocks, empty.RowsEstimate)
	}
	db.Exec(t, `ALTER TABLE app.t SET (autovacuum_enabled = off)`, `INSERT INTO app.t SELECT g, 'k' || g % 10 FROM generate_series(1, 20000) g`)
	if fresh := inspect(t, h, "t"); fresh.Blocks < 50 || fresh.RowsEstimate < 2000 || fresh.RowsEstimate > 200000 {
		t.Errorf("never analyzed: %d blocks, %d rows", fresh.Blocks, fresh.RowsEstimate)
	}
	db.Exec(t, `ANALYZE app.t`, `INSERT INTO app.t SELECT g, 'k' || g % 10 FROM generate_series(1, 20000) g`)
	near := func(what string, got, want int64) {
		t.Helper()
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("%s: %d rows, want about %d", what, got, want)
		}
	}
	tab := inspect(t, h, "t")
	near("scaled to the present size", tab.RowsEstimate, 40000)
	if tab.BlockSize != 8192 {
		t.Errorf("block size %d", tab.BlockSize)
	}
	e, err := h.EstimateMatching(t.Context(), h.Pool(), "app", "t", "")
	if err != nil || e.Width < 4 {
		t.Fatalf("estimate %+v, %v", e, err)
	}
	near("planner", e.Rows, 40000)
	e, err = h.EstimateMatching(t.Context(), h.Pool(), "app", "t", "kind = 'k1'")
	if err != nil {
		t.Fatal(err)
	}
	near("planner with a predicate", e.Rows, 4000)
}

func TestCountMatching(t *testing.T) { // A17
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	table(t, db, h, "T t", `CREATE TABLE app."T t" (id int)`, `CREATE TABLE app.heir () INHERITS (app."T t")`,
		`INSERT INTO app."T t" SELECT generate_series(1, 100)`, `INSERT INTO app.heir SELECT generate_series(1, 1000)`)
	for _, c := range []struct {
		predicate string
		limit     int64
		want      int64
	}{{"", 0, 100}, {"", 10, 10}, {"id <= 40", 0, 40}, {"id <= 40", 100, 40}, {"id <= 10 OR id > 90 -- comment", 0, 20}, {"false", 5, 0}} {
		n, err := h.CountMatching(t.Context(), h.Pool(), "app", "T t", c.predicate, c.limit)
		if err != nil || n != c.want {
			t.Errorf("%q up to %d: %d, %v, want %d", c.predicate, c.limit, n, err, c.want)
		}
	}
	_, err := h.CountMatching(t.Context(), h.Pool(), "app", "T t", "1/(id-id) = 1", 0)
	if hot.SQLState(err) != "22012" {
		t.Errorf("error of the predicate: %v", err)
	}
}
