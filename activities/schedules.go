package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/schedule"
)

// ScheduleRunner is the part of *schedule.Runner that activities call.
type ScheduleRunner interface {
	Run(ctx context.Context, in schedule.Input, before schedule.Progress, report func(schedule.Progress)) (schedule.Result, error)
}

// What the workflow of a schedule and its activity say to each other.
type (
	ScheduleInput  = schedule.Input
	ScheduleResult = schedule.Result
)

// Schedules does what schedules are for. Register the struct with a worker of its own: a run lasts as long as its jobs, which
// must not wait for the slots that runs take. A nil *Schedules names the activity in a workflow.
type Schedules struct {
	runner   ScheduleRunner
	interval time.Duration
}

// NewSchedules returns the activity of r.
func NewSchedules(r ScheduleRunner) (*Schedules, error) {
	if r == nil {
		return nil, errors.New("a runner of schedules is required")
	}
	return &Schedules{runner: r, interval: 2 * time.Second}, nil
}

// RunSchedule starts the jobs of a schedule and waits for them. A worker that stops gives it up at once; the next try knows the
// jobs by the last heartbeat.
func (s *Schedules) RunSchedule(ctx context.Context, in ScheduleInput) (ScheduleResult, error) {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopping := activity.GetWorkerStopChannel(ctx)
	b := &beats{ctx: ctx}
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &b.last) // what cannot be read is found out again
	}
	before := b.last
	if info := activity.GetInfo(ctx); info.Attempt > 1 {
		in.Since = info.ScheduledTime
	}
	done := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		tick := time.NewTicker(s.interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-stopping:
				cancel(ErrStopping)
				return
			case <-tick.C:
				b.again()
			}
		}
	})
	res, err := s.runner.Run(run, in, before, b.beat)
	close(done)
	beating.Wait()
	return res, reportRun(run, err)
}

// beats sends heartbeats, the newest progress with each.
type beats struct {
	ctx  context.Context
	mu   sync.Mutex
	last schedule.Progress
}

func (b *beats) beat(p schedule.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = p
	activity.RecordHeartbeat(b.ctx, p)
}

func (b *beats) again() {
	b.mu.Lock()
	defer b.mu.Unlock()
	activity.RecordHeartbeat(b.ctx, b.last)
}

// reportRun turns an error of a run into what Temporal may know of it.
func reportRun(ctx context.Context, err error) error {
	var failed *schedule.FailedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return temporal.NewApplicationErrorWithOptions("error of class "+failed.Class+"; see last_error in system.schedules", failed.Class, temporal.ApplicationErrorOptions{
			NonRetryable: true, Details: []any{failed.Result},
		})
	case ctx.Err() != nil:
		return interrupted(ctx, noChunk)
	}
	// Whatever keeps a run from going on may pass: the ledger, or Temporal itself.
	class := jobstep.ClassOf(err).Name
	return temporal.NewApplicationErrorWithOptions("error of class "+class+"; see the log of the worker", class, temporal.ApplicationErrorOptions{})
}
