package policy_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/policy"
	"github.com/spillwaydb/spillway/tests/await"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds what a test waits for; it is no measure of speed.
const patience = 8 * time.Second

// quick are the options of tests: intervals are short, and nothing else is different.
var quick = policy.Options{
	Tick: 100 * time.Millisecond, Backoff: 600 * time.Millisecond, MaxBackoff: 3 * time.Second, Relook: time.Second, Relocate: 500 * time.Millisecond,
	Logger: slog.New(slog.DiscardHandler),
}

// rig is a database with a ledger, and a starter whose flushes are a DELETE and a row of history.
type rig struct {
	t      *testing.T
	db     *pgtest.DB
	hot    *hot.DB
	ledger *ledger.Ledger

	mu     sync.Mutex
	live   map[string]string // table → job
	begun  map[string][]start
	answer map[string]func(d ledger.Duty) (string, error) // how a start goes, by table
	finish map[string]func(h *ledger.HistoryRow) bool     // how a job ends, by table; false: it goes on
}

type start struct {
	at  time.Time
	job string
	d   ledger.Duty
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, db: pgtest.Database(t), live: map[string]string{}, begun: map[string][]start{},
		answer: map[string]func(ledger.Duty) (string, error){}, finish: map[string]func(*ledger.HistoryRow) bool{}}
	var err error
	if r.hot, err = hot.Open(t.Context(), r.db.WorkerURL, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.hot.Close)
	r.ledger = ledger.New(r.hot.Pool(), nil)
	r.must(r.ledger.Migrate(t.Context()))
	r.db.Exec(t, "GRANT USAGE ON SCHEMA app TO "+r.db.Worker)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// table makes an empty table.
func (r *rig) table(name string) {
	r.t.Helper()
	r.db.Exec(r.t, "CREATE TABLE app."+name+" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), kind text NOT NULL DEFAULT 'a', note text)",
		"GRANT SELECT, DELETE, UPDATE ON app."+name+" TO "+r.db.Worker)
}

// policy sets a table's policy.
func (r *rig) policy(name, json string) {
	r.t.Helper()
	r.must(r.ledger.RegisterTable(r.t.Context(), "app", name))
	r.sql(`UPDATE spillway.tables SET policy = $2, policy_set_at = clock_timestamp(), policy_set_by = 'ann', policy_statement = 'ALTER TABLE …' WHERE table_name = $1`, name, json)
}

func (r *rig) sql(query string, args ...any) {
	r.t.Helper()
	if _, err := r.hot.Pool().Exec(r.t.Context(), query, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) insert(name string, rows int) {
	r.t.Helper()
	r.db.Exec(r.t, fmt.Sprintf("INSERT INTO app.%s (note) SELECT 'x' FROM generate_series(1, %d)", name, rows))
}

// StartFlush implements policy.Starter as a manager does: one job per table.
func (r *rig) StartFlush(ctx context.Context, d ledger.Duty, _ policy.Policy) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if answer := r.answer[d.Table]; answer != nil {
		if id, err := answer(d); id != "" || err != nil {
			r.begun[d.Table] = append(r.begun[d.Table], start{at: time.Now(), job: id, d: d})
			return id, err
		}
	}
	if id := r.live[d.Table]; id != "" {
		return id, nil
	}
	id := "flush:app." + d.Table + ":" + uuid.NewString()
	r.live[d.Table] = id
	r.begun[d.Table] = append(r.begun[d.Table], start{at: time.Now(), job: id, d: d})
	go r.flush(d, id)
	return id, nil
}

// flush deletes what matches, and records the end, unless the job goes on.
func (r *rig) flush(d ledger.Duty, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h := ledger.HistoryRow{JobID: id, JobType: "flush", Schema: "app", Table: d.Table, Status: "completed", CreatedAt: time.Now()}
	r.mu.Lock()
	finish := r.finish[d.Table]
	r.mu.Unlock()
	if finish != nil && !finish(&h) {
		return
	}
	if finish == nil {
		tag, err := r.hot.Pool().Exec(ctx, "DELETE FROM app."+d.Table)
		if err != nil {
			h.Status = "failed"
		}
		h.RowsFlushed = tag.RowsAffected()
	}
	stored, err := r.ledger.InsertHistory(ctx, h)
	if err == nil && h.Status == "completed" {
		err = r.ledger.TouchTable(ctx, "app", d.Table, stored.FinishedAt, id)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Println("record the end:", err)
	}
	r.mu.Lock()
	delete(r.live, d.Table)
	r.mu.Unlock()
}

func (r *rig) starts(name string) []start {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]start(nil), r.begun[name]...)
}

// watch runs a watcher until the test ends or stop is called.
func (r *rig) watch(opt policy.Options) (w *policy.Watcher, stop func()) {
	r.t.Helper()
	w, err := policy.New(r.ledger, r.hot, r, &opt)
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx, nil) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(stop)
	return w, stop
}

func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	await.Until(r.t, what, ok)
}

// awaitStarts waits until a table's policy has started n jobs.
func (r *rig) awaitStarts(name string, n int) []start {
	r.t.Helper()
	r.await(fmt.Sprintf("%d starts of %s", n, name), func() bool { return len(r.starts(name)) >= n })
	return r.starts(name)
}

// awaitEnd waits until a table has no job.
func (r *rig) awaitEnd(name string) {
	r.t.Helper()
	r.await("the end of the flush of "+name, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.live[name] == ""
	})
}

// awaitTicks waits until the watcher has looked at everything a few times.
func (r *rig) awaitTicks(w *policy.Watcher, n int) {
	r.t.Helper()
	for range n {
		before := w.Ticks()
		r.await("a tick", func() bool { return w.Ticks() > before })
	}
}

// duty reads the state of a table's policy.
func (r *rig) duty(name string) ledger.Duty {
	r.t.Helper()
	all, err := r.ledger.Duties(r.t.Context(), nil)
	r.must(err)
	for _, d := range all {
		if d.Table == name {
			return d
		}
	}
	r.t.Fatalf("%s has no policy", name)
	return ledger.Duty{}
}
