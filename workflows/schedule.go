package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

// ScheduledRunName is the workflow type of ScheduledRun.
const ScheduledRunName = "ScheduledRun"

// ScheduleInput is the argument of ScheduledRun.
type ScheduleInput = activities.ScheduleInput

// MemoSchedule is the memo field of a schedule that holds its id in the ledger.
const MemoSchedule = "spillway-schedule"

// How a run waits. Its jobs take what they take.
const (
	runTime      = 30 * 24 * time.Hour // of one try; the next one goes on
	runHeartbeat = 30 * time.Second
)

// ScheduleID returns the id of a schedule in Temporal. The workflows that it starts have it, and a time behind it.
func ScheduleID(installation, name string) string {
	const room = len("-2006-01-02T15:04:05Z")
	id := jobmanager.EscapeName(installation) + "/schedule/" + jobmanager.EscapeName(name)
	if len(id)+room <= maxName {
		return id
	}
	return shortenTo(id, maxName-room)
}

// ScheduleTaskQueue returns the task queue of the runs of schedules. They wait for jobs, and must take no slot that a job needs.
func ScheduleTaskQueue(taskQueue string) string {
	return shorten(taskQueue + "/schedules")
}

// ScheduledRun is one run of a schedule: it starts jobs and lasts as long as they do, so that Temporal can tell that runs overlap
// and that one failed. It is no job itself.
func ScheduledRun(ctx workflow.Context, in ScheduleInput) (activities.ScheduleResult, error) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("Runs the schedule `%s`. Its jobs are in `system.jobs`, and what became of its last run in `system.schedules`.", in.Name))
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:           ScheduleTaskQueue(workflow.GetInfo(ctx).TaskQueueName),
		StartToCloseTimeout: runTime,
		HeartbeatTimeout:    runHeartbeat,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
		Summary:             "start the jobs and wait for them",
	})
	var acts *activities.Schedules
	var res activities.ScheduleResult
	err := workflow.ExecuteActivity(ctx, acts.RunSchedule, in).Get(ctx, &res)
	var failed *temporal.ApplicationError
	switch {
	case err == nil:
		workflow.SetCurrentDetails(ctx, fmt.Sprintf("The run of the schedule `%s` has %s: jobs completed: %d, cancelled: %d.", in.Name, ended(res.Status), res.Completed, res.Cancelled))
	case errors.As(err, &failed):
		workflow.SetCurrentDetails(ctx, fmt.Sprintf("The run of the schedule `%s` has failed: error of class `%s`. Its text is in `last_error` of `system.schedules`.", in.Name, failed.Type()))
		// The text of this error becomes the note of a schedule that pauses itself.
		return res, temporal.NewNonRetryableApplicationError("error of class "+failed.Type()+"; see last_error in system.schedules", failed.Type(), nil)
	}
	return res, err
}

func ended(status string) string {
	switch status {
	case "cancelled":
		return "ended, for a job was killed"
	case "dropped":
		return "nothing to do, for the schedule was dropped"
	}
	return "completed"
}
