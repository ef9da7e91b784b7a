package localjobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/localjobs"
)

// harness is a process with a manager. What outlives it is the ledger.
type harness struct {
	work    *jobmanagertest.Work
	ledger  *steptest.Ledger
	manager *localjobs.Manager
	die     func()
}

func build(t *testing.T, w *jobmanagertest.Work) jobmanagertest.Harness {
	h := &harness{work: w, ledger: steptest.NewLedger()}
	h.StartWorker(t)
	t.Cleanup(func() { h.StopWorker(t, false) })
	return h
}

func (h *harness) Abilities() jobmanagertest.Abilities {
	return jobmanagertest.Abilities{Interrupts: true, Slots: true}
}

func (h *harness) Manager(testing.TB) jobmanager.JobManager { return h.manager }

func (h *harness) StartWorker(t testing.TB) {
	t.Helper()
	alive, die := context.WithCancel(context.Background())
	h.die = die
	var err error
	h.manager, err = localjobs.New(&steptest.Steps{Work: h.work, Ledger: h.ledger, Alive: alive}, h.ledger, &localjobs.Options{
		Slots: jobmanagertest.Slots, Attempts: jobmanagertest.Attempts, Backoff: time.Millisecond, Validate: validate,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func validate(spec jobmanager.JobSpec) error {
	if spec.Table.Name == "invalid" {
		return &jobmanager.SpecError{Msg: "no"}
	}
	return nil
}

func (h *harness) StopWorker(t testing.TB, crash bool) {
	t.Helper()
	if crash {
		h.die()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.manager.Stop(ctx); err != nil {
		t.Error(err)
	}
	h.die()
}

// A48
func TestConformance(t *testing.T) {
	t.Parallel()
	jobmanagertest.Run(t, build)
}
