package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// stepOptions are those of every activity but chunks.
func (j *job) stepOptions(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: j.tune.StepTimeout,
		HeartbeatTimeout:    j.tune.Heartbeat,
		WaitForCancellation: true,
		RetryPolicy:         j.retries(j.tune.Attempts),
		Summary:             summary,
	})
}

// chunkOptions are those of chunks: a queue of their own, fair between jobs where the server can be.
func (j *job) chunkOptions(ctx workflow.Context, summary string) workflow.Context {
	info := workflow.GetInfo(ctx)
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           ChunkTaskQueue(info.TaskQueueName),
		StartToCloseTimeout: j.tune.StepTimeout,
		HeartbeatTimeout:    j.tune.Heartbeat,
		WaitForCancellation: true, // the chunk knows whether it committed; nobody else does
		RetryPolicy:         j.retries(j.tune.Attempts),
		Summary:             summary,
		Priority:            temporal.Priority{FairnessKey: info.WorkflowExecution.RunID},
	})
}

// cleanOptions are those of what is worth trying, but not worth keeping a cancelled or failed job from its end.
func (j *job) cleanOptions(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToCloseTimeout: time.Minute,
		HeartbeatTimeout:       j.tune.Heartbeat,
		RetryPolicy:            j.retries(3),
		Summary:                summary,
	})
}

// recordOptions are those of a job's last step, for as long as it takes: without the ledger a job has no end.
func (j *job) recordOptions(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		HeartbeatTimeout:    j.tune.Heartbeat,
		RetryPolicy:         j.retries(0),
		Summary:             "record the end",
	})
}

// quickRecordOptions run the last step inside the workflow task that found the job done: an empty flush then costs no
// more round trips than a workflow with one activity. It is tried briefly, for it holds that task up.
func (j *job) quickRecordOptions(ctx workflow.Context) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		StartToCloseTimeout: 3 * time.Second,
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:             "record the end",
	})
}

func (j *job) retries(attempts int) *temporal.RetryPolicy {
	return &temporal.RetryPolicy{
		InitialInterval:    j.tune.Backoff,
		BackoffCoefficient: 2,
		MaximumInterval:    j.tune.MaxBackoff,
		MaximumAttempts:    int32(attempts),
	}
}
