package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

// window moves chunks of the current plan, a bounded number at once. The bound is also what keeps jobs fair to each
// other: a giant job never has more chunks queued than a small one.
type window struct {
	job     *job
	cancel  workflow.CancelFunc // stops the chunks in flight
	failure error               // the first one
	replan  bool                // a chunk found that the table has changed
	gate    *gate               // nil: nothing holds the next chunk back
}

// move runs the chunks of the current plan, and of those that replace it, until all are committed, one fails, the job is
// cancelled or the run is long enough. A pause holds it where no chunk is in flight. It returns only when no chunk is in flight.
func (j *job) move(ctx workflow.Context) error {
	for {
		replan, err := j.moveGeneration(ctx)
		if err != nil {
			return err
		}
		switch {
		case replan:
			err = j.replanned(ctx)
		case j.resize.bytes > 0:
			err = j.recut(ctx)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (j *job) moveGeneration(ctx workflow.Context) (replan bool, err error) {
	chunkCtx, cancel := workflow.WithCancel(ctx)
	defer cancel()
	// Waiting must go on after a cancel: the chunks in flight decide themselves how they end.
	waitCtx, release := workflow.NewDisconnectedContext(ctx)
	defer release()

	w := &window{job: j, cancel: cancel}
	w.openGate(chunkCtx)
	for {
		for w.mayBegin(ctx) {
			w.begin(chunkCtx)
		}
		if j.inFlight == 0 {
			if w.failure != nil || j.hold(ctx) != nil || !w.wants(ctx) {
				break
			}
			// Only the gate is shut, if anything is. A cancel is seen above.
			_ = workflow.Await(ctx, func() bool { return w.mayBegin(ctx) || !w.wants(ctx) })
			continue
		}
		landed := j.inFlight
		if err := workflow.Await(waitCtx, func() bool { return j.inFlight < landed || w.mayBegin(ctx) }); err != nil {
			return false, err
		}
	}
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case w.failure != nil:
		return false, w.failure
	case w.replan:
		return true, nil
	case j.resize.bytes > 0:
		return false, nil
	case j.state.Next < j.state.End:
		return false, errContinue
	}
	return false, nil
}

// mayBegin reports whether the next chunk may start now.
func (w *window) mayBegin(ctx workflow.Context) bool {
	return w.wants(ctx) && (w.gate == nil || w.gate.open)
}

// wants reports whether there is a next chunk and room for it.
func (w *window) wants(ctx workflow.Context) bool {
	j := w.job
	return ctx.Err() == nil && w.failure == nil && !w.replan && j.resize.bytes == 0 && !j.state.Paused &&
		j.state.Next < j.state.End && j.inFlight < j.state.Parallelism && !j.runIsLong(ctx)
}

// runIsLong reports whether this run should leave the rest to a new one.
func (j *job) runIsLong(ctx workflow.Context) bool {
	return j.begun >= j.tune.ChunksPerRun || workflow.GetInfo(ctx).GetContinueAsNewSuggested() && j.begun+j.holds+j.looks > 0
}

// begin starts the next chunk.
func (w *window) begin(ctx workflow.Context) {
	j := w.job
	chunk := j.state.Next
	j.state.Next++
	j.begun++
	j.inFlight++
	charge := w.pass(ctx)
	j.describe(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		res, err := j.moveChunk(ctx, chunk)
		j.inFlight--
		j.paid(charge, res, err == nil)
		w.landed(ctx, res, err)
	})
}

// moveChunk moves one chunk.
func (j *job) moveChunk(ctx workflow.Context, chunk int) (res activities.ChunkResult, err error) {
	ctx = j.chunkOptions(ctx, fmt.Sprintf("%s %d", j.kind.noun, chunk))
	err = j.step(ctx, j.kind.chunk, activities.ChunkInput{JobID: j.id, Chunk: chunk}, &res)
	return res, err
}

// landed takes in the end of a chunk.
func (w *window) landed(ctx workflow.Context, res activities.ChunkResult, err error) {
	j := w.job
	if err == nil {
		j.count(res)
		j.see(res)
		j.report(ctx)
		return
	}
	j.state.Dirty = true
	j.started(detailsOf(err).StartedAt)
	if temporal.IsCanceledError(err) {
		return
	}
	j.state.LastClass = classOf(err)
	if j.state.LastClass == activities.ClassReplan {
		w.replan = true // chunks in flight may still commit under the old plan; the next one leaves them out
	} else if w.failure == nil {
		w.failure = err
		w.cancel()
	}
	j.describe(ctx)
}

// count adds a committed chunk to the totals.
func (j *job) count(res activities.ChunkResult) {
	s := &j.state
	s.Done++
	s.Rows += res.Rows
	s.Bytes += res.Bytes
	s.Segments += res.Segments
	s.Skipped += res.Skipped
	if res.Attempt > 1 {
		s.Dirty = true
	}
	if s.StartedAt == nil {
		j.reported = -1 // tell now
	}
	j.started(res.StartedAt)
	if j.status == jobmanager.Pending {
		j.status = jobmanager.Running
	}
}

// started notes that a chunk had a slot from at on; the zero time says nothing.
func (j *job) started(at time.Time) {
	if !at.IsZero() && (j.state.StartedAt == nil || at.Before(*j.state.StartedAt)) {
		j.state.StartedAt = &at
	}
}
