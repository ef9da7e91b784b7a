package localjobs

import (
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// heldBack says how long the next chunk has to wait, 0 for not at all, and shows why. The mailbox is read meanwhile. If the load
// cannot be looked at, the window has a failure.
func (w *window) heldBack() time.Duration {
	if !w.manners.Gated() {
		return 0
	}
	if d := w.pace.Wait(time.Now()); d > 0 {
		if jobstep.Shown(d) {
			w.phase = jobstep.PhaseThrottled
		}
		return d
	}
	if w.manners.ChecksLoad && time.Since(w.calmAt) >= jobstep.CalmFor {
		if d := time.Until(w.lookAgain); d > 0 {
			return d
		}
		if d := w.look(); d > 0 {
			return d
		}
	}
	w.phase = "moving"
	return 0
}

// look asks how busy the database is, and returns how long to wait before the next look.
func (w *window) look() time.Duration {
	var load jobstep.Load
	var err error
	w.job.wait(func() {
		err = w.m.retry(w.ctx, w.m.opt.Attempts, func(int) (err error) {
			load, err = w.m.steps.Load(w.ctx, jobstep.LoadInput{JobID: w.id.String()})
			return err
		})
	})
	switch {
	case err != nil:
		if w.ctx.Err() == nil {
			w.failure = err
			w.cancel()
		}
	case load.Calm():
		w.calmAt, w.lookWait = time.Now(), 0
	default:
		w.phase = load.Phase()
		w.lookWait = jobstep.NextLook(w.lookWait)
		w.lookAgain = time.Now().Add(w.lookWait)
		return w.lookWait
	}
	return 0
}

// charge takes the next chunk into account.
func (w *window) charge() jobstep.Charge {
	if !w.manners.Gated() {
		return jobstep.Charge{}
	}
	guess := int64(0)
	if left := w.last - w.next; left > 0 {
		guess = w.rowsLeftAt / int64(left)
	}
	return w.pace.Begin(time.Now(), w.manners.MaxRowsPerSecond, guess)
}

// paid settles what a chunk was charged.
func (w *window) paid(n news) {
	if w.manners.Gated() {
		w.pace.Landed(w.manners.MaxRowsPerSecond, n.charge, n.res.Rows, n.err == nil)
	}
}

// see looks at how long a chunk took. If the rest had better be cut anew, no other chunk begins.
func (w *window) see(res jobstep.ChunkResult) {
	if res.Rows > 0 && w.resize == 0 {
		w.resize = w.sizing.See(w.manners, res.Took, w.last-w.next, w.parallelism)
	}
}

// recut plans the chunks that have not begun anew. All that have begun are committed.
func (j *job) recut() error {
	cuts := j.sizing
	if err := j.planFrom(j.generation+1, j.resize, j.next); err != nil {
		return err
	}
	cuts.Cut()
	j.sizing = cuts
	return nil
}
