package flush

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// RunChunk moves one chunk, exactly once however often it is called for it: earlier attempts are settled first, and the
// fence lets one only commit. It returns when the chunk is committed, by whichever attempt, or with an error that ClassOf
// sorts; after an error the chunk's rows are hot, or its outcome is left to the next call. When ctx ends, the rows are
// unlocked at once, in the middle of a COPY too.
//
// progress may be nil; it is called at each step and every quarter of a second, by one goroutine at a time, and must not
// block.
func (f *Flusher) RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.once(ctx, in, progress, f.runChunk)
}

// once settles what earlier attempts left, and runs a chunk unless one of them has committed it.
func (f *Flusher) once(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint), run func(context.Context, jobstep.ChunkInput, *jobstep.Reporter) (jobstep.ChunkResult, error)) (jobstep.ChunkResult, error) {
	rep := jobstep.NewReporter(progress)
	defer rep.Stop()
	began := time.Now()
	res, done, err := f.settled(ctx, in)
	if err == nil && !done {
		res, err = run(ctx, in, rep)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = jobstep.Classified(jobstep.ClassCancelled, fmt.Errorf("chunk %d: %w", in.Chunk, context.Cause(ctx)))
		}
		f.recordFailure(ctx, in.JobID, &in.Chunk, in.Attempt, err)
		f.measured(in, began, jobstep.ChunkResult{}, err)
		return jobstep.ChunkResult{}, err
	}
	f.measured(in, began, res, nil)
	return res, nil
}

// settled finds out what became of earlier attempts, and whether one of them has committed the chunk.
func (f *Flusher) settled(ctx context.Context, in jobstep.ChunkInput) (res jobstep.ChunkResult, done bool, err error) {
	if res, done, err = f.committed(ctx, in); err != nil || done {
		return res, done, err
	}
	earlier, err := f.settleEarlier(ctx, in)
	if err != nil || !earlier {
		return jobstep.ChunkResult{}, false, err
	}
	return f.committed(ctx, in) // one of them may turn out to have
}

func (f *Flusher) runChunk(ctx context.Context, in jobstep.ChunkInput, rep *jobstep.Reporter) (jobstep.ChunkResult, error) {
	plan, err := f.loadPlan(ctx, in.JobID, in.Chunk)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	store, storeName, err := f.stores.Store(ctx, plan.doc.Storage)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	for lockTimeouts := 0; ; lockTimeouts++ {
		a := &attempt{
			f: f, in: in, dir: plan.part.Dir, about: plan.part.leafName(), lockTimeout: plan.doc.Options.LockTimeout,
			plan: plan, store: store, storeName: storeName, rep: rep, skipLocked: lockTimeouts >= maxSkipLockedAfter,
		}
		a.work = a.move
		res, err := a.run(ctx)
		// Rows whose locks others hold are waited for twice. Then they are left to them and the rest moves.
		if err != nil && a.copying && (hot.SQLState(err) == "55P03" || hot.SQLState(err) == "40P01") && lockTimeouts < maxSkipLockedAfter {
			continue
		}
		return f.fenced(ctx, in, res, err)
	}
}

// fenced looks whether a unique violation was that of the fence: then somebody else has committed the chunk.
func (f *Flusher) fenced(ctx context.Context, in jobstep.ChunkInput, res jobstep.ChunkResult, err error) (jobstep.ChunkResult, error) {
	if hot.SQLState(err) == "23505" {
		if got, ok, lookErr := f.committed(ctx, in); lookErr == nil && ok {
			return got, nil
		}
	}
	return res, err
}

// committed looks for the chunk's row: is there nothing left to do?
func (f *Flusher) committed(ctx context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, bool, error) {
	row, found, err := f.ledger.ChunkRow(ctx, in.JobID, in.Chunk)
	if err != nil || !found {
		return jobstep.ChunkResult{}, false, err
	}
	return jobstep.ChunkResult{Rows: row.Rows, Bytes: row.Bytes, Skipped: row.Skipped, Segments: row.Segments, Earlier: true}, true, nil
}

// settleEarlier finds out what became of every earlier attempt at a chunk: none may commit behind the back of the next
// one, and none may keep its locks. It reports whether there was one.
func (f *Flusher) settleEarlier(ctx context.Context, in jobstep.ChunkInput) (settled bool, err error) {
	earlier, err := f.ledger.Attempts(ctx, in.JobID, in.Chunk)
	if err != nil {
		return false, err
	}
	listed := false
	for _, a := range earlier {
		listed = listed || a.ID.String() == in.Previous
		if _, err := f.sweeper.Settle(ctx, a); err != nil {
			return false, err
		}
	}
	if id, err := uuid.Parse(in.Previous); err == nil && !listed {
		// The last heartbeat names an attempt without a row: committed, or its first row was never seen to arrive. Either
		// way there is nothing to delete; the fence decides if it appears yet.
		if _, err := f.ledger.Condemn(ctx, id); err != nil {
			return false, err
		}
		return true, nil
	}
	return len(earlier) > 0, nil
}
