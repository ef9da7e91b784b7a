package flush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// claimPatience is how long a table's lock is asked for while no claim says who has it: a job that starts or ends holds it
// for a moment.
const claimPatience = 3 * time.Second

// claim makes sure that the table is the job's, and then settles what earlier jobs on the table left behind: in this order,
// for an attempt that begins after the claim has changed moves nothing.
func (f *Flusher) claim(ctx context.Context, req ledger.Request, in jobstep.PlanInput) error {
	claim := f.claimTable
	if in.Claimed || in.Generation > 1 { // who has had the table may have lost it, and must not take it back
		claim = f.stillClaimed
	}
	if err := fault.Do(ctx, fault.Claim, func() error { return claim(ctx, req, in.JobID) }); err != nil {
		return err
	}
	left, err := f.ledger.OtherAttempts(ctx, in.JobID)
	if err != nil {
		return err
	}
	_, err = f.sweeper.SettleAll(ctx, left)
	return err
}

// claimTable claims the table for a job of Temporal's, from a dead local job too.
func (f *Flusher) claimTable(ctx context.Context, req ledger.Request, jobID string) error {
	for {
		previous, err := f.ledger.ClaimTable(ctx, req.Schema, req.Table, jobID)
		var held *ledger.HeldError
		if errors.As(err, &held) {
			closed, closeErr := f.closeIfDead(ctx, held.Claim)
			if closeErr != nil || !closed {
				return errors.Join(err, closeErr)
			}
			continue
		}
		if previous != "" {
			f.log.Warn("taking the table over from a job that never ended", obs.KeyJob, jobID, obs.KeyPrevious, previous, obs.KeyTable, req.Schema+"."+req.Table)
		}
		return err
	}
}

func (f *Flusher) stillClaimed(ctx context.Context, req ledger.Request, jobID string) error {
	c, err := f.ledger.ClaimOf(ctx, req.Schema, req.Table)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && (c.JobID != jobID || c.Ended) {
		return ledger.ErrClaimLost
	}
	return err
}

// TakeTable takes a table's lock and claim for a local job, for as long as its process lives. A dead local job that has it
// is closed as interrupted first. With force the same is done to a job of Temporal's, which then moves no more rows even if
// it lives. Error: *ledger.HeldError names the job that has the table.
func (f *Flusher) TakeTable(ctx context.Context, c ledger.Claim, force bool) (ledger.Hold, error) {
	lock, err := f.lockTable(ctx, c)
	if err != nil {
		return ledger.Hold{}, err
	}
	for {
		now, err := f.ledger.PutClaim(ctx, c)
		if errors.Is(err, ledger.ErrNotFound) {
			continue // the one that was in the way has gone
		}
		if err == nil && now.JobID == c.JobID {
			return lock.Keep(now), nil
		}
		if err == nil && now.Manager != ledger.ManagerLocal && !now.Ended && !force {
			err = &ledger.HeldError{Claim: now}
		}
		if err == nil {
			err = f.closeClaim(ctx, now)
		}
		if err != nil {
			lock.Release()
			return ledger.Hold{}, err
		}
	}
}

// lockTable takes the lock of a table, or says which job has it.
func (f *Flusher) lockTable(ctx context.Context, c ledger.Claim) (*ledger.TableLock, error) {
	deadline := time.Now().Add(claimPatience)
	for {
		lock, err := f.ledger.LockTable(ctx, c.Schema, c.Table)
		if err != nil || lock != nil {
			return lock, err
		}
		now, err := f.ledger.ClaimOf(ctx, c.Schema, c.Table)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, err
		}
		if err == nil && now.Manager == ledger.ManagerLocal && !now.Ended {
			return nil, &ledger.HeldError{Claim: now}
		}
		if time.Now().After(deadline) {
			return nil, &ledger.HeldError{Claim: ledger.Claim{Schema: c.Schema, Table: c.Table, Manager: ledger.ManagerLocal}}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CloseInterrupted closes every local job whose process has died: it settles what the job left behind and records that it
// failed, with the class interrupted. Whether a process has died, PostgreSQL says: see ledger.LockTable. It returns the
// jobs that it closed.
func (f *Flusher) CloseInterrupted(ctx context.Context) (closed []string, err error) {
	claims, err := f.ledger.Claims(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, c := range claims {
		done, err := f.closeIfDead(ctx, c)
		if err != nil {
			errs = append(errs, fmt.Errorf("close job %q: %w", c.JobID, err))
		}
		if done {
			closed = append(closed, c.JobID)
		}
	}
	return closed, errors.Join(errs...)
}

// closeIfDead closes a local job unless it lives. It reports whether the claim is gone.
func (f *Flusher) closeIfDead(ctx context.Context, c ledger.Claim) (bool, error) {
	lock, err := f.ledger.LockTable(ctx, c.Schema, c.Table)
	if err != nil || lock == nil {
		return false, err
	}
	defer lock.Release()
	now, err := f.ledger.ClaimOf(ctx, c.Schema, c.Table) // under the lock nobody else changes it
	if errors.Is(err, ledger.ErrNotFound) || err == nil && now.JobID != c.JobID {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.closeClaim(ctx, now)
}

// closeClaim ends a job that does not end itself, and gives its table free. Whoever calls it holds the table's lock.
func (f *Flusher) closeClaim(ctx context.Context, c ledger.Claim) error {
	if c.Ended || c.RequestID == uuid.Nil { // nothing is left to record, or nothing is known
		return f.ledger.ReleaseTable(ctx, c.Schema, c.Table, c.JobID)
	}
	if _, err := f.Sweep(ctx, c.JobID); err != nil { // the next plan of the table tries again
		f.log.Warn("could not settle all attempts of an interrupted job", obs.KeyJob, c.JobID, obs.KeyErr, err)
	}
	cause := "the process that ran the job ended before the job did; the rows that it moved stay cold, the others are in the table"
	if c.Manager != ledger.ManagerLocal {
		cause = "the table was taken from the job by force, for a local flush"
	}
	f.recordFailure(ctx, c.JobID, nil, 1, jobstep.Classified(jobstep.ClassInterrupted, errors.New(cause)))
	_, err := f.Finish(ctx, jobstep.FinishInput{
		JobID: c.JobID, RequestID: c.RequestID.String(), Status: "failed", Class: jobstep.ClassInterrupted, CreatedAt: c.CreatedAt, StartedAt: c.StartedAt,
	})
	if errors.Is(err, ledger.ErrNotFound) { // without its request there is nothing to record
		return f.ledger.ReleaseTable(ctx, c.Schema, c.Table, c.JobID)
	}
	return err
}
