package command

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/obs"
)

// watchEvery is how often a server that this process cannot do without is asked for a sign of life.
const watchEvery = time.Second

// watch asks a server for a sign of life again and again. It logs when an outage begins and when it ends, once each, and
// remembers in between, so that /readyz need not ask.
type watch struct {
	ask     func(context.Context) error
	lost    func(error)         // logs the beginning
	regain  func(time.Duration) // logs the end
	outside string              // what /readyz says of an outage

	mu   sync.Mutex
	down bool
}

// run watches until ctx ends. A tick of every starts the next question.
func (w *watch) run(ctx context.Context, every <-chan time.Time) {
	var since time.Time
	for {
		began := time.Now()
		err := w.askOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		switch was := w.set(err != nil); {
		case err != nil && !was:
			since = began
			w.lost(err)
		case err == nil && was:
			w.regain(time.Since(since))
		}
		select {
		case <-ctx.Done():
			return
		case <-every:
		}
	}
}

func (w *watch) askOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return w.ask(ctx)
}

// set notes the answer and returns what was noted before.
func (w *watch) set(down bool) (was bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	was, w.down = w.down, down
	return was
}

// isDown reports whether the server did not answer when it was last asked.
func (w *watch) isDown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

// startWatches watches the database and Temporal until the node stops. It comes before the worker: that may take minutes to
// stop, and needs both.
func (n *node) startWatches(context.Context) error {
	probe := n.db.NewProbe()
	n.watches = []*watch{databaseWatch(n.log, probe.Ping), temporalWatch(n.log, func(ctx context.Context) error {
		_, err := n.temporal.CheckHealth(ctx, nil)
		return err
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, w := range n.watches {
		running.Go(func() {
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			w.run(ctx, tick.C)
		})
	}
	n.started("watch", func(ctx context.Context) error {
		cancel()
		running.Wait()
		probe.Close(ctx)
		return nil
	})
	return nil
}

func databaseWatch(log *slog.Logger, ask func(context.Context) error) *watch {
	return &watch{
		ask: ask, outside: "no answer from the database",
		lost:   func(err error) { log.Error("PostgreSQL does not answer", obs.KeyErr, err) },
		regain: func(d time.Duration) { log.Info("PostgreSQL answers again", obs.KeyDuration, d) },
	}
}

func temporalWatch(log *slog.Logger, ask func(context.Context) error) *watch {
	return &watch{
		ask: ask, outside: "no answer from Temporal",
		lost:   func(err error) { log.Error("Temporal does not answer", obs.KeyErr, err) },
		regain: func(d time.Duration) { log.Info("Temporal answers again", obs.KeyDuration, d) },
	}
}
