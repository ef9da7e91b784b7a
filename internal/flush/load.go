package flush

import (
	"context"
	"errors"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// mayLook refuses limits that this role cannot watch. The error is *RefusedError, or one that keeps it from looking.
func mayLook(ctx context.Context, db *hot.DB, schema, table string, opts Options) error {
	if opts.MaxLagBytes == 0 && opts.MaxLagTime == 0 {
		return nil
	}
	ok, err := db.ReadsReplication(ctx)
	if err != nil || ok {
		return err
	}
	return &RefusedError{Table: schema + "." + table, Refusal: hot.Refusal{
		Code: "42501", Msg: "permission denied: max_replication_lag needs a worker that may read how far standbys are",
		Hint: "Let a superuser run what `spillway grants --monitor` prints: GRANT pg_read_all_stats."}}
}

// mayLook is the same, with the class of a right that is missing.
func (f *Flusher) mayLook(ctx context.Context, schema, table string, opts Options) error {
	err := mayLook(ctx, f.hot, schema, table, opts)
	var no *RefusedError
	if errors.As(err, &no) {
		return jobstep.Classified(jobstep.ClassPrivilege, err)
	}
	return err
}

// Load looks whether a limit of the job is exceeded, in one or two short queries. It waits for nothing.
func (f *Flusher) Load(ctx context.Context, in jobstep.LoadInput) (jobstep.Load, error) {
	l, err := f.load(ctx, in)
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return l, err
}

func (f *Flusher) load(ctx context.Context, in jobstep.LoadInput) (l jobstep.Load, err error) {
	row, err := f.ledger.LastPlan(ctx, in.JobID)
	if err != nil {
		return l, err
	}
	doc, _, err := f.generation(ctx, in.JobID, row.FirstChunk)
	if err != nil {
		return l, err
	}
	opts := doc.Options
	if err := f.mayLook(ctx, doc.Schema, doc.Name, opts); err != nil { // the right may have been taken back
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
