package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A contestant moves all rows out of the fresh table app.<table>, or, if it fills, into it, and returns how many. Only run is
// timed.
type contestant struct {
	name   string
	fills  bool                                     // before empties the table
	before func(ctx context.Context, t table) error // may be nil
	run    func(ctx context.Context, t table) (int64, error)
	after  func() error      // may be nil
	gone   error             // why it cannot run, once it is known
	job    map[string]string // the row of the last job that it ran, if it runs jobs
}

// lap is one timed run.
type lap struct {
	took time.Duration // 0: it did not run
	cpu  float64       // processor seconds of the contestant, its children and PostgreSQL; 0 if unknown
	disk float64       // MB of the table afterwards, with its indexes and TOAST
}

// series are the runs of one contestant, one per round.
type series []lap

// race lets the contestants run in turn for all rounds, each on a fresh table, the order turned by one in every round. A
// contestant that fails runs no more; the others go on.
func (b *bed) race(ctx context.Context, rep *report, t table, n int64, contestants []*contestant) map[string]series {
	times := map[string]series{}
	for _, c := range contestants {
		times[c.name] = make(series, b.cfg.rounds)
	}
	for round := range b.cfg.rounds {
		for i := range contestants {
			c := contestants[(i+round)%len(contestants)]
			if c.gone != nil || ctx.Err() != nil {
				continue
			}
			l, err := b.once(ctx, rep, t, n, c)
			if err != nil {
				c.gone = err
				b.say("round %d  %-18s %v", round+1, c.name, err)
				continue
			}
			times[c.name][round] = l
			b.say("round %d  %-18s %8.3f s  %9.0f rows/s  %6.2f s of processor", round+1, c.name, l.took.Seconds(), float64(n)/l.took.Seconds(), l.cpu)
		}
	}
	return times
}

// once runs a contestant on a fresh table and checks that it did its work.
func (b *bed) once(ctx context.Context, rep *report, t table, n int64, c *contestant) (lap, error) {
	have, err := b.fresh(ctx, t, n)
	if err != nil {
		return lap{}, err
	}
	if have != n {
		return lap{}, fmt.Errorf("the fresh table has %d rows, expected %d", have, n)
	}
	if c.before != nil {
		if err := c.before(ctx, t); err != nil {
			return lap{}, err
		}
	}
	l, moved, err := timed(ctx, rep, t, c)
	if c.after != nil {
		err = errors.Join(err, c.after())
	}
	if err != nil {
		return lap{}, err
	}
	there, err := b.count(ctx, t)
	if err != nil {
		return lap{}, err
	}
	expected := int64(0)
	if c.fills {
		expected = n
	}
	if moved != n || there != expected {
		return lap{}, fmt.Errorf("%s moved %d of %d rows, and there are %d now", c.name, moved, n, there)
	}
	l.disk, err = b.megabytes(ctx, t)
	return l, err
}

func timed(ctx context.Context, rep *report, t table, c *contestant) (l lap, moved int64, err error) {
	watch := rep.Machine.watch()
	start := time.Now()
	moved, err = c.run(ctx, t)
	l.took = time.Since(start)
	l.cpu = watch.stop(l.took)
	return l, moved, err
}

// errNotWanted keeps a contestant out that -only leaves out.
var errNotWanted = errors.New("not asked for")

// errNotAvailable marks a figure whose part of the product this tree does not have.
var errNotAvailable = errors.New("not available")

func notAvailable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotAvailable, fmt.Sprintf(format, args...))
}
