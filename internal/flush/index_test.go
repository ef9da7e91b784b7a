package flush_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/tests/audit"
)

// way is how the only leaf of a job's newest plan is cut.
func (j *job) way() (way, why string) {
	j.t.Helper()
	const last = "FROM spillway.plans WHERE job_id = $1 ORDER BY generation DESC LIMIT 1"
	return pgtest.Value[string](j.t, j.db, "SELECT plan #>> '{Parts,0,Way}' "+last, j.id), pgtest.Value[string](j.t, j.db, "SELECT coalesce(plan #>> '{Parts,0,Why}', '') "+last, j.id)
}

// A flush of the old hundredth of a table, by an indexed time, reads little more than that: not in its chunks, not in planning,
// not in the residue pass. SPILLWAY_LONG=1 does it with 20 million rows.
func TestFlushByIndexReadsLittle(t *testing.T) { // A17
	t.Parallel()
	rows := 200_000
	if testing.Short() {
		rows = 100_000
	}
	long := os.Getenv("SPILLWAY_LONG") != ""
	if long {
		rows = 20_000_000
	}
	r := newRig(t, "CREATE TABLE app.t (id bigint PRIMARY KEY, at timestamptz, pad text) WITH (autovacuum_enabled = off)")
	owner := r.db.Connect(t, r.db.OwnerURL) // without the time limits of the rig's own statements
	for _, sql := range []string{fmt.Sprintf("INSERT INTO app.t SELECT i, '2026-01-01'::timestamptz + i * interval '1 second', repeat('x', 60) FROM generate_series(1, %d) i", rows),
		"CREATE INDEX t_at ON app.t (at)", "VACUUM ANALYZE app.t"} {
		if _, err := owner.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := owner.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.want = nil            // nobody else may read the table while its reads are counted
	settle(t, func() bool { // what the set-up read is counted when its backend is gone
		return pgtest.Value[int](t, r.db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'VACUUM ANALYZE%'") == 0
	})
	// One row that somebody holds makes the residue pass move something.
	app := r.db.Connect(t, r.db.OwnerURL)
	if _, err := app.Exec(t.Context(), "BEGIN; SELECT FROM app.t WHERE id = 17 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	limit := pgtest.Value[string](t, r.db, "SELECT at::text FROM app.t WHERE id = $1", rows/100+1)
	r.params = map[string]string{"where": "at < '" + limit + "'::timestamp with time zone", "chunk_bytes": map[bool]string{false: "65536", true: "4MB"}[long]}
	blocks := pgtest.Value[int64](t, r.db, "SELECT pg_relation_size('app.t') / 8192")
	read := func() int64 {
		return pgtest.Value[int64](t, r.db, "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_all_tables WHERE relid = 'app.t'::regclass")
	}
	before, began := read(), time.Now()
	j := r.newJob()
	if way, why := j.way(); way != "index" || j.plan.Chunks < 3 {
		t.Fatalf("%s, %d chunks: %s", way, j.plan.Chunks, why)
	}
	res, left := j.run()
	if res.Rows != int64(rows/100-1) || left.RowsLeft != 1 {
		t.Errorf("%+v, %+v", res, left)
	}
	took := time.Since(began)
	r.hot.Close() // the backends' own counts arrive when they end
	settle(t, func() bool { return read() > before })
	// Each row is visited to find it and to delete it, and each visit counts its block. One reading of the table would show.
	got, most := read()-before, int64(3*rows/100)+blocks/20
	if got > most {
		t.Errorf("%d blocks read, at most %d expected; the table has %d and moved %d rows", got, most, blocks, res.Rows)
	}
	t.Logf("%d of %d rows in %d chunks, %v: %d visits of blocks, the table has %d", res.Rows, rows, j.plan.Chunks, took, got, blocks)
	if cold := pgtest.Value[int64](t, r.db, "SELECT sum(row_count)::bigint FROM spillway.segments"); cold != res.Rows || r.hotCount() != int64(rows)-res.Rows {
		t.Errorf("%d rows cold, %d hot", cold, r.hotCount())
	}
	for row, n := range audit.Cold(t, r.db.SuperURL, "app", "t") {
		if n != 1 {
			t.Fatalf("%d times: %s", n, row)
		}
	}
}

// settle waits until the statistics of backends that have ended are in.
func settle(t *testing.T, in func() bool) {
	t.Helper()
	for !in() {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

// mix is a table whose columns have many values, few, none and odd ones, and an index on each that can be a bound.
var mix = []string{
	`CREATE TABLE app.t (id bigint PRIMARY KEY, n int, f float8, d numeric, s text COLLATE "C", v varchar(40), c char(8), u uuid, ts timestamp, tz timestamptz, dt date, pad text)`,
	`INSERT INTO app.t SELECT i, CASE WHEN i % 50 <> 0 THEN hashint4(i) END, CASE i % 1000 WHEN 0 THEN 'NaN'::float8 WHEN 1 THEN '-Infinity'::float8 ELSE hashint4(i) / 7.0 END,
		CASE i % 1000 WHEN 0 THEN NULL ELSE hashint4(i)::numeric / 3 END, CASE i % 997 WHEN 0 THEN '' WHEN 1 THEN 'it''s \ "; DROP' ELSE chr(97 + abs(hashint4(i)) % 26) || md5(i::text) END,
		md5('v' || i), left(md5('c' || i), 5), md5('u' || i)::uuid, CASE i % 1001 WHEN 0 THEN '294000-01-01'::timestamp WHEN 1 THEN '0044-03-15 BC' ELSE '2000-01-01'::timestamp + hashint4(i) * interval '1 s' END,
		'2020-01-01'::timestamptz + i * interval '1 min', '2020-01-01'::date + abs(hashint4(i)) % 5000, repeat('p', 100) FROM generate_series(1, 20000) i`,
	"CREATE INDEX ON app.t (n)", "CREATE INDEX ON app.t (f)", "CREATE INDEX ON app.t (d)", "CREATE INDEX ON app.t (s)", "CREATE INDEX ON app.t (v)", "CREATE INDEX ON app.t (c)",
	"CREATE INDEX ON app.t (u)", "CREATE INDEX ON app.t (ts)", "CREATE INDEX ON app.t (tz, n)", "CREATE INDEX ON app.t (dt DESC)", "CREATE INDEX part ON app.t (n) WHERE s < 'b'", "VACUUM ANALYZE app.t",
}

// mixRig is a rig over the mix. Its PostgreSQL finds indexes cheap, as it would in a table of a size that no test has.
func mixRig(t *testing.T) *rig {
	t.Helper()
	db := pgtest.Database(t)
	db.Super(t, "ALTER ROLE "+db.Worker+" SET random_page_cost = 0.02", "ALTER ROLE "+db.Worker+" SET cpu_index_tuple_cost = 0.0001", "ALTER ROLE "+db.Worker+" SET cpu_operator_cost = 0.0001")
	return newRigOn(t, db, "", mix...)
}

// Whatever the predicate, whatever the key: cut along an index, exactly the rows that match move.
func TestIndexRangesHoldExactlyTheMatchingRows(t *testing.T) { // A17
	t.Parallel()
	r := mixRig(t)
	cut := map[string]bool{}
	for i, where := range []string{
		"n < -2000000000", "n IS NULL", "n IS NULL OR n > 2100000000", "n > 2000000000 AND s IS NOT NULL", "f < -200000000", "f >= 286000000", "f = 'NaN'::double precision OR f = '-Infinity'::double precision",
		"d > 650000000", "d IS NULL OR d < -650000000", "s < 'b'", "s < 'b' AND n > 0", "s = ''", "s = 'it''s \\ \"; DROP'", "v < '1'", "c < '1'", "u < '10000000-0000-0000-0000-000000000000'::uuid",
		"ts < '1935-01-01'::timestamp without time zone", "ts = '294000-01-01'::timestamp without time zone", "tz < '2020-01-02'::timestamp with time zone AND n IS NULL", "tz < '2020-01-02'::timestamp with time zone",
		"dt < '2020-06-01'::date", "dt = '2021-01-01'::date OR dt IS NULL", "id < 1500", "id < 1500 AND id > 2000",
	} {
		r.params = map[string]string{"where": where, "chunk_bytes": "65536"}
		want := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE "+where)
		j := r.newJob()
		way, why := j.way()
		if way == "index" && j.plan.Chunks > 1 {
			cut[why] = true
		}
		t.Logf("%d %s: %s, %d chunks (%s), %d rows", i, where, way, j.plan.Chunks, why, want)
		if res, left := j.run(); res.Rows != want || left.RowsLeft != 0 {
			t.Errorf("%s: %+v, %+v, want %d rows", where, res, left, want)
		}
		if n := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE "+where); n != 0 {
			t.Errorf("%s: %d rows are left", where, n)
		}
	}
	if len(cut) < 8 {
		t.Errorf("only %d indexes were cut along: %v", len(cut), cut)
	}
}

// Random conditions on random columns, flushed one after the other from one table: each moves exactly the rows that it matches.
func TestRandomPredicatesByIndex(t *testing.T) { // A17
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := mixRig(t)
	columns := []string{"id", "n", "f", "d", "s", "v", "c", "u", "ts", "tz", "dt"}
	term := func() string {
		c := columns[rnd.IntN(len(columns))]
		if rnd.IntN(6) == 0 {
			return c + " IS NULL"
		}
		share := []float64{0.02, 0.05, 0.95, 0.98}[rnd.IntN(4)]
		value := pgtest.Value[string](t, r.db, fmt.Sprintf("SELECT coalesce(quote_literal((SELECT %s FROM app.t WHERE %[1]s IS NOT NULL ORDER BY %[1]s OFFSET (SELECT (count(%[1]s) * %f)::int FROM app.t) LIMIT 1)), 'NULL')", c, share))
		op := []string{"<", "<=", "=", ">", ">="}[rnd.IntN(5)]
		if share < 0.5 && op[0] == '>' || share > 0.5 && op[0] == '<' { // mostly few rows, or the table is soon empty
			op = "="
		}
		return c + " " + op + " " + value
	}
	byIndex := 0
	for range 16 {
		where := term()
		switch rnd.IntN(3) {
		case 0:
			where += " AND NOT (" + term() + ")"
		case 1:
			where += " OR " + term()
		}
		r.params = map[string]string{"where": where, "chunk_bytes": "65536"}
		want := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE "+where)
		j := r.newJob()
		if way, _ := j.way(); way == "index" {
			byIndex++
		}
		if res, left := j.run(); res.Rows != want || left.RowsLeft != 0 {
			t.Errorf("%s: %+v, %+v, want %d rows", where, res, left, want)
		}
	}
	if byIndex < 4 {
		t.Errorf("only %d of 16 flushes went by an index", byIndex)
	}
}

// Without the index that it was cut along, a chunk still finds its rows.
func TestIndexGoesDuringFlush(t *testing.T) { // A60
	t.Parallel()
	r := mixRig(t)
	r.params = map[string]string{"where": "n IS NULL OR n < -1900000000", "chunk_bytes": "65536"}
	want := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE n IS NULL OR n < -1900000000")
	j := r.newJob()
	if way, why := j.way(); way != "index" {
		t.Fatalf("%s: %s", way, why)
	}
	r.db.Exec(t, "DROP INDEX app.t_n_idx")
	if res, left := j.run(); res.Rows != want || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v; want %d rows", res, left, want)
	}
}

// Where no range can be cut, the blocks are, and the plan says why.
func TestIndexThatCannotBeCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ index, where, why string }{
		"uneven":     {"CREATE INDEX ON app.t (k)", "k = 1", "one value"},
		"expression": {"CREATE INDEX ON app.t ((id + 1))", "id + 1 < 500", "cannot be cut"},
		"hash":       {"CREATE INDEX ON app.t USING hash (h)", "h = 1", "cannot be cut"},
		"scattered":  {"CREATE INDEX ON app.t (r)", "r < 2600", "cost more"},
		"no index":   {"", "k = 1", "no index"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setup := []string{"CREATE TABLE app.t (id int, k int, h int, r int, pad text)",
				"INSERT INTO app.t SELECT i, (i % 10 = 0)::int, CASE WHEN i % 30 = 0 THEN 1 ELSE i END, abs(hashint4(i)) % 20000, repeat('p', 60) FROM generate_series(1, 60000) i"}
			if c.index != "" {
				setup = append(setup, c.index)
			}
			if name == "uneven" { // in a row, so that the index is cheap
				setup = append(setup, "CLUSTER app.t USING t_k_idx")
			}
			r := newRig(t, append(setup, "VACUUM ANALYZE app.t")...)
			r.params = map[string]string{"where": c.where, "chunk_bytes": "65536"}
			want := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE "+c.where)
			j := r.newJob()
			if way, why := j.way(); way != "blocks" || !strings.Contains(why, c.why) {
				t.Errorf("%s: %s", way, why)
			}
			if res, _ := j.run(); res.Rows != want {
				t.Errorf("%+v, want %d rows", res, want)
			}
		})
	}
}

// Rows that others hold are stepped over by an index range too.
func TestIndexRangeSkipsLockedRows(t *testing.T) { // A59
	t.Parallel()
	r := mixRig(t)
	app := r.db.Connect(t, r.db.OwnerURL)
	if _, err := app.Exec(t.Context(), "BEGIN; SELECT FROM app.t WHERE id IN (7, 800) FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	r.params = map[string]string{"where": "tz < '2020-01-02'::timestamp with time zone", "chunk_bytes": "65536"}
	j := r.newJob()
	if way, why := j.way(); way != "index" {
		t.Fatalf("%s: %s", way, why)
	}
	if res, left := j.run(); left.RowsLeft != 2 || res.Rows != 1437 {
		t.Errorf("%+v, %+v", res, left)
	}
}

// Rows that are updated, inserted, deleted and moved across ranges while an index-cut flush runs end up once, in their newest
// version, and what is left is told.
func TestIndexRangesUnderConcurrentUpdates(t *testing.T) { // A17, A60
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := mixRig(t)
	r.want = nil // the writers decide
	r.params = map[string]string{"where": "n IS NULL OR n < -1800000000", "chunk_bytes": "65536", "lock_timeout": "20"}
	j := r.newJob()
	if way, why := j.way(); way != "index" || j.plan.Chunks < 3 {
		t.Fatalf("%s, %d chunks: %s", way, j.plan.Chunks, why)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	var mu sync.Mutex
	deleted, inserted := 0, 0
	for w := range uint64(3) {
		conn := r.db.Connect(t, r.db.OwnerURL)
		rnd := rand.New(rand.NewPCG(seed, w))
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := 1 + rnd.IntN(20000)
				sql := fmt.Sprintf("UPDATE app.t SET n = %s, pad = 'w%d-%d' WHERE id BETWEEN %d AND %d", []string{"NULL", "n / 2", "-2147483648 + abs(hashint4(id::int)) % 300000000", "7"}[rnd.IntN(4)], w, n, id, id+rnd.IntN(5))
				add, del := 0, 0
				switch rnd.IntN(8) {
				case 0:
					sql, del = fmt.Sprintf("DELETE FROM app.t WHERE id = %d", id), 1
				case 1:
					sql, add = fmt.Sprintf("INSERT INTO app.t (id, n) VALUES (%d, -2000000000)", 100000+w*1000000+uint64(n)), 1
				}
				end := []string{"COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}[rnd.IntN(4)]
				tag, err := conn.Exec(context.WithoutCancel(ctx), "BEGIN")
				if err == nil {
					tag, err = conn.Exec(context.WithoutCancel(ctx), sql)
				}
				if err == nil {
					_, err = conn.Exec(context.WithoutCancel(ctx), end)
				}
				if err != nil {
					t.Errorf("a writer: %v", err)
					return
				}
				if end == "COMMIT" {
					mu.Lock()
					deleted += del * int(tag.RowsAffected())
					inserted += add
					mu.Unlock()
				}
			}
		})
	}
	_, left := j.run()
	stop()
	writers.Wait()
	both := audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
	ids := map[string]bool{}
	for row, n := range both {
		id, _, _ := strings.Cut(row, "\x1f")
		if n != 1 || ids[id] {
			t.Errorf("row %s is there %d times, or in two versions", id, n)
		}
		ids[id] = true
	}
	if len(ids) != 20000+inserted-deleted {
		t.Errorf("%d rows, want 20000 + %d - %d", len(ids), inserted, deleted)
	}
	t.Logf("%d inserted, %d deleted, %d left", inserted, deleted, left.RowsLeft)
	j.finish("completed", &left.RowsLeft)
}

// A range is one literal whatever it holds, in its type.
func TestKeyRange(t *testing.T) {
	t.Parallel()
	odd, one := `it's \ "; DROP`, "1"
	for want, r := range map[string]hot.KeyRange{
		"":                                      {},
		`"a ""b" IS NULL`:                       {Column: `a "b`, Type: "text", Nulls: true},
		`"k" OPERATOR(pg_catalog.>=) '1'::text`: {Column: "k", Type: "text", From: &one},
		`"k" OPERATOR(pg_catalog.>=) '1'::text AND "k" OPERATOR(pg_catalog.<) 'it''s \ "; DROP'::text`: {Column: "k", Type: "text", From: &one, To: &odd},
	} {
		if got := r.Condition(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
