package localjobs

import (
	"context"
	"errors"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// news is what a chunk tells its job: that it has a slot, or how it ended.
type news struct {
	slotAt   time.Time // it has got a slot
	landed   bool
	res      jobstep.ChunkResult
	err      error
	attempts int
	charge   jobstep.Charge
}

// window moves the chunks of one generation of the plan, a bounded number at once.
type window struct {
	*job
	ctx     context.Context // of its chunks
	cancel  context.CancelFunc
	failure error // the first one
	replan  bool  // a chunk found that the table has changed
}

// move runs the chunks of the current plan, and of those that replace it. It returns only when no chunk is in flight.
func (j *job) move() error {
	for {
		replan, err := j.moveGeneration()
		switch {
		case err != nil:
			return err
		case !replan && j.resize > 0 && j.next < j.last:
			if err := j.recut(); err != nil {
				return err
			}
			continue
		case !replan:
			return nil
		}
		if j.replans++; j.replans > j.m.opt.Replans {
			return &jobstep.ClassifiedError{Class: jobstep.ClassConflict, Err: errors.New("the table kept changing")}
		}
		size := int64(0)
		if j.manners != nil {
			size = j.manners.ChunkBytes
		}
		if err := j.planFrom(j.generation+1, size, 0); err != nil {
			return err
		}
	}
}

func (j *job) moveGeneration() (replan bool, err error) {
	j.phase = "moving"
	w := &window{job: j}
	w.ctx, w.cancel = context.WithCancel(j.ctx)
	defer w.cancel()
	for w.more() || j.inFlight > 0 {
		var wait <-chan time.Time
		if w.more() && !j.paused && j.inFlight < j.parallelism {
			d := w.heldBack()
			switch {
			case d == 0 && w.more() && !j.paused:
				w.begin()
				continue
			case d > 0:
				wait = time.After(d)
			default:
				continue
			}
		}
		if n := j.listen(wait); n.landed {
			w.landed(n)
		}
	}
	if j.ctx.Err() != nil {
		return false, context.Cause(j.ctx)
	}
	return w.replan, w.failure
}

// begin starts the next chunk.
func (w *window) begin() {
	go w.moveChunk(w.ctx, w.next, w.charge())
	w.next++
	w.inFlight++
}

// more reports whether another chunk is to begin, now or when it may.
func (w *window) more() bool {
	return w.next < w.last && w.failure == nil && !w.replan && w.resize == 0 && w.job.ctx.Err() == nil
}

// listen waits for a message, or for news of a chunk, and does what is the same everywhere about it. Without chunks it also
// returns when the job's context ends; with chunks, they will tell. It returns in any case when wait, which may be nil, does.
func (j *job) listen(wait <-chan time.Time) (n news) {
	var ended <-chan struct{}
	if j.inFlight == 0 {
		ended = j.ctx.Done()
	}
	select {
	case msg := <-j.inbox:
		j.answer(msg)
	case n = <-j.news:
		if !n.slotAt.IsZero() && j.startedAt == nil {
			j.startedAt = &n.slotAt
		}
	case <-ended:
	case <-wait:
	}
	return n
}

// landed takes in the end of a chunk.
func (w *window) landed(n news) {
	w.inFlight--
	w.paid(n)
	w.dirty = w.dirty || n.err != nil || n.attempts > 1
	switch {
	case n.err == nil:
		w.moved++
		w.segments += n.res.Segments
		w.see(n.res)
	case w.ctx.Err() != nil:
	case jobstep.ClassOf(n.err).Name == jobstep.ClassReplan:
		w.replan = true // chunks in flight may still commit under the old plan; the next one leaves them out
	case w.failure == nil:
		w.failure = n.err
		w.cancel()
	}
}

// moveChunk moves one chunk. It holds a slot only while it is at it, and not between two tries.
func (j *job) moveChunk(ctx context.Context, chunk int, charge jobstep.Charge) {
	n := news{landed: true, charge: charge}
	in := jobstep.ChunkInput{JobID: j.id.String(), Chunk: chunk}
	n.err = j.m.retry(ctx, j.m.opt.Attempts, func(attempt int) (err error) {
		if err := j.m.slots.take(ctx, j); err != nil {
			return err
		}
		defer j.m.slots.give()
		j.news <- news{slotAt: time.Now()}
		n.attempts, in.Attempt = attempt, attempt
		n.res, err = j.m.steps.RunChunk(ctx, in, func(c jobstep.Checkpoint) {
			if c.AttemptID != "" {
				in.Previous = c.AttemptID
			}
		})
		return err
	})
	j.news <- n
}

// retry runs a step until it succeeds, fails with a class that time does not cure, or was tried often enough; 0 is without
// end.
func (m *Manager) retry(ctx context.Context, attempts int, run func(attempt int) error) error {
	for attempt, wait := 1, m.opt.Backoff; ; attempt, wait = attempt+1, min(2*wait, m.opt.MaxBackoff) {
		err := run(attempt)
		if err == nil || ctx.Err() != nil || attempt == attempts || !jobstep.ClassOf(err).Retryable {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}
