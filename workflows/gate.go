package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
)

// gate lets one chunk at a time begin: when the rate allows it, and the database is not too busy. All its waits are timers of
// the workflow. They end early when no chunk is wanted any more: by a pause, a cancel, or because the run is long.
type gate struct {
	open bool
}

// openGate sets a gate up if the job has promised one. Its keeper ends with ctx.
func (w *window) openGate(ctx workflow.Context) {
	if !w.job.state.Manners.Gated() {
		return
	}
	w.gate = &gate{}
	workflow.Go(ctx, w.keepGate)
}

func (w *window) keepGate(ctx workflow.Context) {
	for workflow.Await(ctx, func() bool { return !w.gate.open && w.wants(ctx) }) == nil {
		err := w.awaitPace(ctx)
		if err == nil {
			err = w.awaitCalm(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		w.show(ctx, PhaseMoving)
		if err != nil {
			w.job.state.LastClass = classOf(err)
			if w.failure == nil {
				w.failure = err
				w.cancel()
			}
			return
		}
		w.gate.open = w.wants(ctx)
	}
}

// pass takes the next chunk through the gate.
func (w *window) pass(ctx workflow.Context) activities.Charge {
	j := w.job
	if w.gate == nil {
		return activities.Charge{}
	}
	w.gate.open = false
	guess := int64(0)
	if left := j.state.Total - j.state.Done; left > 0 {
		guess = max(j.state.RowsTotal-j.state.Rows, 0) / int64(left)
	}
	return j.state.Pace.Begin(workflow.Now(ctx), j.state.Manners.MaxRowsPerSecond, guess)
}

// paid settles what a chunk was charged.
func (j *job) paid(c activities.Charge, res activities.ChunkResult, moved bool) {
	if m := j.state.Manners; m.Gated() {
		j.state.Pace.Landed(m.MaxRowsPerSecond, c, res.Rows, moved)
	}
}

// awaitPace waits until what has begun is paid for. A chunk that lands meanwhile may change when that is.
func (w *window) awaitPace(ctx workflow.Context) error {
	j := w.job
	if j.state.Manners.MaxRowsPerSecond == 0 {
		return nil
	}
	for w.wants(ctx) {
		d := j.state.Pace.Wait(workflow.Now(ctx))
		if d <= 0 {
			return nil
		}
		if activities.Shown(d) {
			w.show(ctx, activities.PhaseThrottled)
		}
		if err := w.sleep(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// awaitCalm waits until no limit of the load is exceeded.
func (w *window) awaitCalm(ctx workflow.Context) error {
	j := w.job
	if !j.state.Manners.ChecksLoad {
		return nil
	}
	var wait time.Duration
	for w.wants(ctx) && workflow.Now(ctx).Sub(j.state.CalmAt) >= activities.CalmFor {
		var load activities.Load
		j.looks++
		if err := j.step(j.loadOptions(ctx), steps.CheckLoad, activities.LoadInput{JobID: j.id}, &load); err != nil {
			return err
		}
		if load.Calm() {
			j.state.CalmAt = workflow.Now(ctx)
			return nil
		}
		w.show(ctx, Phase(load.Phase()))
		wait = activities.NextLook(wait)
		if err := w.sleep(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits for a timer, or until no chunk is wanted.
func (w *window) sleep(ctx workflow.Context, d time.Duration) error {
	_, err := workflow.AwaitWithTimeout(ctx, d, func() bool { return !w.wants(ctx) })
	return err
}

// show tells what the job waits for, while no chunk is under way that would say more.
func (w *window) show(ctx workflow.Context, p Phase) {
	if j := w.job; j.phase != p {
		j.enter(ctx, p)
	}
}

// loadOptions are those of a look at the load. It is never worth waiting for at a kill.
func (j *job) loadOptions(ctx workflow.Context) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         j.retries(j.tune.Attempts),
		Summary:             "look at the load",
	})
}

// resize is a new size of chunks that was found to be better, and where it begins.
type resize struct {
	bytes int64
	next  int
}

// see looks at how long a chunk took. If the rest had better be cut anew, no other chunk begins.
func (j *job) see(res activities.ChunkResult) {
	if s := &j.state; res.Rows > 0 && j.resize.bytes == 0 {
		j.resize.bytes = s.Sizing.See(s.Manners, res.Took, s.End-s.Next, s.Parallelism)
	}
}

// recut plans the chunks that have not begun anew. All that have begun are committed.
func (j *job) recut(ctx workflow.Context) error {
	if j.state.Next >= j.state.End {
		j.resize = resize{}
		return nil
	}
	j.resize.next = j.state.Next
	cuts := j.state.Sizing
	if err := j.plan(ctx, j.state.Generation+1); err != nil {
		return err
	}
	cuts.Cut()
	j.state.Sizing = cuts
	return nil
}
