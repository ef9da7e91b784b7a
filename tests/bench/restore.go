package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
)

// measureRestore brings the events back that a flush, outside of the time, took away. Beside it COPY FROM loads the same rows from
// files of PostgreSQL's text format, one for each segment: the format that a restore sends.
func measureRestore(ctx context.Context, b *bed, rep *report) error {
	t := tableNamed("events")
	load := b.copyContestant()
	restore := b.restoreContestant()
	times := b.race(ctx, rep, t, b.cfg.rows, []*contestant{load, restore})
	rep.add(compare("restore", times, restore, load).rate(b.cfg.rows))
	return errors.Join(load.gone, restore.gone)
}

// emptied makes a table empty as a new one is. A restore into dead rows would be another measurement.
func (b *bed) emptied(ctx context.Context, t table) error {
	if err := execAll(ctx, b.super, "TRUNCATE app."+t.name); err != nil {
		return err
	}
	return b.settle(ctx)
}

func (b *bed) restoreContestant() *contestant {
	r := &runner{b: b}
	c := &contestant{name: "restore", fills: true, after: r.stop}
	var flushed string
	prepare := func(ctx context.Context, t table) error {
		if err := execAll(ctx, b.super, "GRANT INSERT ON app."+t.name+" TO "+workerRole); err != nil {
			return err
		}
		row, err := r.front.flushAndWait(ctx, t, b.flushOptions())
		if err != nil {
			return err
		}
		flushed = row["job_id"] // earlier figures have left other rows in files, of the same table by name
		return b.emptied(ctx, t)
	}
	c.before = func(ctx context.Context, t table) error {
		if err := r.start(ctx, t); err != nil {
			return err
		}
		if err := prepare(ctx, t); err != nil {
			return errors.Join(err, r.stop())
		}
		return nil
	}
	c.run = func(ctx context.Context, t table) (rows int64, err error) {
		c.job, err = r.front.jobAndWait(ctx, fmt.Sprintf("RESTORE TABLE app.%s FROM JOB '%s' WITH (wait = true, parallelism = %d)", t.name, flushed, b.cfg.parallelism))
		if err != nil {
			return 0, err
		}
		return rowsOf(c.job)
	}
	return c
}

// copyContestant loads the rows with COPY FROM STDIN: as many files as the flush has chunks, as many at once as the restore, a
// commit for each.
func (b *bed) copyContestant() *contestant {
	c := &contestant{name: "COPY FROM (text)", fills: true}
	var dir string
	var files []string
	c.before = func(ctx context.Context, t table) (err error) {
		if dir, err = os.MkdirTemp(b.dir, "copy-"); err != nil {
			return err
		}
		if files, err = b.copyOut(ctx, t, dir); err == nil {
			err = b.emptied(ctx, t)
		}
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		return err
	}
	c.run = func(ctx context.Context, t table) (int64, error) { return b.copyIn(ctx, t, files) }
	c.after = func() error { return os.RemoveAll(dir) }
	return c
}

// copyOut writes each block range of a table to a file.
func (b *bed) copyOut(ctx context.Context, t table, dir string) (files []string, err error) {
	ranges, err := b.ranges(ctx, t)
	if err != nil {
		return nil, err
	}
	for i, r := range ranges {
		path := filepath.Join(dir, fmt.Sprintf("%d.txt", i))
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		_, err = b.super.PgConn().CopyTo(ctx, f, "COPY (SELECT * FROM ONLY app."+t.name+" WHERE "+inRange(r)+") TO STDOUT")
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	return files, nil
}

func (b *bed) copyIn(ctx context.Context, t table, files []string) (int64, error) {
	conns := make([]*pgx.Conn, min(b.cfg.parallelism, len(files)))
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, b.ownerURL()); err != nil {
			return 0, err
		}
		defer conns[i].Close(context.WithoutCancel(ctx))
	}
	return inParallel(ctx, len(conns), len(files), func(ctx context.Context, lane, i int) (int64, error) {
		f, err := os.Open(files[i])
		if err != nil {
			return 0, err
		}
		defer f.Close()
		tag, err := conns[lane].PgConn().CopyFrom(ctx, f, "COPY app."+t.name+" FROM STDIN")
		return tag.RowsAffected(), err
	})
}
