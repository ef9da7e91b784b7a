package temporaljobs_test

import (
	"errors"
	"testing"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/workflows"
)

// The ends that a workflow could not record are found, for as long as the history would remember them; not those of jobs that
// live or have recorded it.
func TestUnrecorded(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	unrecorded := func() []temporaljobs.End {
		t.Helper()
		ends, err := m.Unrecorded(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return ends
	}
	s := w.Table(events)
	s.SetChunks(2)
	done := mustStart(t, m, flushOf(events))
	mustWait(t, m, done, jobmanager.Completed)
	s.Hold()
	id := mustStart(t, m, flushOf(events))
	s.AwaitBegun(t)
	if got := unrecorded(); len(got) != 0 {
		t.Errorf("while it lives: %+v", got)
	}
	wid := workflows.WorkflowID(h.name, true, "flush", events)
	if err := h.client.TerminateWorkflow(t.Context(), wid, "", "by hand"); err != nil {
		t.Fatal(err)
	}
	var end temporaljobs.End
	await.Until(t, "the terminated job is found", func() bool {
		got := unrecorded()
		if len(got) == 1 {
			end = got[0]
		}
		return len(got) == 1
	})
	if end.Job.ID != id || end.RequestID == "" || end.Job.Status != jobmanager.Cancelled || end.Job.FinishedAt == nil || end.Job.ErrorClass != "terminated" {
		t.Errorf("found %+v", end)
	}
	forgetful, err := temporaljobs.New(h.client, h.ledger, &temporaljobs.Options{
		Installation: h.name, Retention: time.Hour, Now: func() time.Time { return time.Now().Add(2 * time.Hour) },
		Types: map[jobmanager.JobType]temporaljobs.Type{workflows.FlushType: temporaljobs.Flush(validate, h.tuning)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := forgetful.Unrecorded(t.Context(), 10); err != nil || len(got) != 0 {
		t.Errorf("after the retention: %+v, %v", got, err)
	}
	if got := listed(t, forgetful, jobmanager.JobFilter{All: true}); got[id] {
		t.Error("listed after the retention") // A47
	}
	if info, err := forgetful.JobStatus(t.Context(), id); !errors.Is(err, jobmanager.ErrJobNotFound) {
		t.Errorf("known after the retention: %+v, %v", info, err) // A47
	}
	h.ledger.Record(ledger.HistoryRow{JobID: id.String(), JobType: "flush", Schema: "app", Table: "t", Status: "cancelled"}, end.RequestID)
	if got := unrecorded(); len(got) != 0 {
		t.Errorf("after it was recorded: %+v", got)
	}
	s.Open()
}

// A reset terminates a run, and the job goes on in another.
func TestResetIsNoEnd(t *testing.T) {
	t.Parallel()
	h, m, s, id := heldFlush(t, 1)
	wid := workflows.WorkflowID(h.name, true, "flush", events)
	_, err := h.client.ResetWorkflowExecution(t.Context(), &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:         "default",
		WorkflowExecution: &common.WorkflowExecution{WorkflowId: wid, RunId: id.UUID.String()},
		Reason:            "test", WorkflowTaskFinishEventId: 4, RequestId: "reset " + wid,
	})
	if err != nil {
		t.Fatal(err)
	}
	await.Until(t, "visibility knows that the first run was terminated", func() bool {
		n, err := h.client.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: "default", Query: "WorkflowId = '" + wid + "' AND ExecutionStatus = 'Terminated'"})
		return err == nil && n.GetCount() == 1
	})
	ends, err := m.Unrecorded(t.Context(), 10)
	if err != nil || len(ends) != 0 {
		t.Errorf("a job that goes on has ended: %+v, %v", ends, err)
	}
	s.Open()
	mustWait(t, m, id, jobmanager.Completed)
}
