package temporaljobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// real is an installation with nothing faked: PostgreSQL, ledger, flush steps, Temporal.
type real struct {
	name    string
	dir     string // of the storage
	db      *pgtest.DB
	ledger  *ledger.Ledger
	flusher *flush.Flusher
	manager *temporaljobs.Manager
}

// newReal builds one, on the server behind c, with a table app.events that the worker's role may flush.
func newReal(t testing.TB, c client.Client) *real {
	t.Helper()
	r := newRealWithoutWorker(t, c, workflows.Tuning{})
	r.startWorker(t, c, t.Context())
	return r
}

func newRealWithoutWorker(t testing.TB, c client.Client, tuning workflows.Tuning) *real {
	t.Helper()
	r := &real{name: "real " + uuid.NewString(), dir: t.TempDir(), db: pgtest.Database(t)}
	r.db.Exec(t,
		`CREATE TABLE app.events (id bigint, note text)`,
		fmt.Sprintf(`GRANT USAGE ON SCHEMA app TO %s`, r.db.Worker),
		fmt.Sprintf(`GRANT SELECT, DELETE, UPDATE ON app.events TO %s`, r.db.Worker))
	db, err := hot.Open(t.Context(), r.db.WorkerURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	l := ledger.New(db.Pool(), nil)
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.EnsureDefaultStorage(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	f, err := flush.New(flush.Deps{Hot: db, Ledger: l, Stores: coldstore.NewLedgerStores(l, nil), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r.ledger, r.flusher = l, f
	r.manager, err = temporaljobs.New(c, l, &temporaljobs.Options{
		Installation: r.name,
		Types:        map[jobmanager.JobType]temporaljobs.Type{workflows.FlushType: temporaljobs.Flush(nil, tuning)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// startWorker starts a worker whose activities have contexts that come from base. It is stopped when the test ends.
func (r *real) startWorker(t testing.TB, c client.Client, base context.Context) {
	t.Helper()
	w, err := worker.New(c, workflows.TaskQueue(r.name), activities.New(r.flusher, nil), &worker.Options{Logger: slog.New(slog.DiscardHandler), Context: base})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestRealFlush runs jobs with nothing faked. A3, A6, A8, A62
func TestRealFlush(t *testing.T) {
	t.Parallel()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	r := newReal(t, temporaltest.Client(t))
	m := r.manager
	r.db.Exec(t, `INSERT INTO app.events SELECT i, 'note ' || i FROM generate_series(1, 1000) AS i`)

	spec := jobmanager.JobSpec{
		Type: workflows.FlushType, Table: events, Params: map[string]string{"where": "id <= 600"},
		Statement: "FLUSH TABLE app.events WHERE id <= 600", RequestedBy: "alice", Trigger: jobmanager.TriggerCommand,
	}
	id := mustStart(t, m, spec)
	other := spec
	other.Params = nil
	var busy *jobmanager.BusyError
	if s, err := m.StartJob(t.Context(), other); err == nil {
		mustWait(t, m, s.ID, jobmanager.Completed) // the first had ended already
	} else if !errors.As(err, &busy) || busy.Running != id {
		t.Errorf("another flush: %v", err)
	}
	info := mustWait(t, m, id, jobmanager.Completed)
	if info.RowsFlushed != 600 || info.Segments < 1 || info.BytesWritten == 0 || info.Location == "" || info.RowsLeft == nil || *info.RowsLeft != 0 {
		t.Errorf("%+v", info)
	}
	if info.Statement != spec.Statement || info.RequestedBy != "alice" || info.StartedAt == nil || info.WorkflowID == "" || info.RunID == "" {
		t.Errorf("%+v", info)
	}
	mustWait(t, m, mustStart(t, m, other), jobmanager.Completed)
	again := mustStart(t, m, spec)
	if info := mustWait(t, m, again, jobmanager.Completed); info.RowsFlushed != 0 || info.Segments != 0 {
		t.Errorf("nothing was left to flush: %+v", info)
	}
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM app.events`); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
	var newest jobmanager.JobID
	for info, err := range m.ListJobs(t.Context(), jobmanager.JobFilter{All: true, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		newest = info.ID
	}
	if newest != again {
		t.Errorf("the newest job is %s, want %s", newest, again)
	}
	missing := mustStart(t, m, jobmanager.JobSpec{Type: workflows.FlushType, Table: jobmanager.Table{Namespace: "app", Name: "missing"}})
	if info := mustWait(t, m, missing, jobmanager.Failed); info.ErrorClass != jobstep.ClassMissingTable || info.Error == "" {
		t.Errorf("class %q, error %q", info.ErrorClass, info.Error)
	}
}
