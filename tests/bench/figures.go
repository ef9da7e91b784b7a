package main

import (
	"context"
	"errors"
)

// figures are what can be measured, in the order of the table. Each has names for -only; it measures what was asked for.
var figures = []struct {
	names   []string
	measure func(ctx context.Context, b *bed, rep *report) error
	onlyBy  bool // measured only if -only names it
}{
	{names: []string{"flush", "steps", "script"}, measure: measureFlush},
	{names: []string{"wide"}, measure: measureWide},
	{names: []string{"narrow"}, measure: measureNarrow},
	{names: []string{"partitioned"}, measure: measurePartitioned, onlyBy: true},
	{names: []string{"s3"}, measure: measureS3, onlyBy: true},
	{names: []string{"whole"}, measure: measureWhole, onlyBy: true},
	{names: []string{"restore"}, measure: measureRestore, onlyBy: true},
	{names: []string{"schedules"}, measure: measureSchedules, onlyBy: true},
	{names: []string{"start", "empty", "kill", "jobs", "proxy"}, measure: measureFront},
	{names: []string{"policies"}, measure: measurePolicies, onlyBy: true},
	{names: []string{"memory"}, measure: measureMemory},
}

func figureNames() []string {
	var names []string
	for _, f := range figures {
		names = append(names, f.names...)
	}
	return names
}

// byDefault are the names of what is measured without -only.
func byDefault() []string {
	var names []string
	for _, f := range figures {
		if !f.onlyBy {
			names = append(names, f.names...)
		}
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
		job = b.jobContestant("flush", "")
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
	rep.add(compare("flush", times, job, limit).judge(atMost(1.3, "×"), atMost(1.1, "×")))
	rep.add(compare("flush, steps only", times, bare, limit).judge(atMost(1.3, "×"), atMost(1.1, "×")))
	rep.add(compare("the script of today", times, script, peer).judge(atLeast(2, "×"), atLeast(3, "×")))
	return limit.gone
}

// measureWide flushes the table of many columns, a quarter of the rows: they take about as long.
func measureWide(ctx context.Context, b *bed, rep *report) error {
	return measureTable(ctx, b, rep, tableNamed("wide"), max(1, b.cfg.rows/4))
}

func measureNarrow(ctx context.Context, b *bed, rep *report) error {
	return measureTable(ctx, b, rep, tableNamed("narrow"), b.cfg.rows)
}

// measureTable lets the flush and its limit move another table. Nothing is asked of the ratio: it says where the cost lies.
func measureTable(ctx context.Context, b *bed, rep *report, t table, n int64) error {
	limit := &contestant{name: "limit", run: b.limit}
	job := b.jobContestant("flush", "")
	times := b.race(ctx, rep, t, n, []*contestant{limit, job})
	rep.add(compare("flush, "+t.name, times, job, limit).rate(n))
	return errors.Join(limit.gone, job.gone)
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
