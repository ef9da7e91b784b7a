package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// figures are what can be measured, in the order of the table. Each has names for -only; it measures what was asked for.
var figures = []struct {
	names   []string
	measure func(ctx context.Context, b *bed, rep *report) error
}{
	{[]string{"flush", "steps", "script"}, measureFlush},
	{[]string{"start", "empty", "kill", "jobs", "proxy"}, measureFront},
	{[]string{"memory"}, measureMemory},
}

func figureNames() []string {
	var names []string
	for _, f := range figures {
		names = append(names, f.names...)
	}
	return names
}

// measure measures what was asked for. One figure that fails does not keep the others.
func measure(ctx context.Context, b *bed, rep *report) error {
	var errs []error
	for _, f := range figures {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		wanted := false
		for _, name := range f.names {
			wanted = wanted || b.cfg.wants(name)
		}
		if !wanted {
			continue
		}
		if err := f.measure(ctx, b, rep); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// measureFlush lets the flush, its limit and the script move the same table, in turn.
func measureFlush(ctx context.Context, b *bed, rep *report) error {
	t := tableNamed(b.cfg.table)
	limit := &contestant{name: "limit", run: b.limit}
	job := &contestant{name: "flush", gone: errNotWanted}
	bare := &contestant{name: "flush, steps only", gone: errNotWanted}
	script := &contestant{name: "script", gone: errNotWanted}
	if b.cfg.wants("flush") {
		job = b.jobContestant()
	}
	if b.cfg.wants("steps") {
		s, err := b.openSteps(ctx)
		if err != nil {
			return err
		}
		defer s.close()
		bare.run, bare.gone = s.run, nil
	}
	if b.cfg.wants("script") {
		script.run, script.gone = b.script, nil
	}
	times := b.race(ctx, rep, t, b.cfg.rows, []*contestant{limit, job, bare, script})
	peer := job
	if job.gone != nil {
		peer = bare
	}
	rep.add(compare("flush", times, job, limit).judge(atMost(1.4, "×"), atMost(1.1, "×")))
	rep.add(compare("flush, steps only", times, bare, limit).judge(atMost(1.4, "×"), atMost(1.1, "×")))
	rep.add(compare("the script of today", times, script, peer).judge(atLeast(2, "×"), atLeast(3, "×")))
	return limit.gone
}

// jobContestant flushes over the wire, by `spillway up` in a process of its own, started and stopped outside of the time.
func (b *bed) jobContestant() *contestant {
	var up *upChild
	var front *client
	options := fmt.Sprintf(", parallelism = %d, chunk_bytes = %d", b.cfg.parallelism, b.cfg.chunkBytes)
	return &contestant{
		name: "flush",
		before: func(ctx context.Context, _ table) (err error) {
			if up, err = b.startUp(ctx); err != nil {
				return err
			}
			if front, err = up.connect(ctx); err != nil {
				err = errors.Join(err, up.stop())
			}
			return err
		},
		run: func(ctx context.Context, t table) (int64, error) {
			row, err := front.flushAndWait(ctx, t, options)
			if err != nil {
				return 0, err
			}
			return strconv.ParseInt(row["rows_flushed"], 10, 64)
		},
		after: func() error { front.close(); return up.stop() },
	}
}

// compare is the figure of a contestant with another beside it, round by round; nil if it was not asked for.
func compare(name string, times map[string]series, c, peer *contestant) *figure {
	if errors.Is(c.gone, errNotWanted) {
		return nil
	}
	for _, one := range []*contestant{c, peer} {
		if one.gone != nil {
			return missing(name, one.gone)
		}
	}
	own, other := times[c.name], times[peer.name]
	f := &figure{
		Name: name, Unit: "s", Samples: own.seconds(), Shown: median(own.seconds()), PeerIs: peer.name, Peer: other.seconds(),
		Ratios: own.ratios(other), CPURatios: own.cpuRatios(other),
	}
	if len(f.CPURatios) > 0 {
		f.Note = "in processor time " + spread(median(f.CPURatios), f.CPURatios, "×")
	}
	return f
}
