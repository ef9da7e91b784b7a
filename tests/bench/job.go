package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// jobContestant flushes over the wire, by `spillway up` in a process of its own, started and stopped outside of the time. more
// are options beside parallelism and chunk_bytes, each behind a comma.
func (b *bed) jobContestant(name, more string) *contestant {
	r := &runner{b: b}
	c := &contestant{name: name, before: r.start, after: r.stop}
	c.run = func(ctx context.Context, t table) (moved int64, err error) {
		if c.job, err = r.front.flushAndWait(ctx, t, b.flushOptions()+more); err != nil {
			return 0, err
		}
		return rowsOf(c.job)
	}
	return c
}

// flushOptions are those of every flush, each behind a comma.
func (b *bed) flushOptions() string {
	return fmt.Sprintf(", parallelism = %d, chunk_bytes = %d", b.cfg.parallelism, b.cfg.chunkBytes)
}

func rowsOf(job map[string]string) (int64, error) {
	return strconv.ParseInt(job["rows_flushed"], 10, 64)
}

// runner has a `spillway up` of its own for each run of a contestant.
type runner struct {
	b     *bed
	up    *upChild
	front *client
}

func (r *runner) start(ctx context.Context, _ table) (err error) {
	if r.up, err = r.b.startUp(ctx); err != nil {
		return err
	}
	if r.front, err = r.up.connect(ctx); err != nil {
		err = errors.Join(err, r.up.stop())
	}
	return err
}

func (r *runner) stop() error {
	r.front.close()
	return r.up.stop()
}
