package command

import (
	"context"
	"sync"
	"time"
	_ "time/tzdata" // schedules have time zones, and a machine may have no list of them

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/schedule"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
)

// reconcileEvery is how often a worker compares the schedules of the ledger with Temporal's.
const reconcileEvery = time.Minute

func (n *node) newSchedules() (*temporaljobs.Schedules, error) {
	return temporaljobs.NewSchedules(n.temporal, n.ledger, temporaljobs.ScheduleOptions{Installation: n.installation.Name, Namespace: n.namespace})
}

// scheduleRuns makes the activity that does what schedules are for.
func (n *node) scheduleRuns() (*activities.Schedules, error) {
	runner, err := schedule.New(n.ledger, n.jobs, &schedule.Options{Operator: grants.Operator, Logger: n.log})
	if err != nil {
		return nil, err
	}
	return activities.NewSchedules(runner)
}

// startReconciler brings the schedules of ledger and Temporal together now, and every minute until the node stops.
func (n *node) startReconciler() error {
	all, err := n.newSchedules()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(reconcileEvery)
		defer tick.Stop()
		for {
			n.reconcile(ctx, all)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	n.started("look at schedules", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
	return nil
}

// reconcile is done by one process at a time. What fails is tried again the next time.
func (n *node) reconcile(ctx context.Context, all *temporaljobs.Schedules) {
	_, err := n.ledger.Alone(ctx, "look at schedules", func(ctx context.Context) error {
		r, err := all.Reconcile(ctx)
		if r != (temporaljobs.Reconciled{}) {
			n.log.Info("brought the schedules of ledger and Temporal together", "made", r.Made, "removed", r.Removed, "paused", r.Paused)
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		n.log.Warn("could not bring the schedules of ledger and Temporal together", obs.KeyErr, err)
	}
}
