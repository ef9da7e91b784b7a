package workflows

import (
	"errors"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
)

// cancelMark remembers that a cancel was asked for.
type cancelMark struct {
	at *time.Time
}

// watchCancel says that the job is cancelling as soon as it is asked to, while chunks in flight still wind down.
func (j *job) watchCancel(ctx workflow.Context) {
	workflow.Go(ctx, func(ctx workflow.Context) {
		ctx.Done().Receive(ctx, nil)
		if j.phase == PhaseFinishing || j.phase == PhaseEnded {
			return // too late
		}
		now := workflow.Now(ctx)
		j.cancel.at = &now
		j.upsert(ctx, jobmanager.Cancelling)
	})
}

// end cleans up after a job that did not complete, records how it ended, and returns the error that closes the workflow
// in agreement with the record. A cancel no longer reaches it.
func (j *job) end(ctx workflow.Context, cause error) error {
	ctx, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	status := statusOf(cause)
	if status == jobmanager.Cancelled && j.cancel.at == nil { // a cancel that was there before the first step
		now := workflow.Now(ctx)
		j.cancel.at = &now
	}
	class := ""
	if status == jobmanager.Failed {
		class = classOf(cause)
		j.state.LastClass = class
	}
	j.clean(ctx, status)

	j.phase = PhaseFinishing
	j.describe(ctx)
	res, err := j.record(ctx, status, class)
	if err != nil {
		return err
	}
	j.phase = PhaseEnded
	stored := jobmanager.Status(res.Status)
	j.upsert(ctx, stored)
	return closing(stored, class)
}

// clean sweeps what attempts left behind, and publishes what a job that did not complete has moved. Neither keeps a job
// from its end: the ledger knows what is left to sweep, and the next flush publishes again.
func (j *job) clean(ctx workflow.Context, status jobmanager.Status) {
	if !j.kind.moves {
		return
	}
	log := workflow.GetLogger(ctx)
	if j.state.Dirty {
		err := workflow.ExecuteActivity(j.cleanOptions(ctx, "sweep attempts"), steps.SweepAttempts, j.id).Get(ctx, nil)
		if err != nil {
			log.Warn("sweep attempts", obs.KeyJob, j.id, obs.KeyClass, classOf(err))
		}
	}
	if status == jobmanager.Completed || !j.changedCold() || j.phase == PhasePublishing || j.phase == PhaseVacuuming {
		return
	}
	err := workflow.ExecuteActivity(j.cleanOptions(ctx, "publish the manifest"), steps.PublishManifest, j.id).Get(ctx, nil)
	if err != nil {
		log.Warn("publish the manifest", obs.KeyJob, j.id, obs.KeyClass, classOf(err))
	}
}

// record writes the history row, quickly if the ledger answers, patiently if not.
func (j *job) record(ctx workflow.Context, status jobmanager.Status, class string) (activities.FinishResult, error) {
	info := workflow.GetInfo(ctx)
	in := activities.FinishInput{
		JobID:      j.id,
		RequestID:  j.requestID,
		Status:     string(status),
		Class:      class,
		RowsLeft:   j.state.RowsLeft,
		WorkflowID: info.WorkflowExecution.ID,
		RunID:      info.WorkflowExecution.RunID,
		CreatedAt:  j.state.CreatedAt,
		StartedAt:  j.state.StartedAt,
	}
	if status == jobmanager.Cancelled {
		in.CancelledAt = j.cancel.at
	}
	var res activities.FinishResult
	err := workflow.ExecuteLocalActivity(j.quickRecordOptions(ctx), steps.FinishJob, in).Get(ctx, &res)
	if err != nil && !permanent(err) {
		err = workflow.ExecuteActivity(j.recordOptions(ctx), steps.FinishJob, in).Get(ctx, &res)
	}
	return res, err
}

// statusOf says how a job ends whose work ended with cause.
func statusOf(cause error) jobmanager.Status {
	switch {
	case cause == nil:
		return jobmanager.Completed
	case temporal.IsCanceledError(cause), untried(cause):
		return jobmanager.Cancelled
	}
	return jobmanager.Failed
}

// untried reports whether a step might have been tried again, but for a cancel: Temporal gives an activity no further try once that
// was asked for, so that the last one of a dead worker ends by its timeout.
func untried(cause error) bool {
	var step *temporal.ActivityError
	return errors.As(cause, &step) && step.RetryState() == enumspb.RETRY_STATE_CANCEL_REQUESTED
}

// closing returns the error that closes the workflow with the given status.
func closing(status jobmanager.Status, class string) error {
	switch status {
	case jobmanager.Completed:
		return nil
	case jobmanager.Cancelled:
		return temporal.NewCanceledError()
	}
	if class == "" { // an earlier end was recorded, with a class of its own
		class = activities.ClassInternal
	}
	return temporal.NewNonRetryableApplicationError("the job failed; see its error in system.jobs", class, nil)
}

// classTimeout is the class of a step whose workers all fell silent or were too slow.
const classTimeout = "timeout"

// classOf returns the class of an activity's error.
func classOf(err error) string {
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.Type() != "" {
		return app.Type()
	}
	if temporal.IsTimeoutError(err) {
		return classTimeout
	}
	return activities.ClassInternal
}

// stopped reports whether an activity gave up because its worker stopped.
func stopped(err error) bool { return detailsOf(err).Stopped }

// detailsOf returns what an activity's error or cancel says of itself.
func detailsOf(err error) activities.ErrorDetails {
	var (
		app       *temporal.ApplicationError
		cancelled *temporal.CanceledError
		d         activities.ErrorDetails
	)
	switch {
	case errors.As(err, &app) && app.HasDetails() && app.Details(&d) == nil:
		return d
	case errors.As(err, &cancelled) && cancelled.HasDetails() && cancelled.Details(&d) == nil:
		return d
	}
	return activities.ErrorDetails{}
}

// permanent reports whether trying again cannot help.
func permanent(err error) bool {
	var app *temporal.ApplicationError
	return errors.As(err, &app) && app.NonRetryable()
}
