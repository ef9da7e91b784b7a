package localjobs_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
)

var events = jobmanager.Table{Namespace: "app", Name: "events"}

func flushOf(t jobmanager.Table) jobmanager.JobSpec {
	return jobmanager.JobSpec{Type: localjobs.FlushType, Table: t, Statement: "FLUSH TABLE " + t.String(), RequestedBy: "alice"}
}

// steps are steptest's, with those that a test wants otherwise.
type steps struct {
	*steptest.Steps
	lost    chan struct{}
	plan    func(jobstep.PlanInput) (jobstep.PlanResult, error)
	residue func(jobstep.ResidueInput) (jobstep.ResidueResult, error)

	mu    sync.Mutex
	calls []string
}

func (s *steps) call(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
}

func (s *steps) count(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == name {
			n++
		}
	}
	return n
}

func (s *steps) TakeTable(ctx context.Context, c ledger.Claim, force bool) (ledger.Hold, error) {
	h, err := s.Steps.TakeTable(ctx, c, force)
	h.Lost = s.lost
	return h, err
}

func (s *steps) Plan(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	s.call("plan")
	if s.plan != nil {
		return s.plan(in)
	}
	return s.Steps.Plan(ctx, in)
}

func (s *steps) Residue(ctx context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	s.call("residue")
	if s.residue != nil {
		return s.residue(in)
	}
	return s.Steps.Residue(ctx, in)
}

func (s *steps) Publish(context.Context, string) error { s.call("publish"); return nil }
func (s *steps) Vacuum(context.Context, string) error  { s.call("vacuum"); return nil }

func (s *steps) Sweep(context.Context, string) (jobstep.SweepResult, error) {
	s.call("sweep")
	return jobstep.SweepResult{}, nil
}

// process is a manager of its own on a ledger that others may share.
func process(t *testing.T, w *jobmanagertest.Work, l *steptest.Ledger) (*localjobs.Manager, *steps) {
	t.Helper()
	alive, die := context.WithCancel(context.Background())
	s := &steps{Steps: &steptest.Steps{Work: w, Ledger: l, Alive: alive}, lost: make(chan struct{})}
	m, err := localjobs.New(s, l, &localjobs.Options{Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond, Replans: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		die()
	})
	return m, s
}

func mustStart(t *testing.T, m *localjobs.Manager, spec jobmanager.JobSpec) jobmanager.JobID {
	t.Helper()
	s, err := m.StartJob(t.Context(), spec)
	if err != nil || s.Existing {
		t.Fatalf("start: %+v, %v", s, err)
	}
	return s.ID
}

func mustWait(t *testing.T, m *localjobs.Manager, id jobmanager.JobID, want jobmanager.Status) jobmanager.JobInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	info, err := m.WaitJob(ctx, id)
	if err != nil || info.Status != want {
		t.Fatalf("job %s: %s (%s), %v; want %s", id, info.Status, info.ErrorClass, err, want)
	}
	return info
}

// A51: another process sees the job, waits for it, gets it for the same request, and cannot change it.
func TestJobOfAnotherProcess(t *testing.T) {
	t.Parallel()
	w, l := jobmanagertest.NewWork(), steptest.NewLedger()
	ours, _ := process(t, w, l)
	theirs, _ := process(t, w, l)
	s := w.Table(events)
	s.SetChunks(2)
	s.Hold()
	id := mustStart(t, theirs, flushOf(events))
	s.AwaitBegun(t)
	if info, err := ours.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Running || info.RequestedBy != "alice" {
		t.Errorf("%+v, %v", info, err)
	}
	n := 0
	for info, err := range ours.ListJobs(t.Context(), jobmanager.JobFilter{}) {
		if n++; err != nil || info.ID != id {
			t.Errorf("listed %s, %v", info.ID, err)
		}
	}
	if n != 1 {
		t.Errorf("%d jobs are listed, want 1", n)
	}
	if got, err := ours.StartJob(t.Context(), flushOf(events)); err != nil || got.ID != id || !got.Existing {
		t.Errorf("the same request: %+v, %v", got, err)
	}
	other := flushOf(events)
	other.Params = map[string]string{"where": "id = 1"}
	var busy *jobmanager.BusyError
	if _, err := ours.StartJob(t.Context(), other); !errors.As(err, &busy) || busy.Running != id || busy.Manager != "" {
		t.Errorf("another request: %v", err)
	}
	for name, change := range map[string]func(context.Context, jobmanager.JobID) error{"cancel": ours.CancelJob, "pause": ours.PauseJob, "resume": ours.ResumeJob} {
		if err := change(t.Context(), id); !errors.Is(err, jobmanager.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Open()
	mustWait(t, ours, id, jobmanager.Completed)
	var fin *jobmanager.FinishedError
	if err := ours.CancelJob(t.Context(), id); !errors.As(err, &fin) {
		t.Errorf("cancel after the end: %v", err)
	}
}

// A job that was taken for dead ends as such, and does not write over what was recorded meanwhile.
func TestLostHold(t *testing.T) {
	t.Parallel()
	w, l := jobmanagertest.NewWork(), steptest.NewLedger()
	m, s := process(t, w, l)
	script := w.Table(events)
	script.SetChunks(2)
	script.Hold()
	id := mustStart(t, m, flushOf(events))
	script.AwaitBegun(t)
	close(s.lost)
	if info := mustWait(t, m, id, jobmanager.Failed); info.ErrorClass != jobstep.ClassInterrupted {
		t.Errorf("class %q", info.ErrorClass)
	}
	if s.count("sweep") != 1 {
		t.Errorf("%d sweeps, want 1", s.count("sweep"))
	}
}

// A60: a table that changes is planned again, and not for ever.
func TestReplan(t *testing.T) {
	t.Parallel()
	w, l := jobmanagertest.NewWork(), steptest.NewLedger()
	m, s := process(t, w, l)
	s.plan = func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		if !in.Claimed {
			t.Error("the plan would claim the table")
		}
		return jobstep.PlanResult{Generation: in.Generation, FirstChunk: 10 * (in.Generation - 1), Chunks: 2}, nil
	}
	script := w.Table(events)
	script.SetFailure(func(chunk, _ int) error {
		if chunk < 20 {
			return &jobmanagertest.Failure{Class: jobstep.ClassReplan}
		}
		return nil
	})
	if info := mustWait(t, m, mustStart(t, m, flushOf(events)), jobmanager.Completed); info.ChunksDone != 2 || s.count("plan") != 3 || s.count("publish") != 1 {
		t.Errorf("%+v after %d plans, %d manifests", info, s.count("plan"), s.count("publish"))
	}
	script.SetFailure(func(int, int) error { return &jobmanagertest.Failure{Class: jobstep.ClassReplan} })
	if info := mustWait(t, m, mustStart(t, m, flushOf(events)), jobmanager.Failed); info.ErrorClass != jobstep.ClassConflict {
		t.Errorf("class %q", info.ErrorClass)
	}
}

// A job vacuums where its plan says so, when its rows have moved.
func TestVacuum(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{true, false} {
		w, l := jobmanagertest.NewWork(), steptest.NewLedger()
		m, s := process(t, w, l)
		s.plan = func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
			return jobstep.PlanResult{Generation: in.Generation, Chunks: 2, Vacuum: wanted}, nil
		}
		mustWait(t, m, mustStart(t, m, flushOf(events)), jobmanager.Completed)
		if n := s.count("vacuum"); (n == 1) != wanted || n > 1 {
			t.Errorf("wanted: %v, vacuumed %d times", wanted, n)
		}
	}
}

// Rows that were left are planned once more, and what is left then is reported.
func TestResidue(t *testing.T) {
	t.Parallel()
	w, l := jobmanagertest.NewWork(), steptest.NewLedger()
	m, s := process(t, w, l)
	w.Table(events).SetChunks(2)
	s.residue = func(in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
		if in.Pass == 1 {
			return jobstep.ResidueResult{RowsLeft: 7, Plan: &jobstep.PlanResult{Generation: 2, FirstChunk: 2, Chunks: 1}}, nil
		}
		return jobstep.ResidueResult{RowsLeft: 3}, nil
	}
	info := mustWait(t, m, mustStart(t, m, flushOf(events)), jobmanager.Completed)
	if info.ChunksDone != 3 || info.RowsLeft == nil || *info.RowsLeft != 3 || s.count("residue") != 2 {
		t.Errorf("%+v after %d passes", info, s.count("residue"))
	}
}

// A32: a step is tried again while time may cure what keeps it.
func TestStepsAreTriedAgain(t *testing.T) {
	t.Parallel()
	w, l := jobmanagertest.NewWork(), steptest.NewLedger()
	m, s := process(t, w, l)
	tries := 0
	s.plan = func(jobstep.PlanInput) (jobstep.PlanResult, error) {
		if tries++; tries < 5 {
			return jobstep.PlanResult{}, &jobstep.ClassifiedError{Class: jobstep.ClassConnection, Err: errors.New("gone")}
		}
		return jobstep.PlanResult{Generation: 1}, nil
	}
	mustWait(t, m, mustStart(t, m, flushOf(events)), jobmanager.Completed)
}

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := localjobs.New(nil, steptest.NewLedger(), nil); err == nil {
		t.Error("no steps: no error")
	}
	if _, err := localjobs.New(&steptest.Steps{}, nil, nil); err == nil {
		t.Error("no ledger: no error")
	}
	m, _ := process(t, jobmanagertest.NewWork(), steptest.NewLedger())
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.StartJob(t.Context(), flushOf(events)); err == nil {
		t.Error("a stopped manager starts a job")
	}
}
