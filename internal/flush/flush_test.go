package flush_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/manifest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A3 A8 A10 A11 A23
func TestFlushMovesEveryRowOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(20000))
	r.params["chunk_bytes"] = "256kB"
	j := r.newJob()
	if j.plan.Chunks < 4 {
		t.Fatalf("%d chunks planned, the test wants several", j.plan.Chunks)
	}
	res, left := j.run()
	if res.Rows != 20000 || res.Status != "completed" || left.RowsLeft != 0 || r.hotCount() != 0 {
		t.Errorf("flushed %+v, left %d, hot %d; want 20000 rows completed, none left", res, left.RowsLeft, r.hotCount())
	}
	if int(res.Segments) != j.plan.Chunks {
		t.Errorf("%d segments, want one for each of %d chunks", res.Segments, j.plan.Chunks)
	}
	if n := manifestSegments(t, r.dir); n != int(res.Segments) {
		t.Errorf("the manifest lists %d segments, want %d", n, res.Segments)
	}
	again := r.newJob()
	if res, _ := again.run(); res.Rows != 0 || res.Segments != 0 {
		t.Errorf("a second flush with nothing new moved %+v", res)
	}
}

func manifestSegments(t *testing.T, dir string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "app", "t", layout.ManifestName))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return len(m.Segments)
}

// A4
func TestEmptyTableHasNoChunkAndNoFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, events)
	j := r.newJob()
	if j.plan.Chunks != 0 {
		t.Errorf("%d chunks planned for an empty table", j.plan.Chunks)
	}
	if res := j.finish("completed", nil); res.Rows != 0 || res.Segments != 0 {
		t.Errorf("finished with %+v", res)
	}
}

// A4 A17
func TestWhereMovesExactlyTheMatchingRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(5000))
	r.params["where"] = "(tenant = 3)"
	res, _ := r.newJob().run()
	matching := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE tenant = 3")
	if res.Rows != 714 || matching != 0 || r.hotCount() != 5000-714 {
		t.Errorf("moved %d rows, %d matching and %d in all are hot; want 714, 0, %d", res.Rows, matching, r.hotCount(), 5000-714)
	}
	r.params["where"] = "(tenant = 99)"
	if res, _ := r.newJob().run(); res.Rows != 0 || res.Segments != 0 {
		t.Errorf("nothing matches, but %+v moved", res)
	}
}

// A14
func TestOddNamesAndHugeValues(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, `CREATE TABLE app."Größe ""x"".y/../z" ("a.b" int, "ключ" text, "select" bytea)`,
		`INSERT INTO app."Größe ""x"".y/../z" VALUES (1, repeat('é', 5000000), decode(repeat('00ff', 2500000), 'hex')), (2, NULL, ''), (3, E'\u0001\t\n''"', '\x00')`)
	db.Exec(t, `CREATE VIEW app.t AS SELECT * FROM app."Größe ""x"".y/../z"`) // what the rig reads
	r := newRigOn(t, db, "")
	r.want = nil
	before := audit.Hot(t, db.SuperURL, "app", `Größe "x".y/../z`, "")
	flushTable(t, r, `Größe "x".y/../z`)
	audit.Check(t, db.SuperURL, "app", `Größe "x".y/../z`, before)
	if hot := audit.Hot(t, db.SuperURL, "app", `Größe "x".y/../z`, ""); hot.Count() != 0 {
		t.Errorf("%d rows are still hot", hot.Count())
	}
}

// A14
func TestFiveHundredColumns(t *testing.T) {
	t.Parallel()
	cols, vals := []string{}, []string{}
	for i := range 500 {
		typ := []string{"int", "text", "numeric(10,2)", "timestamptz", "bool"}[i%5]
		val := []string{"g", "'v' || g", "g / 100.0", "now()", "g % 2 = 0"}[i%5]
		cols = append(cols, "c"+strings.Repeat("x", i%40)+"_"+itoa(i)+" "+typ)
		vals = append(vals, val)
	}
	r := newRig(t, "CREATE TABLE app.t ("+strings.Join(cols, ", ")+")", "INSERT INTO app.t SELECT "+strings.Join(vals, ", ")+" FROM generate_series(1, 50) g")
	if res, _ := r.newJob().run(); res.Rows != 50 {
		t.Errorf("moved %d rows, want 50", res.Rows)
	}
}

// A20
func TestPathsEqualTheTemplate(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(10))
	r.newJob().run()
	location := pgtest.Value[string](t, r.db, "SELECT location FROM spillway.segments")
	attempt := pgtest.Value[string](t, r.db, "SELECT attempt::text FROM spillway.segments")
	prefix := "file://" + r.dir + "/app/t/"
	if !strings.HasPrefix(location, prefix) || strings.Contains(strings.TrimPrefix(location, prefix), "/") || !strings.HasSuffix(location, "-"+attempt+".parquet") {
		t.Errorf("location %q, want %s<time>-<job>-<chunk>-%s.parquet", location, prefix, attempt)
	}
}

// A19
func TestUnrepresentableValueNamesItsRow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, key, row string }{
		{"with a key", "PRIMARY KEY", "id=3"},
		{"without a key", "", "(0,3)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "CREATE TABLE app.t (id int "+c.key+", amount numeric(12,2))", "INSERT INTO app.t SELECT i, CASE WHEN i = 3 THEN 'NaN'::numeric ELSE i END FROM generate_series(1, 5) i")
			j := r.newJob()
			_, err := j.chunk(0)
			class := jobstep.ClassOf(err)
			if class.Name != jobstep.ClassUnrepresentable || class.Retryable {
				t.Fatalf("error %v of class %+v, want unrepresentable and not retryable", err, class)
			}
			for _, word := range []string{"app.t", "amount", c.row} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q does not name %q", err, word)
				}
			}
			if r.hotCount() != 5 {
				t.Errorf("%d rows are hot, want all 5", r.hotCount())
			}
			recorded := pgtest.Value[string](t, r.db, "SELECT message FROM spillway.failures WHERE chunk = 0")
			if recorded != err.Error() {
				t.Errorf("the ledger says %q, want %q", recorded, err)
			}
		})
	}
}

// A chunk that is asked for again is not moved again.
func TestChunkIsMovedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(100))
	j := r.newJob()
	first, err := j.chunk(0)
	if err != nil {
		t.Fatal(err)
	}
	r.db.Exec(t, "INSERT INTO app.t VALUES (1000, 1, 'later', 0, now())")
	r.want = nil // checked below: the later row must still be hot
	second, err := j.chunk(0)
	if err != nil || !second.Earlier || second.Rows != first.Rows || second.Bytes != first.Bytes {
		t.Errorf("second call: %+v, %v; want the result of the first, %+v", second, err, first)
	}
	if r.hotCount() != 1 {
		t.Errorf("%d rows are hot, want the later one", r.hotCount())
	}
}

// Partitions are flushed leaf by leaf, each into its directory.
func TestPartitionedTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int, note text) PARTITION BY RANGE (id)",
		"CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM (0) TO (100)",
		"CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM (100) TO (200)",
		"INSERT INTO app.t SELECT i, 'n' || i FROM generate_series(0, 199) i")
	if res, _ := r.newJob().run(); res.Rows != 200 || res.Segments != 2 {
		t.Errorf("moved %+v, want 200 rows in 2 segments", res)
	}
	if n := pgtest.Value[int64](t, r.db, "SELECT count(DISTINCT leaf) FROM spillway.segments WHERE table_name = 't' AND location LIKE '%/app/t/' || split_part(leaf, '.', 2) || '/%'"); n != 2 {
		t.Errorf("%d leaves in their own directories, want 2", n)
	}
}

// A29
func TestStoppedChunkGivesItsRowsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(50000))
	j := r.newJob()
	ctx, kill := context.WithCancel(context.Background())
	_, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, func(c jobstep.Checkpoint) {
		if c.Step == jobstep.StepUploading {
			kill()
		}
	})
	if jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
		t.Fatalf("error %v, want cancelled", err)
	}
	ended := time.Now()
	until(t, func() bool { // a backend that was ended needs a moment to go
		return pgtest.Value[int64](t, r.db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'spillway:%'") == 0
	})
	if d := time.Since(ended); d > time.Second {
		t.Errorf("the chunk's backend is there for %s, want at most a second", d)
	}
	r.db.Exec(t, "SET lock_timeout = 1", "BEGIN; SELECT 1 FROM app.t FOR UPDATE NOWAIT; ROLLBACK")
	if r.hotCount() != 50000 {
		t.Errorf("%d rows are hot, want all", r.hotCount())
	}
	if n := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM spillway.attempts"); n != 0 {
		t.Errorf("%d attempts are left, want none: this process ended them itself", n)
	}
	if res, _ := j.run(); res.Rows != 50000 {
		t.Errorf("the next run moved %d rows", res.Rows)
	}
}
