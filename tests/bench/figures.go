package main

import (
	"context"
	"errors"
	"fmt"
)

// figures are what can be measured, in the order of the table. Each has names for -only; it measures what was asked for.
var figures = []struct {
	names   []string
	measure func(ctx context.Context, b *bed, rep *report) error
}{
	{[]string{"steps", "script"}, measureFlush},
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
			errs = append(errs, fmt.Errorf("%s: %w", f.names[0], err))
		}
	}
	return errors.Join(errs...)
}

// measureFlush lets the flush, its limit and the script move the same table, in turn.
func measureFlush(ctx context.Context, b *bed, rep *report) error {
	t := tableNamed(b.cfg.table)
	limit := &contestant{name: "limit", run: b.limit}
	bare := &contestant{name: "flush (steps only)", gone: errNotWanted}
	script := &contestant{name: "script", gone: errNotWanted}
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
	times := b.race(ctx, rep, t, b.cfg.rows, []*contestant{limit, bare, script})
	rep.add(compare(bare.name, times, bare, limit).judge(atMost(1.4, "×"), atMost(1.1, "×")))
	rep.add(compare("script, against the flush", times, script, bare).judge(atLeast(2, "×"), atLeast(3, "×")))
	return limit.gone
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
