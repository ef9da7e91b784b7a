package flush_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/upkeep"
	"github.com/spillwaydb/spillway/tests/audit"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig is one database with a table, a storage, and a Flusher that works as the unprivileged worker.
type rig struct {
	t      testing.TB
	db     *pgtest.DB
	hot    *hot.DB
	ledger *ledger.Ledger
	f      *flush.Flusher
	k      *upkeep.Keeper
	stores coldstore.Stores // of f and k, which share them as in the product
	dir    string           // of the storage
	want   audit.Rows
	params map[string]string
}

// newRig runs setup as the owner, who must make app.t, and grants the worker what it needs there.
func newRig(t testing.TB, setup ...string) *rig {
	t.Helper()
	return newRigOn(t, pgtest.Database(t), "", setup...)
}

// newRigOn is newRig on a given database; the Flusher reaches it by url, or directly if that is "".
func newRigOn(t testing.TB, db *pgtest.DB, url string, setup ...string) *rig {
	t.Helper()
	db.Exec(t, setup...)
	db.Exec(t, "GRANT USAGE ON SCHEMA app TO "+db.Worker, "GRANT SELECT, DELETE, UPDATE ON ALL TABLES IN SCHEMA app TO "+db.Worker)
	r := &rig{t: t, db: db, dir: t.TempDir(), params: map[string]string{}}
	r.connect(url)
	r.want = audit.Hot(t, db.SuperURL, "app", "t", "")
	t.Cleanup(r.audit)
	return r
}

// connect builds a new worker, as a restarted process would.
func (r *rig) connect(url string) {
	r.t.Helper()
	ctx := context.Background()
	if url == "" {
		url = r.db.WorkerURL
	}
	var err error
	if r.hot, err = hot.Open(ctx, url, nil); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.hot.Close)
	r.ledger = ledger.New(r.hot.Pool(), nil)
	if err := r.ledger.Migrate(ctx); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.ledger.Installation(ctx, "test"); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.ledger.EnsureDefaultStorage(ctx, "file://"+r.dir); err != nil {
		r.t.Fatal(err)
	}
	r.build()
}

// build makes what one process has: a Flusher and a Keeper, on the same stores.
func (r *rig) build() {
	r.t.Helper()
	r.stores = coldstore.NewLedgerStores(r.ledger, nil)
	r.f = r.flusherOn(r.stores)
	r.k = upkeep.New(r.ledger, r.stores, slog.New(slog.DiscardHandler))
}

// flusher makes a Flusher whose stores come from open, or are plain directories.
func (r *rig) flusher(open func(context.Context, string) (objstore.Store, error)) *flush.Flusher {
	r.t.Helper()
	return r.flusherOn(coldstore.NewLedgerStores(r.ledger, open))
}

func (r *rig) flusherOn(stores coldstore.Stores) *flush.Flusher {
	r.t.Helper()
	f, err := flush.New(flush.Deps{Hot: r.hot, Ledger: r.ledger, Stores: stores, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// keeper makes a Keeper whose stores come from open, or are plain directories.
func (r *rig) keeper(open func(context.Context, string) (objstore.Store, error)) *upkeep.Keeper {
	return upkeep.New(r.ledger, coldstore.NewLedgerStores(r.ledger, open), slog.New(slog.DiscardHandler))
}

// audit checks, as the last thing, that hot and cold are what they should be and that nothing lies about.
func (r *rig) audit() {
	if r.want != nil {
		audit.Check(r.t, r.db.SuperURL, "app", "t", r.want)
	}
	audit.Storage(r.t, r.db.SuperURL, r.dir)
}

// job is a job as its manager would drive it.
type job struct {
	*rig
	id, request string
	plan        jobstep.PlanResult
}

func (r *rig) request() string {
	r.t.Helper()
	id := uuid.New()
	if err := r.ledger.PutRequest(context.Background(), ledger.Request{ID: id, JobType: "flush", Schema: "app", Table: "t", Params: r.params, Trigger: "command"}); err != nil {
		r.t.Fatal(err)
	}
	return id.String()
}

// newJob plans a flush of app.t.
func (r *rig) newJob() *job {
	r.t.Helper()
	j := &job{rig: r, id: "flush:app.t:" + uuid.NewString(), request: r.request()}
	var err error
	if j.plan, err = r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1}); err != nil {
		r.t.Fatal(err)
	}
	return j
}

// chunk moves one chunk.
func (j *job) chunk(n int) (jobstep.ChunkResult, error) {
	return j.f.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: n, Attempt: 1}, nil)
}

// run drives the job to its end, as the workflow does.
func (j *job) run() (jobstep.FinishResult, jobstep.ResidueResult) {
	j.t.Helper()
	ctx := context.Background()
	plan := &j.plan
	var left jobstep.ResidueResult
	for pass := 1; plan != nil; pass++ {
		if err := j.chunks(plan); err != nil {
			j.t.Fatal(err)
		}
		var err error
		if left, err = j.f.Residue(ctx, jobstep.ResidueInput{JobID: j.id, Pass: pass}); err != nil {
			j.t.Fatal(err)
		}
		plan = left.Plan
	}
	if err := j.f.Publish(ctx, j.id); err != nil {
		j.t.Fatal(err)
	}
	if err := j.f.Vacuum(ctx, j.id); err != nil {
		j.t.Fatal(err)
	}
	return j.finish("completed", &left.RowsLeft), left
}

// chunks moves all chunks of a generation, two at a time if the plan allows it.
func (j *job) chunks(plan *jobstep.PlanResult) error {
	slots := make(chan struct{}, min(plan.Parallelism, 2))
	errs := make(chan error, plan.Chunks)
	var wg sync.WaitGroup
	for n := plan.FirstChunk; n < plan.FirstChunk+plan.Chunks; n++ {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, err := j.chunk(n); err != nil {
				errs <- fmt.Errorf("chunk %d: %w", n, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (j *job) finish(status string, left *int64) jobstep.FinishResult {
	j.t.Helper()
	res, err := j.f.Finish(context.Background(), jobstep.FinishInput{JobID: j.id, RequestID: j.request, Status: status, RowsLeft: left})
	if err != nil {
		j.t.Fatal(err)
	}
	return res
}

// hotCount is how many rows are in the table.
func (r *rig) hotCount() int64 {
	r.t.Helper()
	return pgtest.Value[int64](r.t, r.db, "SELECT count(*) FROM app.t")
}

// events is the table most tests use.
const events = `CREATE TABLE app.t (id bigint PRIMARY KEY, tenant int NOT NULL, note text, amount numeric(12,2), at timestamptz)`

func fill(rows int) string {
	return fmt.Sprintf(`INSERT INTO app.t SELECT i, i %% 7, CASE WHEN i %% 10 = 0 THEN NULL ELSE repeat('note ' || i, 5) END, i / 100.0, '2026-01-01'::timestamptz + i * interval '1 min' FROM generate_series(1, %d) i`, rows)
}

func itoa(i int) string { return fmt.Sprint(i) }

// flushTable flushes app.<name> with one call of each step.
func flushTable(t testing.TB, r *rig, name string) jobstep.FinishResult {
	t.Helper()
	ctx := context.Background()
	id := uuid.New()
	if err := r.ledger.PutRequest(ctx, ledger.Request{ID: id, JobType: "flush", Schema: "app", Table: name, Params: r.params, Trigger: "command"}); err != nil {
		t.Fatal(err)
	}
	j := &job{rig: r, id: "flush:app.x:" + uuid.NewString(), request: id.String()}
	var err error
	if j.plan, err = r.f.Plan(ctx, jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1}); err != nil {
		t.Fatal(err)
	}
	res, _ := j.run()
	return res
}
