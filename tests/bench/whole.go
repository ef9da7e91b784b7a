package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// measureWhole flushes a table in partitions in each of the ways, and looks at what is left on disk. Beside it stands a DELETE
// that keeps nothing.
func measureWhole(ctx context.Context, b *bed, rep *report) (err error) {
	// Membership: VACUUM before PostgreSQL 17 and DETACH take the owner's role. Every contestant has it, in this figure alone.
	if err := execAll(ctx, b.super, "GRANT "+ownerRole+" TO "+workerRole); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, execAll(context.WithoutCancel(ctx), b.super, "REVOKE "+ownerRole+" FROM "+workerRole))
	}()
	t := partedTable()
	plain := &contestant{name: "DELETE", run: b.plainDelete}
	ways := []*contestant{
		b.jobContestant("delete, no VACUUM", ", vacuum = false"),
		b.jobContestant("delete", ""),
		b.jobContestant("truncate", ", whole_partition = truncate"),
		b.jobContestant("detach", ", whole_partition = detach"),
	}
	times := b.race(ctx, rep, t, b.cfg.rows, append([]*contestant{plain}, ways...))
	if _, err := b.fresh(ctx, t, b.cfg.rows); err != nil {
		return err
	}
	full, err := b.megabytes(ctx, t)
	if err != nil {
		return err
	}
	errs := []error{plain.gone}
	for _, c := range ways {
		f := compare("whole partitions: "+c.name, times, c, plain).rate(b.cfg.rows)
		if f.Missing == "" {
			f.Disk, f.PeerDisk = times[c.name].disks(), times[plain.name].disks()
			f.note("the table on disk: before %s, after %s, after %s %s", spread(full, nil, "MB"),
				spread(median(f.Disk), f.Disk, "MB"), plain.name, spread(median(f.PeerDisk), f.PeerDisk, "MB"))
		}
		rep.add(f)
		errs = append(errs, c.gone)
	}
	return errors.Join(errs...)
}

// plainDelete deletes all rows of each partition in a transaction of its own, as many at once as the flush, and keeps nothing.
func (b *bed) plainDelete(ctx context.Context, t table) (int64, error) {
	leaves := t.leaves()
	conns := make([]*pgx.Conn, min(b.cfg.parallelism, len(leaves)))
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, b.ownerURL()); err != nil {
			return 0, err
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	return inParallel(ctx, len(conns), len(leaves), func(ctx context.Context, lane, i int) (int64, error) {
		tag, err := conns[lane].Exec(ctx, "DELETE FROM ONLY app."+leaves[i])
		if err != nil {
			return 0, fmt.Errorf("delete: %w", err)
		}
		return tag.RowsAffected(), nil
	})
}
