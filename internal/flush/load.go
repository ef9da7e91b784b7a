package flush

import (
	"context"
	"errors"
)

// errLagUnreadable says what the worker's role lacks.
var errLagUnreadable = errors.New("max_replication_lag needs to read how far standbys are: GRANT pg_read_all_stats TO the worker's role, which spillway grants --monitor prints")

// mayLook refuses limits that this role cannot watch.
func (f *Flusher) mayLook(ctx context.Context, opts Options) error {
	if opts.MaxLagBytes == 0 && opts.MaxLagTime == 0 {
		return nil
	}
	ok, err := f.hot.ReadsReplication(ctx)
	if err == nil && !ok {
		err = classified(ClassPrivilege, errLagUnreadable)
	}
	return err
}

// Load looks whether a limit of the job is exceeded, in one or two short queries. It waits for nothing.
func (f *Flusher) Load(ctx context.Context, in LoadInput) (Load, error) {
	l, err := f.load(ctx, in)
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return l, err
}

func (f *Flusher) load(ctx context.Context, in LoadInput) (l Load, err error) {
	row, err := f.ledger.LastPlan(ctx, in.JobID)
	if err != nil {
		return l, err
	}
	doc, _, err := f.generation(ctx, in.JobID, row.FirstChunk)
	if err != nil {
		return l, err
	}
	opts := doc.Options
	if err := f.mayLook(ctx, opts); err != nil { // the right may have been taken back
		return l, err
	}
	if opts.MaxLagBytes > 0 || opts.MaxLagTime > 0 {
		lag, err := f.hot.ReplicationLag(ctx)
		if err != nil {
			return l, err
		}
		if opts.MaxLagBytes > 0 && lag.Bytes > opts.MaxLagBytes {
			l.LagBytes = lag.Bytes
		}
		if opts.MaxLagTime > 0 && lag.Time > opts.MaxLagTime {
			l.LagTime = lag.Time
		}
	}
	if opts.MaxLockWaiters != nil {
		waiters, err := f.hot.LockWaiters(ctx, doc.oids())
		if err != nil {
			return l, err
		}
		if waiters > *opts.MaxLockWaiters {
			l.LockWaiters = waiters
		}
	}
	return l, nil
}
