package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	scheduleMakers = 8 // sessions that create schedules side by side
	schedulesAsked = 5
)

// measureSchedules creates many schedules that do not fire meanwhile, a tenth first, and lists them.
func measureSchedules(ctx context.Context, b *bed, rep *report) error {
	u, err := b.startUp(ctx)
	if err != nil {
		rep.add(missing("schedules", err))
		if errors.Is(err, errNotAvailable) {
			return nil
		}
		return err
	}
	err = execAll(ctx, b.super, "CREATE SCHEMA IF NOT EXISTS app", "CREATE TABLE IF NOT EXISTS app.timely (id int)", "GRANT USAGE ON SCHEMA app TO PUBLIC",
		"GRANT SELECT, DELETE, UPDATE ON app.timely TO PUBLIC")
	made := 0
	for _, n := range []int{b.cfg.schedules / 10, b.cfg.schedules} {
		if err == nil {
			err = u.makeSchedules(ctx, rep, made, n)
			made = n
		}
		if err == nil {
			err = u.listSchedules(ctx, rep, n)
		}
	}
	if err != nil {
		rep.add(missing("schedules", err))
	}
	return errors.Join(err, u.stop())
}

// makeSchedules creates schedules number from to n.
func (u *upChild) makeSchedules(ctx context.Context, rep *report, from, n int) error {
	if err := execAll(ctx, u.b.super, "ALTER TABLE app.timely OWNER TO "+ownerRole); err != nil {
		return err
	}
	var next atomic.Int64
	next.Store(int64(from))
	errs := make([]error, scheduleMakers)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range scheduleMakers {
		all.Go(func() { errs[i] = u.makeSome(ctx, &next, n) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	rate := float64(n-from) / time.Since(begin).Seconds()
	rep.add(&figure{Name: fmt.Sprintf("CREATE SCHEDULE, number %d to %d", from+1, n), Unit: "/s", Samples: []float64{rate}, Shown: rate, Note: fmt.Sprintf("%d sessions", scheduleMakers)})
	return nil
}

func (u *upChild) makeSome(ctx context.Context, next *atomic.Int64, n int) error {
	c, err := u.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for {
		i := next.Add(1)
		if i > int64(n) {
			return nil
		}
		sql := fmt.Sprintf("CREATE SCHEDULE s%d FOR VERIFY TABLE app.timely CRON '%d %d 1 1 *'", i, i%60, i%24)
		if _, err := c.conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
}

// listSchedules times SHOW SCHEDULES and the view.
func (u *upChild) listSchedules(ctx context.Context, rep *report, n int) error {
	c, err := u.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, sql := range []string{"SHOW SCHEDULES", "SELECT * FROM system.schedules"} {
		var times []time.Duration
		for range schedulesAsked {
			begin := time.Now()
			results, err := c.conn.PgConn().Exec(ctx, sql).ReadAll()
			if err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			if len(results) != 1 || len(results[0].Rows) != n {
				return fmt.Errorf("%s does not answer %d rows", sql, n)
			}
			times = append(times, time.Since(begin))
		}
		rep.add(latency(fmt.Sprintf("%s, %d schedules", sql, n), 50, times))
	}
	return nil
}
