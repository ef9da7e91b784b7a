package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
)

// watchPause answers PauseRequests, as updates and as signals. Both may come at any time, before the plan too.
func (j *job) watchPause(ctx workflow.Context) error {
	j.requests = workflow.GetSignalChannel(ctx, PauseRequestName)
	// Not by Receive: a request that was handed to this coroutine, and not yet carried out, would be lost where the run
	// ends and its state is handed on.
	workflow.Go(ctx, func(ctx workflow.Context) {
		for workflow.Await(ctx, func() bool { return j.requests.Len() > 0 }) == nil {
			j.hear(ctx)
		}
	})
	return workflow.SetUpdateHandlerWithOptions(ctx, PauseRequestName, func(ctx workflow.Context, r PauseRequest) error {
		j.hear(ctx) // they came before
		j.setPaused(ctx, r.Paused)
		return nil
	}, workflow.UpdateHandlerOptions{
		Validator:   func(ctx workflow.Context, r PauseRequest) error { return j.refusal(ctx, r) },
		Description: "Holds the job between chunks, or lets it go on.",
	})
}

// refusal says why a request changes nothing. What is refused leaves no event in the history.
func (j *job) refusal(ctx workflow.Context, r PauseRequest) error {
	switch {
	case r.JobID != j.id:
		return temporal.NewNonRetryableApplicationError("this is job "+j.id, RefusedOtherJob, nil)
	case !j.mayPause(ctx), j.requests.Len() == 0 && r.Paused == j.state.Paused:
		return temporal.NewNonRetryableApplicationError("the job stays as it is", RefusedNoChange, nil)
	}
	return nil
}

// hear carries out the requests that came as signals.
func (j *job) hear(ctx workflow.Context) {
	var r PauseRequest
	for j.requests.ReceiveAsync(&r) {
		if r.JobID == j.id {
			j.setPaused(ctx, r.Paused)
		}
	}
}

// mayPause reports whether a pause still means something: the job is not cancelling, and not in its last step.
func (j *job) mayPause(ctx workflow.Context) bool {
	return ctx.Err() == nil && j.cancel.at == nil && j.phase != PhaseFinishing && j.phase != PhaseEnded
}

// setPaused asks the job to hold before its next step, or to go on.
func (j *job) setPaused(ctx workflow.Context, paused bool) {
	if paused == j.state.Paused || !j.mayPause(ctx) {
		return
	}
	j.state.Paused = paused
	switch {
	case !paused:
		j.upsert(ctx, jobmanager.Running)
	case j.held: // it was resumed a moment ago, and has not noticed
		j.upsert(ctx, jobmanager.Paused)
	default:
		j.upsert(ctx, jobmanager.Pausing)
	}
}

// hold waits while the job is paused, without a timer. It returns an error only when the job is cancelled. Callers have
// nothing in flight.
func (j *job) hold(ctx workflow.Context) error {
	j.hear(ctx)
	if !j.state.Paused || ctx.Err() != nil {
		return ctx.Err()
	}
	log := workflow.GetLogger(ctx)
	log.Info("job paused", obs.KeyJob, j.id)
	j.held = true
	j.holds++
	j.upsert(ctx, jobmanager.Paused)
	err := workflow.Await(ctx, func() bool { return !j.state.Paused })
	j.held = false
	if err == nil {
		log.Info("job resumed", obs.KeyJob, j.id)
	}
	return err
}

// handOver returns what the next run has to know. Requests that this run has accepted are part of it; the server sends
// those that it has not accepted to the next one.
func (j *job) handOver(ctx workflow.Context) (*FlushState, error) {
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return nil, err
	}
	j.hear(ctx)
	return &j.state, nil
}
