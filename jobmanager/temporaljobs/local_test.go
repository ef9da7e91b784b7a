package temporaljobs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/workflows"
)

// newLocal returns a manager of local jobs on the database of r. It is stopped when the test ends.
func (r *real) newLocal(t *testing.T, opt localjobs.Options) *localjobs.Manager {
	t.Helper()
	m, err := localjobs.New(r.flusher, r.ledger, &opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopLocal(t, m) })
	return m
}

func stopLocal(t *testing.T, m *localjobs.Manager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// bothManagers is an installation with two managers and a table of many chunks, of which one row is locked by somebody who
// does not let go until free is called: no flush ends before.
func bothManagers(t *testing.T) (r *real, local *localjobs.Manager, want audit.Rows, free func()) {
	t.Helper()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	r = newReal(t, temporaltest.Client(t))
	r.db.Exec(t, `INSERT INTO app.events SELECT i, repeat('note ' || i, 20) FROM generate_series(1, 5000) AS i`)
	lock := r.db.Connect(t, r.db.OwnerURL)
	if _, err := lock.Exec(t.Context(), `BEGIN; LOCK TABLE app.events IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	free = func() {
		if _, err := lock.Exec(context.Background(), `ROLLBACK`); err != nil {
			t.Error(err)
		}
	}
	want = audit.Hot(t, r.db.SuperURL, "app", "events", "")
	return r, r.newLocal(t, localjobs.Options{Backoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Attempts: 10000}), want, free
}

func (r *real) audit(t *testing.T, want audit.Rows) {
	t.Helper()
	audit.Check(t, r.db.SuperURL, "app", "events", want)
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM spillway.claims`); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

func smallChunks(where string) jobmanager.JobSpec {
	spec := flushOf(events)
	spec.Params = map[string]string{"chunk_bytes": "64kB", "where": where}
	return spec
}

// awaitStarted waits until a chunk of a job was attempted.
func awaitStarted(t *testing.T, m jobmanager.JobManager, id jobmanager.JobID) {
	t.Helper()
	await.Until(t, "a chunk is tried", func() bool {
		info, err := m.JobStatus(t.Context(), id)
		if err != nil || info.Status.Terminal() {
			t.Fatalf("%+v, %v", info, err)
		}
		return info.Status == jobmanager.Running
	})
}

func wantBusy(t *testing.T, err error, id jobmanager.JobID, manager string) {
	t.Helper()
	var busy *jobmanager.BusyError
	if !errors.As(err, &busy) || busy.Running != id || busy.Manager != manager {
		t.Errorf("error %v, want a BusyError that names %s of the manager %q", err, id, manager)
	}
}

// While a job of one manager lives, the other manager starts nothing on its table, whatever it is asked for.
func TestOneJobPerTableOverBothManagers(t *testing.T) {
	t.Parallel()
	r, local, want, free := bothManagers(t)
	held := mustStart(t, local, smallChunks("id <= 3000"))
	awaitStarted(t, local, held)
	for _, where := range []string{"id <= 3000", "id > 3000"} {
		_, err := r.manager.StartJob(t.Context(), smallChunks(where))
		wantBusy(t, err, held, "local")
	}
	free()
	if info := mustWait(t, local, held, jobmanager.Completed); info.RowsFlushed != 3000 {
		t.Errorf("%+v", info)
	}
	// What one manager has recorded, the other knows.
	if info := mustWait(t, r.manager, held, jobmanager.Completed); info.RowsFlushed != 3000 || info.Statement != flushOf(events).Statement {
		t.Errorf("%+v", info)
	}

	r.db.Exec(t, `CREATE FUNCTION app.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END'`,
		`CREATE TRIGGER slow BEFORE DELETE ON app.events FOR EACH ROW EXECUTE FUNCTION app.slow()`)
	spec := smallChunks("id > 3000")
	spec.Params["triggers"] = "fire"
	remote := mustStart(t, r.manager, spec)
	awaitStarted(t, r.manager, remote)
	_, err := local.StartJob(t.Context(), spec)
	wantBusy(t, err, remote, "temporal")
	if err := r.manager.CancelJob(t.Context(), remote); err != nil {
		t.Fatal(err)
	}
	mustWait(t, r.manager, remote, jobmanager.Cancelled)
	r.db.Exec(t, `DROP TRIGGER slow ON app.events`)
	mustWait(t, local, mustStart(t, local, smallChunks("true")), jobmanager.Completed)
	r.audit(t, want)
}

// A local job that was cut off with its process holds its table no longer: a job of Temporal's takes it, and closes the
// dead one.
func TestTemporalTakesOverFromDeadLocalJob(t *testing.T) {
	t.Parallel()
	r, local, want, free := bothManagers(t)
	dead := mustStart(t, local, smallChunks("id <= 3000"))
	awaitStarted(t, local, dead)
	stopLocal(t, local)
	free()
	mustWait(t, r.manager, mustStart(t, r.manager, smallChunks("true")), jobmanager.Completed)
	if info := mustWait(t, r.manager, dead, jobmanager.Failed); info.ErrorClass != jobstep.ClassInterrupted || info.Error == "" {
		t.Errorf("%+v", info)
	}
	r.audit(t, want)
}

// A job whose Temporal is gone keeps its claim. A local start refuses the table, unless it is told to take it.
func TestLocalTakesOverFromLostTemporal(t *testing.T) {
	t.Parallel()
	r, local, want, free := bothManagers(t)
	free()
	lost := jobmanager.JobID{Type: "flush", Table: events, UUID: uuid.New()}
	req := uuid.New()
	if err := r.ledger.PutRequest(t.Context(), requestOf(smallChunks("id <= 3000"), req)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.flusher.Plan(t.Context(), jobstep.PlanInput{JobID: lost.String(), RequestID: req.String(), Generation: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.flusher.RunChunk(t.Context(), jobstep.ChunkInput{JobID: lost.String(), Chunk: 0, Attempt: 1}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := local.StartJob(t.Context(), smallChunks("true"))
	wantBusy(t, err, lost, "temporal")
	force := r.newLocal(t, localjobs.Options{TakeOver: true})
	mustWait(t, force, mustStart(t, force, smallChunks("true")), jobmanager.Completed)
	if info, err := force.JobStatus(t.Context(), lost); err != nil || info.Status != jobmanager.Failed || info.ErrorClass != jobstep.ClassInterrupted || info.RowsFlushed == 0 {
		t.Errorf("%+v, %v", info, err)
	}
	r.audit(t, want)
}

// Starts of both managers at once, again and again: at most one job moves rows at a time, and each row is moved once.
func TestBothManagersAtOnce(t *testing.T) {
	t.Parallel()
	r, local, want, free := bothManagers(t)
	free()
	for n := range 5 {
		spec := smallChunks(fmt.Sprintf("id <= %d00", n+1))
		type answer struct {
			m   jobmanager.JobManager
			s   jobmanager.Started
			err error
		}
		answers := make(chan answer)
		for _, m := range []jobmanager.JobManager{local, r.manager} {
			go func() {
				s, err := m.StartJob(t.Context(), spec)
				answers <- answer{m, s, err}
			}()
		}
		for range 2 {
			a := <-answers
			var busy *jobmanager.BusyError
			if a.err != nil && !errors.As(a.err, &busy) {
				t.Error(a.err)
			}
			if a.err != nil {
				continue
			}
			info, err := a.m.(jobmanager.Waiter).WaitJob(t.Context(), a.s.ID)
			if err != nil || info.Status != jobmanager.Completed {
				t.Errorf("%+v, %v", info, err)
			}
		}
	}
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM app.events WHERE id <= 500`); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
	r.audit(t, want)
}

func requestOf(spec jobmanager.JobSpec, id uuid.UUID) ledger.Request {
	return ledger.Request{ID: id, JobType: string(spec.Type), Schema: spec.Table.Namespace, Table: spec.Table.Name, Params: spec.Params,
		Statement: spec.Statement, RequestedBy: spec.RequestedBy, Trigger: "command"}
}
