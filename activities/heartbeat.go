package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/spillwaydb/spillway/internal/fault"
)

// pulse sends heartbeats from its own goroutine, so that a heartbeat that waits for the server never holds up the work. A
// heartbeat says that this process lives and watches the context, not that rows move: PostgreSQL may need long for the
// first row.
type pulse struct {
	record func(Checkpoint)

	wake chan struct{}
	quit chan struct{}
	done chan struct{}

	mu   sync.Mutex
	last Checkpoint
	sent Checkpoint
}

// beat sends heartbeats without details until the returned function is called. Local activities send none.
func (a *Activities) beat(ctx context.Context) (stop func()) {
	if activity.GetInfo(ctx).IsLocalActivity {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(a.interval)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// startPulse sends heartbeats that carry the newest checkpoint, at first the one given: the attempt that starts now may
// die before it has an id of its own, and its successor must still know the one before.
func (a *Activities) startPulse(ctx context.Context, first Checkpoint) *pulse {
	p := newPulse(first, func(cp Checkpoint) {
		_ = fault.Do(ctx, fault.Heartbeat, func() error { activity.RecordHeartbeat(ctx, cp); return nil })
	})
	go p.run(ctx, a.interval)
	return p
}

func newPulse(first Checkpoint, record func(Checkpoint)) *pulse {
	return &pulse{
		record: record,
		wake:   make(chan struct{}, 1),
		quit:   make(chan struct{}),
		done:   make(chan struct{}),
		last:   first,
		sent:   first,
	}
}

// set stores cp for the next heartbeat. A new attempt id is sent at once, for it is what a successor needs most.
func (p *pulse) set(cp Checkpoint) {
	p.mu.Lock()
	if cp.AttemptID == "" {
		cp.AttemptID = p.last.AttemptID
	}
	urgent := cp.AttemptID != p.last.AttemptID
	p.last = cp
	p.mu.Unlock()
	if !urgent {
		return
	}
	select {
	case p.wake <- struct{}{}:
	default: // one is on its way, and it reads the newest
	}
}

// rows is how many rows the chunk has received so far.
func (p *pulse) rows() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Rows
}

// stop ends the heartbeats. After a failure the last checkpoint is handed to the SDK, which sends it before the failure:
// the next attempt reads it.
func (p *pulse) stop(failed bool) {
	close(p.quit)
	<-p.done
	if failed && p.last != p.sent {
		p.send()
	}
}

func (p *pulse) run(ctx context.Context, interval time.Duration) {
	defer close(p.done)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.wake:
		}
		p.send()
	}
}

func (p *pulse) send() {
	p.mu.Lock()
	cp := p.last
	p.sent = cp
	p.mu.Unlock()
	p.record(cp)
}
