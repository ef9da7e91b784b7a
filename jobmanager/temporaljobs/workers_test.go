package temporaljobs_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/workflows"
)

// workersNow is asked by a manager whose clock is ahead.
func (h *harness) workersNow(t *testing.T, ahead time.Duration) []temporaljobs.WorkerInfo {
	t.Helper()
	m, err := temporaljobs.New(h.client, h.ledger, &temporaljobs.Options{
		Installation: h.name, Now: func() time.Time { return time.Now().Add(ahead) },
		Types: map[jobmanager.JobType]temporaljobs.Type{workflows.FlushType: temporaljobs.Flush(validate, h.tuning)},
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.Workers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// awaitWorkers polls until the list is as wanted.
func (h *harness) awaitWorkers(t *testing.T, what string, ok func([]temporaljobs.WorkerInfo) bool) []temporaljobs.WorkerInfo {
	t.Helper()
	var list []temporaljobs.WorkerInfo
	if !await.Within(await.Patience, func() bool { list = h.workersNow(t, 0); return ok(list) }) {
		t.Fatalf("waited in vain for %s: %+v", what, list)
	}
	return list
}

// A51
func TestWorkers(t *testing.T) {
	t.Parallel()
	work := jobmanagertest.NewWork()
	h := newHarness(t, work, nil)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w := h.awaitWorkers(t, "a worker", func(l []temporaljobs.WorkerInfo) bool { return len(l) == 1 && l[0].Build != "" && l[0].Host != "" })[0]
	if w.Host != host || w.PID != strconv.Itoa(os.Getpid()) || !strings.HasPrefix(w.Identity, w.PID+"@") || w.Status != temporaljobs.WorkerRunning ||
		w.TaskQueue != workflows.ChunkTaskQueue(workflows.TaskQueue(h.name)) || w.Build != "test build" {
		t.Errorf("%+v", w)
	}
	if w.StartedAt == nil || w.LastSeen == nil || time.Since(*w.StartedAt) > time.Hour || w.LastSeen.Before(*w.StartedAt) {
		t.Errorf("started %v, last seen %v", w.StartedAt, w.LastSeen)
	}
	s := work.Table(events)
	s.SetChunks(1)
	s.Hold()
	mustStart(t, h.manager(t, h.client), flushOf(events))
	s.AwaitBegun(t)
	h.awaitWorkers(t, "its slots", func(l []temporaljobs.WorkerInfo) bool {
		return len(l) == 1 && l[0].SlotsUsed != nil && *l[0].SlotsUsed == 1 && *l[0].SlotsTotal == jobmanagertest.Slots
	})
	s.Open()
	if l := h.workersNow(t, time.Hour); len(l) != 1 || l[0].Status != temporaljobs.WorkerSilent {
		t.Errorf("a worker that has said nothing for an hour: %+v", l)
	}
	h.StopWorker(t, false)
	if l := h.workersNow(t, time.Hour); len(l) != 0 {
		t.Errorf("a worker that has stopped: %+v", l)
	}
	if l := newHarnessWithoutWorker(t).workersNow(t, 0); len(l) != 0 {
		t.Errorf("workers of others: %+v", l)
	}
}

func newHarnessWithoutWorker(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t, jobmanagertest.NewWork(), nil)
	h.name += " without"
	return h
}
