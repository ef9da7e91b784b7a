package activities

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/spillwaydb/spillway/internal/policy"
)

// What the watcher of policies tells the workflow: names, numbers and classes.
type PolicyReport = policy.Report

// PolicyWatcher is the part of *policy.Watcher that activities call.
type PolicyWatcher interface {
	Run(ctx context.Context, told func(policy.Report) (goOn bool))
	Lags() []policy.Lag
}

// PolicyOptions tunes Policies. The zero value means the defaults.
type PolicyOptions struct {
	Heartbeat  time.Duration // default 2 s
	TellEvery  time.Duration // news wait so long since the last; default 30 s
	TellAnyway time.Duration // without news; default 10 min
}

// Policies watches the tables that have a policy. Register the struct with a worker; a nil *Policies names the activity in a
// workflow.
type Policies struct {
	watcher PolicyWatcher
	opt     PolicyOptions
	turn    chan struct{} // one watch at a time

	mu       sync.Mutex
	watching bool
}

// NewPolicies returns the activity of w, which keeps what it has learnt from one watch to the next.
func NewPolicies(w PolicyWatcher, opt *PolicyOptions) (*Policies, error) {
	if w == nil {
		return nil, errors.New("a watcher of policies is required")
	}
	p := &Policies{watcher: w, turn: make(chan struct{}, 1)}
	if opt != nil {
		p.opt = *opt
	}
	for _, d := range []struct {
		v    *time.Duration
		deft time.Duration
	}{{&p.opt.Heartbeat, 2 * time.Second}, {&p.opt.TellEvery, 30 * time.Second}, {&p.opt.TellAnyway, 10 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.deft
		}
	}
	return p, nil
}

// WatchPolicies watches until there is something new to tell, and not for long. When its worker stops it ends at once, so that
// another one takes over.
func (p *Policies) WatchPolicies(ctx context.Context, last PolicyReport) (PolicyReport, error) {
	watch, stop := context.WithCancel(ctx)
	stopping, quiet := p.beat(ctx, watch, stop)
	defer func() { stop(); <-quiet }()
	select {
	case p.turn <- struct{}{}: // an earlier one of this process may not have noticed yet that it was given up
		defer func() { <-p.turn }()
	case <-watch.Done():
		return last, p.gaveUp(ctx)
	}
	p.setWatching(true)
	defer p.setWatching(false)
	begin, now := time.Now(), last
	p.watcher.Run(watch, func(r policy.Report) bool {
		now = r
		since := time.Since(begin)
		return since < p.opt.TellEvery || r.Same(last) && since < p.opt.TellAnyway
	})
	if ctx.Err() != nil || stopping() {
		return now, p.gaveUp(ctx)
	}
	return now, nil
}

// lags is PolicyLags.
func (p *Policies) lags() []policy.Lag {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.watching {
		return nil
	}
	return p.watcher.Lags()
}

// PolicyLags lists every table with a policy and how long it has been due; nil where another process watches. It is no method:
// those of Policies are activities.
func PolicyLags(p *Policies) []policy.Lag { return p.lags() }

func (p *Policies) setWatching(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watching = on
}

// beat sends heartbeats of ctx until watch ends, and calls stop when the worker stops. The function it returns reports whether that was so;
// the channel is closed after the last heartbeat.
func (p *Policies) beat(ctx, watch context.Context, stop func()) (stopping func() bool, quiet <-chan struct{}) {
	stopped, ended := activity.GetWorkerStopChannel(ctx), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(p.opt.Heartbeat)
		defer tick.Stop()
		activity.RecordHeartbeat(ctx)
		for {
			select {
			case <-watch.Done():
				return
			case <-stopped:
				stop()
				return
			case <-tick.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	}, ended
}

// gaveUp is what a watch says that did not end by itself. The next try, by the workflow's retry policy, is soon: a worker that stops has
// the server close its polls first, so that no try is given to nobody.
func (p *Policies) gaveUp(ctx context.Context) error { return interrupted(ctx, noChunk) }
