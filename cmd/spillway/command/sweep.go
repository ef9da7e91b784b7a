package command

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
)

const (
	// sweepMost is how many jobs one statement forgets, and one sweep fills in: neither may take long.
	sweepMost = 1000
	// sweepRounds bounds the statements of one sweep. The next goes on.
	sweepRounds = 20

	sweepOften  = time.Second
	sweepSeldom = 10 * time.Minute
)

// sweepEvery is how often finished jobs are looked at: a hundredth of the retention is no visible delay.
func sweepEvery(retention time.Duration) time.Duration {
	return min(max(retention/100, sweepOften), sweepSeldom)
}

// sweeper tidies the history of jobs: it records ends that jobs could not record, and forgets jobs that ended long ago. Every
// worker has one, and one at a time sweeps.
type sweeper struct {
	ledger interface {
		Alone(ctx context.Context, task string, fn func(context.Context) error) (bool, error)
		ForgetJobs(ctx context.Context, keep time.Duration, limit int) (int64, error)
	}
	jobs interface {
		Unrecorded(ctx context.Context, limit int) ([]temporaljobs.End, error)
	}
	fill func(ctx context.Context, in jobstep.EndInput) error
	keep time.Duration
	log  *slog.Logger
}

// startSweeper sweeps now, and from time to time until the node stops.
func (n *node) startSweeper(f *flush.Flusher) {
	s := &sweeper{ledger: n.ledger, jobs: n.jobs, fill: f.FillIn, keep: n.opt.retention, log: n.log}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(sweepEvery(s.keep))
		defer tick.Stop()
		for {
			s.sweep(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	n.started("sweep of finished jobs", func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}

// sweep is done by one process at a time. What fails is tried again the next time.
func (s *sweeper) sweep(ctx context.Context) {
	_, err := s.ledger.Alone(ctx, "sweep of finished jobs", func(ctx context.Context) error {
		return errors.Join(s.fillIn(ctx), s.forget(ctx))
	})
	if err != nil && ctx.Err() == nil {
		s.log.Warn("could not sweep finished jobs", obs.KeyErr, err)
	}
}

// fillIn records the ends that jobs could not record themselves.
func (s *sweeper) fillIn(ctx context.Context) error {
	ends, err := s.jobs.Unrecorded(ctx, sweepMost)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range ends {
		if err := s.fill(ctx, endOf(e)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func endOf(e temporaljobs.End) jobstep.EndInput {
	j := e.Job
	in := jobstep.EndInput{
		FinishInput: jobstep.FinishInput{
			JobID: j.ID.String(), RequestID: e.RequestID, Status: string(j.Status), Class: j.ErrorClass, WorkflowID: j.WorkflowID, RunID: j.RunID,
			CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, CancelledAt: j.CancelledAt,
		},
		JobType: string(j.ID.Type), Schema: j.ID.Table.Namespace, Table: j.ID.Table.Name, Error: j.Error,
	}
	if j.FinishedAt != nil {
		in.FinishedAt = *j.FinishedAt
	}
	return in
}

// forget removes jobs that ended longer ago than they are kept.
func (s *sweeper) forget(ctx context.Context) error {
	var total int64
	for range sweepRounds {
		n, err := s.ledger.ForgetJobs(ctx, s.keep, sweepMost)
		if err != nil {
			return err
		}
		if total += n; n < sweepMost {
			break
		}
	}
	if total > 0 {
		s.log.Info("forgot jobs that ended long ago", "jobs", total)
	}
	return nil
}
