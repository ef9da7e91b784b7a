package worker

import (
	"context"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/workflows"
)

// schedulerPatience bounds one try to begin the FlushScheduler.
const schedulerPatience = 10 * time.Second

// scheduling sees to it that there is a FlushScheduler: one that was terminated, or lost with Temporal's store, begins anew.
type scheduling struct {
	client client.Client
	queue  string
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// startScheduling looks now, and from time to time until end is called.
func (w *Worker) startScheduling(c client.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	w.schedule = &scheduling{client: c, queue: w.queue, stop: cancel}
	w.schedule.done.Go(func() {
		tick := time.NewTicker(w.opt.EnsureEvery)
		defer tick.Stop()
		for troubled := false; ; {
			err := EnsureScheduler(ctx, c, w.queue)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !troubled {
				w.opt.Logger.Warn("cannot begin the FlushScheduler; trying again", obs.KeyErr, err)
			}
			troubled = err != nil
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

func (s *scheduling) end() {
	if s == nil {
		return
	}
	s.stop()
	s.done.Wait()
}

// EnsureScheduler begins the FlushScheduler of an installation, by its task queue, or finds it.
func EnsureScheduler(ctx context.Context, c client.Client, taskQueue string) error {
	ctx, cancel := context.WithTimeout(ctx, schedulerPatience)
	defer cancel()
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                       workflows.SchedulerID(taskQueue),
		TaskQueue:                taskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:            workflows.SchedulerSummary,
		StaticDetails:            workflows.SchedulerDetails,
	}, workflows.FlushSchedulerName, workflows.SchedulerInput{})
	return err
}
