package jobstep

import (
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// progressEvery is how often a running chunk reports rows and bytes.
const progressEvery = 250 * time.Millisecond

// Reporter hands checkpoints to the caller, at each step and from a ticker.
type Reporter struct {
	progress func(Checkpoint)
	calls    chan Checkpoint
	done     chan struct{}
	stopped  chan struct{}
	counts   atomic.Pointer[func() (rows, bytes int64)]
}

// NewReporter starts a Reporter; progress may be nil. Stop it.
func NewReporter(progress func(Checkpoint)) *Reporter {
	r := &Reporter{progress: progress, calls: make(chan Checkpoint), done: make(chan struct{}), stopped: make(chan struct{})}
	go r.loop()
	return r
}

func (r *Reporter) loop() {
	defer close(r.stopped)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	c := Checkpoint{Step: StepResolving}
	for {
		select {
		case <-r.done:
			return
		case c = <-r.calls:
		case <-tick.C:
		}
		if counts := r.counts.Load(); counts != nil {
			c.Rows, c.Bytes = (*counts)()
		}
		if r.progress != nil {
			r.progress(c)
		}
	}
}

// Report says which step an attempt is at. It returns after the caller has been told, so that a heartbeat that names an
// attempt is under way before the attempt can write anything.
func (r *Reporter) Report(step Step, attemptID uuid.UUID) {
	select {
	case r.calls <- Checkpoint{Step: step, AttemptID: attemptID.String()}:
	case <-r.done:
	}
}

// Count sets where rows and bytes are read; nil forgets it.
func (r *Reporter) Count(fn func() (rows, bytes int64)) {
	if fn == nil {
		r.counts.Store(nil)
		return
	}
	r.counts.Store(&fn)
}

// Stop returns when progress is called no more.
func (r *Reporter) Stop() {
	close(r.done)
	<-r.stopped
}
