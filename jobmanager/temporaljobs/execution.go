package temporaljobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// execution is one run of a job's workflow, as Temporal describes it.
type execution struct {
	id      jobmanager.JobID // by its first run
	memo    workflows.Memo
	info    *workflowpb.WorkflowExecutionInfo
	more    *workflowpb.WorkflowExecutionExtendedInfo
	pending []*workflowpb.PendingActivityInfo
	unseen  *workflows.PauseRequest // the newest one that waits for a worker, or nil
}

// describe asks Temporal for a run; runID "" means the current one. Errors are Temporal's own.
func (m *Manager) describe(ctx context.Context, workflowID, runID string) (*execution, error) {
	d, err := m.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	if err != nil {
		return nil, err
	}
	ex := newExecution(d)
	if err := m.lookForUnseen(ctx, ex, d.GetPendingWorkflowTask()); err != nil {
		return nil, err
	}
	return ex, nil
}

func newExecution(d *workflowservice.DescribeWorkflowExecutionResponse) *execution {
	ex := &execution{
		info:    d.GetWorkflowExecutionInfo(),
		more:    d.GetWorkflowExtendedInfo(),
		pending: d.GetPendingActivities(),
	}
	decode(ex.info.GetMemo().GetFields()[workflows.MemoJob], &ex.memo)
	if ex.memo.CreatedAt.IsZero() {
		ex.memo.CreatedAt = ex.info.GetStartTime().AsTime()
	}
	ex.id = jobmanager.JobID{Type: ex.memo.Type, Table: ex.memo.Table}
	if first, err := uuid.Parse(ex.info.GetFirstRunId()); err == nil {
		ex.id.UUID = first
	}
	return ex
}

func (ex *execution) workflowID() string { return ex.info.GetExecution().GetWorkflowId() }
func (ex *execution) runID() string      { return ex.info.GetExecution().GetRunId() }

// open reports whether the job goes on: in this run or, if it continued as new, in a later one.
func (ex *execution) open() bool {
	switch ex.info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, enumspb.WORKFLOW_EXECUTION_STATUS_PAUSED,
		enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return true
	}
	return false
}

// continued reports whether a later run has the job.
func (ex *execution) continued() bool {
	return ex.info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
}

// status says where the job stands by what Temporal knows. started is what the ledger knows: that a chunk was attempted.
func (ex *execution) status(started bool) jobmanager.Status {
	switch ex.info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return jobmanager.Completed
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED, enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return jobmanager.Cancelled
	case enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return jobmanager.Failed
	}
	if ex.more.GetCancelRequested() {
		return jobmanager.Cancelling
	}
	return ex.withUnseen(ex.working(started))
}

// working says where a job stands that nobody has asked to stop.
func (ex *execution) working(started bool) jobmanager.Status {
	if s, err := jobmanager.ParseStatus(ex.attribute(workflows.AttrStatus.GetName())); err == nil && s != jobmanager.Pending && !s.Terminal() {
		return s
	}
	if started || ex.hasSlot() {
		return jobmanager.Running
	}
	return jobmanager.Pending
}

// hasSlot reports whether a worker has begun a chunk of the job, or the job is past its chunks. Planning needs no slot.
func (ex *execution) hasSlot() bool {
	for _, a := range ex.pending {
		phase, chunk := workflows.PhaseOf(a.GetActivityType().GetName())
		switch {
		case phase == workflows.PhasePlanning:
			return false
		case phase == "":
			continue
		case !chunk:
			return true
		case a.GetAttempt() > 1 || a.GetState() == enumspb.PENDING_ACTIVITY_STATE_STARTED:
			return true
		}
	}
	return false
}

// phase says what an open job is busy with. What is pending is newer than the attribute, which not every phase sets.
func (ex *execution) phase() string {
	if !ex.open() {
		return ""
	}
	for _, a := range ex.pending {
		if phase, _ := workflows.PhaseOf(a.GetActivityType().GetName()); phase != "" {
			return string(phase)
		}
	}
	return ex.attribute(workflows.AttrPhase.GetName())
}

// startedAt says when the job got its first slot, or nil.
func (ex *execution) startedAt() *time.Time {
	var t time.Time
	if decode(ex.info.GetSearchAttributes().GetIndexedFields()[workflows.AttrStarted.GetName()], &t) {
		return &t
	}
	for _, a := range ex.pending {
		at := a.GetLastStartedTime()
		if _, chunk := workflows.PhaseOf(a.GetActivityType().GetName()); !chunk || at == nil {
			continue
		}
		if s := at.AsTime(); t.IsZero() || s.Before(t) {
			t = s
		}
	}
	if t.IsZero() {
		return nil
	}
	return &t
}

// attempt returns the highest attempt number of what is pending, at least 1.
func (ex *execution) attempt() int {
	n := 1
	for _, a := range ex.pending {
		n = max(n, int(a.GetAttempt()))
	}
	return n
}

// attribute returns a keyword attribute, or "".
func (ex *execution) attribute(name string) string {
	var s string
	decode(ex.info.GetSearchAttributes().GetIndexedFields()[name], &s)
	return s
}

func decode(p *commonpb.Payload, to any) bool {
	return p != nil && converter.GetDefaultDataConverter().FromPayload(p, to) == nil
}
