package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// updatePatience is how long an update may take before it is taken for granted that no worker will answer it soon.
const updatePatience = 2 * time.Second

// signalPatience is how long a signal may be out of sight: a worker that died with a task of the workflow in its hands keeps
// it for ten seconds, and the server puts the signal into the history only then.
const signalPatience = 15 * time.Second

// PauseJob implements jobmanager.Pauser. It needs no worker: one that comes later finds the request.
func (m *Manager) PauseJob(ctx context.Context, id jobmanager.JobID) error {
	return m.setPaused(ctx, "pause job", id, true)
}

// ResumeJob implements jobmanager.Pauser. It needs no worker: one that comes later finds the request.
func (m *Manager) ResumeJob(ctx context.Context, id jobmanager.JobID) error {
	return m.setPaused(ctx, "resume job", id, false)
}

// setPaused asks the job's workflow by an update, for that one says what became of it. Where no worker answers, a signal
// leaves the request with the workflow.
func (m *Manager) setPaused(ctx context.Context, step string, id jobmanager.JobID, paused bool) error {
	for range findTries {
		f, err := m.findLiving(ctx, id)
		if err != nil {
			return err
		}
		if f.run.more.GetCancelRequested() {
			return nil
		}
		req := workflows.PauseRequest{JobID: id.String(), Paused: paused}
		if err = m.update(ctx, f.run, req); err == nil || refused(err, workflows.RefusedNoChange) {
			return nil
		}
		if ctx.Err() != nil {
			return failed(ctx, step, err)
		}
		if notFound(err) || refused(err, workflows.RefusedOtherJob) {
			continue // it ended in between; the next look says how
		}
		err = m.client.SignalWorkflow(ctx, f.run.workflowID(), "", workflows.PauseRequestName, req)
		if err == nil {
			return m.awaitPaused(ctx, id, paused)
		}
		if !notFound(err) {
			return failed(ctx, step, err)
		}
	}
	return fmt.Errorf("%s %q: %w: it kept changing", step, id, jobmanager.ErrUnavailable)
}

// awaitPaused returns when the job shows what it was asked for by a signal, which is durable by now. A signal cannot tell
// whose workflow it reached, so whether the job has ended is found out here too.
func (m *Manager) awaitPaused(ctx context.Context, id jobmanager.JobID, paused bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(signalPatience)
	defer patience.Stop()
	for {
		f, err := m.find(ctx, id)
		if err != nil {
			return err
		}
		status, ended := f.ended()
		switch {
		case ended:
			return &jobmanager.FinishedError{ID: id, Status: status}
		case status == jobmanager.Cancelling, paused == (status == jobmanager.Pausing || status == jobmanager.Paused):
			return nil
		}
		select {
		case <-tick.C:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return failed(ctx, "look for the request", ctx.Err())
		}
	}
}

// update sends req to the current run of the chain that ex belongs to, and waits for the answer.
func (m *Manager) update(ctx context.Context, ex *execution, req workflows.PauseRequest) error {
	ctx, cancel := context.WithTimeout(ctx, updatePatience)
	defer cancel()
	handle, err := m.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:          ex.workflowID(),
		FirstExecutionRunID: ex.id.UUID.String(),
		UpdateName:          workflows.PauseRequestName,
		Args:                []any{req},
		WaitForStage:        client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return err
	}
	return handle.Get(ctx, nil)
}

// refused reports whether err is a workflow's refusal of the given type.
func refused(err error, kind string) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.Type() == kind
}

// unseenEvents is how far back requests that no worker has seen are looked for.
const unseenEvents = 100

// untouched is the length of a history to which nothing has come since the start: the start itself and the first task.
const untouched = 2

// lookForUnseen notes the newest PauseRequest that waits for a worker. Only a run with a task that nobody has taken can
// have one, so this costs a question to the server when a worker is slow or absent, and something did happen to the run.
func (m *Manager) lookForUnseen(ctx context.Context, ex *execution, task *workflowpb.PendingWorkflowTaskInfo) error {
	if task.GetState() != enumspb.PENDING_WORKFLOW_TASK_STATE_SCHEDULED || ex.info.GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING ||
		ex.info.GetHistoryLength() <= untouched {
		return nil
	}
	page, err := m.client.WorkflowService().GetWorkflowExecutionHistoryReverse(ctx, &workflowservice.GetWorkflowExecutionHistoryReverseRequest{
		Namespace:       m.opt.Namespace,
		Execution:       ex.info.GetExecution(),
		MaximumPageSize: unseenEvents,
	})
	if err != nil {
		return err
	}
	for _, ev := range page.GetHistory().GetEvents() {
		if ev.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			return nil // what came before was seen
		}
		signal := ev.GetWorkflowExecutionSignaledEventAttributes()
		if signal.GetSignalName() != workflows.PauseRequestName || len(signal.GetInput().GetPayloads()) != 1 {
			continue
		}
		var r workflows.PauseRequest
		if decode(signal.GetInput().GetPayloads()[0], &r) && r.JobID == ex.id.String() {
			ex.unseen = &r
			return nil
		}
	}
	return nil
}

// withUnseen says where a job stands that was asked for something no worker has seen yet.
func (ex *execution) withUnseen(s jobmanager.Status) jobmanager.Status {
	switch {
	case ex.unseen == nil:
		return s
	case ex.unseen.Paused && s != jobmanager.Paused:
		return jobmanager.Pausing
	case !ex.unseen.Paused && (s == jobmanager.Paused || s == jobmanager.Pausing):
		return jobmanager.Running
	}
	return s
}
