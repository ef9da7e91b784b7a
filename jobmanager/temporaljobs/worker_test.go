package temporaljobs_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// The worker's tests are here because they need a server, and one test binary that links it is enough.

// A38
func TestStopWaitsForRunningChunks(t *testing.T) {
	t.Parallel()
	h, m, s, id := heldFlush(t, 5)
	s.AwaitBegun(t)
	stopped := make(chan error)
	go func() { stopped <- h.worker.Stop(context.Background()) }()
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned %v while chunks ran", err)
	default:
	}
	s.Open()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if n, err := s.Moved(); n < 2 || err != nil {
		t.Errorf("%d chunks were moved, %v; want at least the 2 that ran", n, err)
	}
	if info, err := m.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Running {
		t.Errorf("status %s, %v; want running", info.Status, err)
	}
	h.StartWorker(t)
	if info := mustWait(t, m, id, jobmanager.Completed); info.Attempt != 1 {
		t.Errorf("attempt %d: a chunk that was waited for must not be tried again", info.Attempt)
	}
}

// replaceWorker stops the harness's worker and makes one, not yet started, with the test's own options.
func (h *harness) replaceWorker(t *testing.T, opt *worker.Options) *worker.Worker {
	t.Helper()
	h.StopWorker(t, false)
	opt.Logger = slog.New(slog.DiscardHandler)
	acts := activities.New(&steptest.Steps{Work: h.work, Ledger: h.ledger, Alive: context.Background()}, nil)
	wk, err := worker.New(temporaltest.Client(t), workflows.TaskQueue(h.name), acts, opt)
	if err != nil {
		t.Fatal(err)
	}
	return wk
}

// A38
func TestStopGivesUpAtItsTimeout(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	wk := h.replaceWorker(t, &worker.Options{ShutdownTimeout: 50 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- wk.Run(ctx) }()
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(1)
	s.Hold()
	id := mustStart(t, m, flushOf(events))
	s.AwaitBegun(t)
	stop()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	h.StartWorker(t)
	s.AwaitBegun(t) // soon: the chunk was given up, not lost
	s.Open()
	mustWait(t, m, id, jobmanager.Completed)
}

// TestStopNamesWhatDoesNotEnd: an activity that ignores its context does not keep Stop for ever.
func TestStopNamesWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	wk := h.replaceWorker(t, &worker.Options{Grace: 10 * time.Millisecond})
	if err := wk.Start(); err != nil {
		t.Fatal(err)
	}
	s := w.Table(events)
	s.SetChunks(1)
	s.SetStubborn()
	s.Hold()
	mustStart(t, h.manager(t, h.client), flushOf(events))
	s.AwaitBegun(t)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wk.Stop(now); !errors.Is(err, worker.ErrStillRunning) {
		t.Errorf("error %v, want ErrStillRunning", err)
	}
	s.Open()
	if err := wk.Stop(t.Context()); err != nil { // a second Stop waits on
		t.Error(err)
	}
}

// TestShortStepsDoNotWaitForSlots: with every slot busy, jobs are still planned, ended and recorded. A49
func TestShortStepsDoNotWaitForSlots(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(jobmanagertest.Slots)
	s.Hold()
	busy := mustStart(t, m, flushOf(events))
	for range jobmanagertest.Slots {
		s.AwaitBegun(t)
	}
	mustWait(t, m, mustStart(t, m, flushOf(jobmanager.Table{Namespace: "app", Name: "empty"})), jobmanager.Completed)
	s.Open()
	mustWait(t, m, busy, jobmanager.Completed)
}

func TestWorkerNeedsItsParts(t *testing.T) {
	t.Parallel()
	c := temporaltest.Client(t)
	acts := activities.New(&steptest.Steps{}, nil)
	if _, err := worker.New(nil, "q", acts, nil); err == nil {
		t.Error("no client: no error")
	}
	if _, err := worker.New(c, "", acts, nil); err == nil {
		t.Error("no task queue: no error")
	}
	if _, err := worker.New(c, "q", nil, nil); err == nil {
		t.Error("no activities: no error")
	}
	ns, err := client.Dial(client.Options{HostPort: temporaltest.Shared(t).Address(), Namespace: "nowhere", Logger: worker.Logger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	w, err := worker.New(ns, "q", acts, &worker.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); err == nil {
		t.Error("a namespace that does not exist: no error")
	}
}
