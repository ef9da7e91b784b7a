package flush_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A11 A16 A17 A18 A20 A21 A29: rounds of random options. Every round changes the table, flushes it with whatever options come, cut
// anew and killed in the middle now and then, and restores some of it; after each step every row is in one place. Longer, or again:
//
//	SPILLWAY_ROUNDS_TIME=10m SPILLWAY_ROUNDS_SEED=7 go test ./internal/flush -run RandomRounds -timeout 1h
func TestRandomRounds(t *testing.T) {
	t.Parallel()
	seed, long := uint64(time.Now().UnixNano()), 10*time.Second
	var err error
	if s := os.Getenv("SPILLWAY_ROUNDS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("SPILLWAY_ROUNDS_TIME"); s != "" {
		if long, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	for name, tail := range map[string]string{"plain": "", "partitioned": " PARTITION BY RANGE (at)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Logf("SPILLWAY_ROUNDS_SEED=%d", seed)
			r := newRounds(t, seed, tail)
			for end := time.Now().Add(long); r.round < 3 || time.Now().Before(end); r.round++ {
				r.change()
				r.flush()
				r.restoreSome()
				r.look()
				if t.Failed() {
					return
				}
			}
			t.Logf("%d rounds", r.round)
			r.restore(nil)
			if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
				t.Error("the table differs from what it should be")
			}
		})
	}
}

// rounds is a rig whose table is changed, flushed and restored at random.
type rounds struct {
	*rig
	rand  *rand.Rand
	app   *pgx.Conn
	parts bool
	round int
	next  int // id
	other string
}

func newRounds(t *testing.T, seed uint64, tail string) *rounds {
	setup := append(nestedTypes,
		`CREATE TABLE app.t (id bigint NOT NULL, tenant int, note text, amount numeric(12,2), at timestamptz NOT NULL, tags text[], item app.item, span interval, PRIMARY KEY (id, at))`+tail,
		"CREATE INDEX ON app.t (tenant)", "CREATE INDEX ON app.t (at)")
	if tail != "" {
		setup = append(setup, "CREATE TABLE app.rest PARTITION OF app.t DEFAULT")
		for i := range 4 {
			setup = append(setup, fmt.Sprintf("CREATE TABLE app.t%d PARTITION OF app.t FOR VALUES FROM ('2026-01-0%d 00:00+00') TO ('2026-01-0%d 00:00+00')", i+1, i+1, i+2))
		}
	}
	r := &rounds{rig: newRestoreRig(t, setup...), rand: rand.New(rand.NewPCG(seed, uint64(len(tail)))), parts: tail != "", next: 1, other: t.TempDir()}
	r.db.Exec(t, "GRANT TRUNCATE ON ALL TABLES IN SCHEMA app TO "+r.db.Worker)
	must(t, r.ledger.CreateStorage(context.Background(), ledger.StorageRow{Name: "other", Location: "file://" + r.other}, func(a, b string) bool { return a == b }))
	must(t, r.ledger.SetStorageChecked(context.Background(), "other", "file://"+r.other, "", ""))
	r.app = r.db.Connect(t, r.db.OwnerURL)
	t.Cleanup(func() { audit.Storage(t, r.db.SuperURL, r.other) })
	return r
}

func (r *rounds) one(of ...string) string { return of[r.rand.IntN(len(of))] }
func (r *rounds) oneIn(n int) bool        { return r.rand.IntN(n) == 0 }

// change inserts, updates and deletes rows, and notes what the table and its cold rows then are.
func (r *rounds) change() {
	n := 1 + r.rand.IntN(1000)
	r.db.Exec(r.t, fmt.Sprintf(`INSERT INTO app.t SELECT i, CASE WHEN i %% 11 > 0 THEN i %% %d END, CASE WHEN i %% 5 > 0 THEN repeat('n' || i, i %% 30) END, i / 7.0,
			'2026-01-01 00:00+00'::timestamptz + (i * %d %% 7200) * interval '1 min', ARRAY['t' || i, NULL], CASE WHEN i %% 3 > 0 THEN ROW('s', i / 100, '2026-01-01 00:00+00')::app.item END, i * interval '1 min'
		FROM generate_series(%d, %d) i`, 2+r.rand.IntN(6), 1+r.rand.IntN(50), r.next, r.next+n-1),
		fmt.Sprintf("UPDATE app.t SET note = 'changed in %d', tenant = %d WHERE id %% 13 = %d", r.round, r.rand.IntN(9), r.rand.IntN(13)),
		fmt.Sprintf("UPDATE app.t SET at = at + interval '1 day' WHERE id %% 17 = %d", r.rand.IntN(17)),
		fmt.Sprintf("DELETE FROM app.t WHERE id %% 29 = %d", r.rand.IntN(29)))
	if r.oneIn(3) {
		r.db.Exec(r.t, "ANALYZE app.t")
	}
	r.next += n
	r.want = audit.Hot(r.t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(r.t, r.db.SuperURL, "app", "t"))
}

func (r *rounds) where() string {
	return r.one(fmt.Sprintf("(tenant = %d)", r.rand.IntN(9)), fmt.Sprintf("(id <= %d)", r.rand.IntN(r.next)), "(note IS NOT NULL)", "((id % 2) = 0)",
		fmt.Sprintf("(at < '2026-01-0%d 00:00:00+00'::timestamp with time zone)", 2+r.rand.IntN(5)))
}

// options are those of one flush.
func (r *rounds) options() map[string]string {
	p := map[string]string{"chunk_bytes": r.one("64kB", "128kB", "64MB"), "parallelism": r.one("1", "2")}
	maybe := func(name string, of ...string) {
		if r.oneIn(2) {
			p[name] = r.one(of...)
		}
	}
	maybe("where", r.where())
	maybe("order_by", "note DESC", "at, id", "amount NULLS FIRST, tenant")
	maybe("file_bytes", "64kB", "1MB")
	maybe("codec", "zstd", "snappy", "none")
	maybe("row_group_rows", "256", "1000")
	maybe("bloom", "id", "note, tenant")
	maybe("verify", "full", "footer")
	maybe("vacuum", "true", "false")
	maybe("as_text", "item", "tags, amount")
	maybe("on_unrepresentable", "null")
	maybe("storage", "other", "default")
	maybe("chunk_time", "off", "10ms")
	maybe("max_rows_per_second", "100", "1000000")
	maybe("partition_by", "tenant", "day(at)", "tenant, month(at)")
	if strings.HasPrefix(p["partition_by"], "tenant") {
		maybe("path", "{namespace}/{table}/{column:tenant}", "by/{shard}/{column:tenant}", "flat/{job}")
	} else {
		maybe("path", "{namespace}/{table}/{yyyy}/{mm}", "flat/{job}")
	}
	if p["where"] == "" && r.oneIn(2) {
		p["older_than"], p["age_column"] = "1 day", "at"
	}
	if r.parts {
		maybe("whole_partition", "truncate", "delete")
	}
	return p
}

// flush flushes, with rows that others hold, chunks that are killed, and a plan that is cut anew.
func (r *rounds) flush() {
	r.t.Helper()
	r.params = r.options()
	what := fmt.Sprintf("round %d: FLUSH %v", r.round, r.params)
	held := r.oneIn(3) && r.params["whole_partition"] != "truncate"
	if held {
		r.params["lock_timeout"] = "20ms"
		_, err := r.app.Exec(context.Background(), fmt.Sprintf("BEGIN; SELECT FROM app.t WHERE id %% 97 = %d FOR UPDATE", r.rand.IntN(97)))
		must(r.t, err)
	}
	j := r.newJob()
	if r.oneIn(2) && j.plan.Chunks > 0 {
		r.kill(j.chunkUntil, j.plan.FirstChunk)
	}
	if r.oneIn(2) && j.plan.Chunks > 1 {
		next := j.plan.FirstChunk + r.rand.IntN(j.plan.Chunks)
		for n := j.plan.FirstChunk; n < next; n++ {
			if _, err := j.chunk(n); err != nil {
				r.t.Fatalf("%s: chunk %d: %v", what, n, err)
			}
		}
		var err error
		if j.plan, err = r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2, Next: next, ChunkBytes: jobstep.MinChunkBytes}); err != nil {
			r.t.Fatalf("%s: cut anew at %d: %v", what, next, err)
		}
		what += fmt.Sprintf(", cut anew at %d", next)
	}
	_, left := j.run()
	if held {
		_, err := r.app.Exec(context.Background(), "ROLLBACK")
		must(r.t, err)
	}
	if left.RowsLeft > 0 && !held {
		r.t.Errorf("%s: %d rows are left", what, left.RowsLeft)
	}
	r.check(what)
}

// chunkUntil moves a chunk unless the context ends.
func (j *job) chunkUntil(ctx context.Context, n int, at func(jobstep.Checkpoint)) error {
	_, err := j.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: n, Attempt: 1}, at)
	return err
}

// segmentUntil is the same for a restore.
func (j *job) segmentUntil(ctx context.Context, n int, at func(jobstep.Checkpoint)) error {
	_, err := j.f.RestoreSegment(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: n, Attempt: 1}, at)
	return err
}

// kill runs a chunk and kills it at some step.
func (r *rounds) kill(run func(context.Context, int, func(jobstep.Checkpoint)) error, n int) {
	step := jobstep.Step(r.one(string(jobstep.StepClaiming), string(jobstep.StepCopying), string(jobstep.StepUploading), string(jobstep.StepRegistering), string(jobstep.StepCommitting)))
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	err := run(ctx, n, func(c jobstep.Checkpoint) {
		if c.Step == step {
			kill()
		}
	})
	if err != nil && jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
		r.t.Errorf("killed at %s: %v", step, err)
	}
}

func (r *rounds) check(what string) {
	r.t.Helper()
	r.t.Log(what)
	audit.Check(r.t, r.db.SuperURL, "app", "t", r.want)
	if r.t.Failed() {
		r.t.Fatal(what)
	}
}

// restoreSome puts some rows back: by a predicate, of one job, or all.
func (r *rounds) restoreSome() {
	r.t.Helper()
	params := map[string]string{}
	if !r.oneIn(4) {
		params["where"] = r.where()
	}
	if r.oneIn(4) {
		params["on_conflict"] = "skip"
	}
	if r.oneIn(4) {
		params["from_job"] = pgtest.Value[string](r.t, r.db, fmt.Sprintf("SELECT coalesce((SELECT job_id FROM spillway.job_history WHERE job_type = 'flush' ORDER BY created_at OFFSET %d LIMIT 1), 'flush:app.t:none')", r.rand.IntN(r.round+1)))
	}
	j := r.newRestore(params)
	if j.plan.Chunks > 0 && r.oneIn(2) {
		r.kill(j.segmentUntil, r.rand.IntN(j.plan.Chunks))
	}
	j.restore()
	r.check(fmt.Sprintf("round %d: RESTORE %v", r.round, params))
}

// look verifies the table and cleans up: nothing is bad, nothing is stray, and nothing is left by the killed.
func (r *rounds) look() {
	r.t.Helper()
	if found, err := r.verify(); err != nil || len(found) > 0 {
		r.t.Errorf("round %d: VERIFY: %v, %+v", r.round, err, found)
	}
	if r.oneIn(2) {
		if _, err := r.cleanup(false); err != nil {
			r.t.Errorf("round %d: CLEANUP: %v", r.round, err)
		}
	}
	audit.Storage(r.t, r.db.SuperURL, r.dir)
	audit.Storage(r.t, r.db.SuperURL, r.other)
}
