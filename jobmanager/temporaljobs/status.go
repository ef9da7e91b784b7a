package temporaljobs

import (
	"context"
	"fmt"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// found is what is known of a job: the row of its end, or its newest run.
type found struct {
	row *ledger.HistoryRow
	run *execution
}

// status returns the job's status if it has ended.
func (f found) ended() (jobmanager.Status, bool) {
	if f.row != nil {
		return jobmanager.Status(f.row.Status), true
	}
	return f.run.status(false), !f.run.open()
}

// findLiving is find for a change of the job: one that has ended is a *jobmanager.FinishedError.
func (m *Manager) findLiving(ctx context.Context, id jobmanager.JobID) (found, error) {
	f, err := m.find(ctx, id)
	if err != nil {
		return found{}, err
	}
	if status, ended := f.ended(); ended {
		return found{}, &jobmanager.FinishedError{ID: id, Status: status}
	}
	return f, nil
}

// JobStatus implements jobmanager.JobManager.
func (m *Manager) JobStatus(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	f, err := m.find(ctx, id)
	if err != nil {
		return jobmanager.JobInfo{}, err
	}
	return m.info(ctx, f)
}

// CancelJob implements jobmanager.JobManager.
func (m *Manager) CancelJob(ctx context.Context, id jobmanager.JobID) error {
	for range findTries {
		f, err := m.findLiving(ctx, id)
		if err != nil {
			return err
		}
		_, err = m.client.WorkflowService().RequestCancelWorkflowExecution(ctx, &workflowservice.RequestCancelWorkflowExecutionRequest{
			Namespace:           m.opt.Namespace,
			WorkflowExecution:   f.run.info.GetExecution(), // the server takes the chain's current run, guarded by the next line
			FirstExecutionRunId: id.UUID.String(),
			Reason:              "CancelJob",
		})
		if err == nil {
			return nil
		}
		if !notFound(err) {
			return failed(ctx, "cancel job", err)
		}
		// It ended in between; the next look says how.
	}
	return fmt.Errorf("cancel job %q: %w: it kept changing", id, jobmanager.ErrUnavailable)
}

// WaitJob implements jobmanager.Waiter.
func (m *Manager) WaitJob(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	for {
		f, err := m.find(ctx, id)
		if err != nil {
			return jobmanager.JobInfo{}, err
		}
		if _, ended := f.ended(); ended {
			return m.info(ctx, f)
		}
		// How the run closed is asked above, and a run that continued it is followed there.
		if err := m.awaitClose(ctx, f.run.workflowID(), f.run.runID(), glance); err != nil {
			return jobmanager.JobInfo{}, failed(ctx, "wait for job", err)
		}
	}
}

// glance is how long one long poll lasts before the job is looked at again: under load the server was seen to forget to
// answer a poll, which then ends only after its 20 s.
const glance = 2 * time.Second

// pollTime is the deadline of a long poll. The server answers before it; close to a deadline it would answer at once, and be
// asked again and again.
const pollTime = 30 * time.Second

// awaitClose returns nil when a run is closed, or when it may be and patience is over. How it closed is not the question.
func (m *Manager) awaitClose(ctx context.Context, workflowID, runID string, patience time.Duration) error {
	pollCtx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- m.pollClose(pollCtx, workflowID, runID) }()
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case err := <-answer:
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case unreachable(err) && !late(err):
			return err
		}
		return nil
	case <-over.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pollClose asks once, and returns when the run is closed or the server has waited long enough.
func (m *Manager) pollClose(ctx context.Context, workflowID, runID string) error {
	got, err := m.client.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace:              m.opt.Namespace,
		Execution:              &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: runID},
		WaitNewEvent:           true,
		HistoryEventFilterType: enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
		SkipArchival:           true,
	})
	if len(got.GetHistory().GetEvents()) > 0 || len(got.GetRawHistory()) > 0 {
		return nil
	}
	select { // whoever asks again must not do so at once
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
	return err
}

// findTries bounds how often a job may move on while it is looked for.
const findTries = 20

// find looks a job up: in the history, as the current run of its workflow, and from its first run on.
func (m *Manager) find(ctx context.Context, id jobmanager.JobID) (found, error) {
	if f, err := m.recorded(ctx, id); err != nil || f.row != nil {
		return f, err
	}
	wid, ok := m.workflowID(id.Type, id.Table)
	if !ok {
		return found{}, fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
	}
	ex, err := m.describe(ctx, wid, "")
	if err != nil && !notFound(err) {
		return found{}, failed(ctx, "describe job", err)
	}
	if err != nil || ex.id != id {
		if ex, err = m.walk(ctx, wid, id); err != nil {
			return found{}, err
		}
	}
	if ex.open() {
		return found{run: ex}, nil
	}
	if m.forgotten(ex) {
		return found{}, fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
	}
	// It may have written its row after we looked.
	if f, err := m.recorded(ctx, id); err != nil || f.row != nil {
		return f, err
	}
	return found{run: ex}, nil
}

// recorded returns the row of the job's end, if there is one.
func (m *Manager) recorded(ctx context.Context, id jobmanager.JobID) (found, error) {
	rows, err := m.ledger.HistoryOf(ctx, []string{id.String()})
	if err != nil {
		return found{}, err
	}
	if row, ok := rows[id.String()]; ok {
		return found{row: &row}, nil
	}
	return found{}, nil
}

// walk follows a job from its first run to its last: another job may have its workflow id by now.
func (m *Manager) walk(ctx context.Context, workflowID string, id jobmanager.JobID) (*execution, error) {
	run := id.UUID.String()
	for {
		ex, err := m.describe(ctx, workflowID, run)
		if notFound(err) {
			return nil, fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
		}
		if err != nil {
			return nil, failed(ctx, "describe job", err)
		}
		if ex.id != id { // a later run's id is no job's
			return nil, fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
		}
		if !ex.continued() {
			return ex, nil
		}
		if run, err = m.nextRun(ctx, workflowID, run); err != nil {
			return nil, err
		}
	}
}

// nextRun returns the run that continued a run.
func (m *Manager) nextRun(ctx context.Context, workflowID, runID string) (string, error) {
	it := m.client.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT)
	for it.HasNext() {
		ev, err := it.Next()
		if err != nil {
			return "", failed(ctx, "read the end of a run", err)
		}
		if next := ev.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId(); next != "" {
			return next, nil
		}
	}
	return "", fmt.Errorf("run %s of workflow %s names no successor", runID, workflowID)
}
