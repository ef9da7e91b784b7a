package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// measureMemory flushes tables of growing size, each by a new `spillway up`, and reads the highest resident memory of that
// process above what it had before the flush. Temporal and the front-end live in it too; what they use for the flush counts.
func measureMemory(ctx context.Context, b *bed, rep *report) error {
	var errs []error
	for _, n := range b.cfg.memoryRows {
		name := fmt.Sprintf("peak memory above idle, %g million rows", float64(n)/1e6)
		f, err := b.memoryOf(ctx, name, n)
		if err != nil {
			f = missing(name, err)
			if !errors.Is(err, errNotAvailable) {
				errs = append(errs, fmt.Errorf("memory: %w", err))
			}
		}
		rep.add(f.judge(atMost(200, "MB"), atMost(100, "MB")))
	}
	return errors.Join(errs...)
}

func (b *bed) memoryOf(ctx context.Context, name string, rows int64) (*figure, error) {
	t := tableNamed(b.cfg.table)
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		return nil, notAvailable("this system does not tell the peak of a process's memory")
	}
	if _, err := b.fresh(ctx, t, rows); err != nil {
		return nil, err
	}
	u, err := b.startUp(ctx)
	if err != nil {
		return nil, err
	}
	b.say("measuring memory at %d rows", rows)
	idle, peak, err := u.peak(ctx, t, rows)
	if err = errors.Join(err, u.stop()); err != nil {
		return nil, err
	}
	f := &figure{Name: name, Unit: "MB", Samples: []float64{peak - idle}, Shown: peak - idle}
	f.Note = fmt.Sprintf("idle %s MB, peak %s MB", number(idle), number(peak))
	return f, nil
}

// peak flushes the table and returns the process's resident memory before, and its highest since.
func (u *upChild) peak(ctx context.Context, t table, rows int64) (idle, peak float64, err error) {
	c, err := u.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	if err := pause(ctx, 10*time.Second); err != nil { // Temporal comes to rest
		return 0, 0, err
	}
	proc := fmt.Sprintf("/proc/%d/", u.cmd.Process.Pid)
	if err := os.WriteFile(proc+"clear_refs", []byte("5"), 0); err != nil { // the peak starts anew
		return 0, 0, err
	}
	if idle, err = megabytes(proc+"status", "VmRSS"); err != nil {
		return 0, 0, err
	}
	options := fmt.Sprintf(", parallelism = %d, chunk_bytes = %d", u.b.cfg.parallelism, u.b.cfg.chunkBytes)
	row, err := c.flushAndWait(ctx, t, options)
	if err != nil {
		return 0, 0, err
	}
	if row["rows_flushed"] != strconv.FormatInt(rows, 10) {
		return 0, 0, fmt.Errorf("the flush moved %s of %d rows", row["rows_flushed"], rows)
	}
	peak, err = megabytes(proc+"status", "VmHWM")
	return idle, peak, err
}

func megabytes(path, name string) (float64, error) {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(field(path, name), " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("read %s of %s: %w", name, path, err)
	}
	return kb / 1024, nil
}
