package hot_test

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		blocks uint32
		block  int
		bytes  int64
		lanes  int
		per    uint32
		chunks int
	}{
		{0, 8192, 64 << 20, 2, 8192, 0},
		{1, 8192, 64 << 20, 2, 8192, 1},
		{8192, 8192, 64 << 20, 2, 8192, 1},
		{8193, 8192, 64 << 20, 2, 4097, 2},
		{73000, 8192, 64 << 20, 2, 7300, 10}, // 9 would leave one lane idle at the end
		{73000, 8192, 64 << 20, 1, 8112, 9},
		{73000, 32768, 64 << 20, 2, 2028, 36},
		{20000, 8192, 64 << 20, 64, 3334, 6}, // 64 small ones would cost more than they gain
		{20000, 8192, 64 << 20, 0, 6667, 3},
		{5, 8192, 1, 2, 1, 5}, // no chunk is smaller than a block
		{10, 8192, 3 * 8192, 3, 2, 5},
		{7, 0, 100, 2, 1, 7},
		{1<<32 - 1, 8192, 1 << 62, 2, 1 << 31, 2},
	} {
		per, chunks := hot.Cut(c.blocks, c.block, c.bytes, c.lanes)
		if per != c.per || chunks != c.chunks {
			t.Errorf("Cut(%d, %d, %d, %d) = %d, %d, want %d, %d", c.blocks, c.block, c.bytes, c.lanes, per, chunks, c.per, c.chunks)
		}
		if covered := int64(per) * int64(chunks); covered < int64(c.blocks) || chunks > 0 && covered-int64(per) >= int64(c.blocks) {
			t.Errorf("Cut(%d, %d, %d, %d): %d chunks of %d blocks", c.blocks, c.block, c.bytes, c.lanes, chunks, per)
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
	near("planner", estimate(t, h, "").Rows, 40000)
	near("planner with a predicate", estimate(t, h, "kind = 'k1'").Rows, 4000)
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
