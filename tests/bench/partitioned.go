package main

import (
	"context"
	"errors"
)

// measurePartitioned flushes events into a directory for each tenant. The limit stays PostgreSQL's speed without sorting: what
// PostgreSQL does for partition_by is part of what partition_by costs.
func measurePartitioned(ctx context.Context, b *bed, rep *report) error {
	t := tableNamed("events")
	limit := &contestant{name: "limit", run: b.limit}
	plain := b.jobContestant("flush", "")
	parted := b.jobContestant("partition_by", ", partition_by = (tenant_id)")
	times := b.race(ctx, rep, t, b.cfg.rows, []*contestant{limit, plain, parted})
	f := compare("flush, partition_by = (tenant_id)", times, parted, limit).rate(b.cfg.rows)
	beside := compare("partition_by beside the plain flush", times, parted, plain).rate(b.cfg.rows)
	if f.Missing == "" && beside.Missing == "" {
		f.note("%s files", parted.job["segments"])
		beside.note("%s files, %s %s", parted.job["segments"], plain.name, plain.job["segments"])
	}
	rep.add(f)
	rep.add(beside)
	return errors.Join(limit.gone, plain.gone, parted.gone)
}
