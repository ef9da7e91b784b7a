package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// frontFigures are measured on one running `spillway up`.
var frontFigures = []struct {
	name    string
	measure func(ctx context.Context, u *upChild, rep *report) error
}{
	{"start", measureStart},
	{"empty", measureEmpty},
	{"kill", measureKill},
	{"jobs", measureJobs},
	{"proxy", measureProxy},
}

func measureFront(ctx context.Context, b *bed, rep *report) error {
	u, err := b.startUp(ctx)
	if err != nil {
		for _, f := range frontFigures {
			if b.cfg.wants(f.name) {
				rep.add(missing(f.name, err))
			}
		}
		if errors.Is(err, errNotAvailable) {
			return nil
		}
		return err
	}
	var errs []error
	for _, f := range frontFigures {
		if !b.cfg.wants(f.name) || ctx.Err() != nil {
			continue
		}
		b.say("measuring %s", f.name)
		if err := f.measure(ctx, u, rep); err != nil {
			rep.add(missing(f.name, err))
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return errors.Join(append(errs, u.stop())...)
}

// latency is the figure of a percentile of some times.
func latency(name string, p float64, times []time.Duration) *figure {
	ms := milliseconds(times)
	return &figure{Name: name, Unit: "ms", Samples: ms, Shown: percentile(ms, p)}
}

// settled waits until a job has ended and returns its row.
func (c *client) settled(ctx context.Context, job string) (map[string]string, error) {
	for {
		row, err := c.row(ctx, "SHOW JOB '"+job+"'")
		if err != nil {
			return nil, err
		}
		switch row["status"] {
		case "completed", "failed", "cancelled":
			return row, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startTables is over how many small tables the starts go in turn.
const startTables = 50

// measureStart times the answer to FLUSH TABLE, job after job on small tables, each a start of its own.
func measureStart(ctx context.Context, u *upChild, rep *report) error {
	c, err := u.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	small := make([]table, startTables)
	for i := range small {
		small[i] = table{name: fmt.Sprintf("small_%02d", i), columns: []column{{"id", "bigint NOT NULL", "i"}, {"body", "text", "'row ' || i"}}}
		name := "app." + small[i].name
		if err := execAll(ctx, u.b.super, append([]string{"DROP TABLE IF EXISTS " + name, "CREATE TABLE " + name + " (id bigint PRIMARY KEY, body text)"}, u.b.granting(small[i])...)...); err != nil {
			return err
		}
	}
	const warmUp = 10
	var times, lives []time.Duration
	for i := range warmUp + u.b.cfg.starts {
		t := small[i%startTables]
		if err := execAll(ctx, u.b.super, "INSERT INTO app."+t.name+fmt.Sprintf(" SELECT i, 'row ' || i FROM generate_series(%d, %d) AS i", i*100, i*100+99)); err != nil {
			return err
		}
		begin := time.Now()
		row, err := c.row(ctx, "FLUSH TABLE app."+t.name)
		took := time.Since(begin)
		if err != nil {
			return err
		}
		if row["existing"] != "f" {
			return fmt.Errorf("start %d found the job %s", i, row["job_id"])
		}
		if row, err = c.settled(ctx, row["job_id"]); err != nil {
			return err
		}
		if row["status"] != "completed" || row["rows_flushed"] != "100" {
			return fmt.Errorf("job %s %s with %s rows: %s", row["job_id"], row["status"], row["rows_flushed"], row["error"])
		}
		if i >= warmUp {
			life, err := lifetime(row)
			if err != nil {
				return err
			}
			times, lives = append(times, took), append(lives, life)
		}
	}
	p50 := latency("FLUSH TABLE → job id, p50", 50, times)
	p50.Note = "such a flush of 100 rows has ended after " + spread(median(milliseconds(lives)), milliseconds(lives), "ms")
	rep.add(p50.judge(nil, atMost(15, "ms")))
	rep.add(latency("FLUSH TABLE → job id, p99", 99, times).judge(atMost(100, "ms"), nil))
	return nil
}

// lifetime is how long a job lived, by its row.
func lifetime(row map[string]string) (time.Duration, error) {
	const form = "2006-01-02 15:04:05.999999Z07"
	created, err := time.Parse(form, row["created_at"])
	if err != nil {
		return 0, err
	}
	finished, err := time.Parse(form, row["finished_at"])
	return finished.Sub(created), err
}

// jobsAsked is how often the list is asked for, per length of the history.
const jobsAsked = 50

// measureJobs times the 100 newest jobs out of a long history.
func measureJobs(ctx context.Context, u *upChild, rep *report) error {
	c, err := u.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	for _, n := range []int{10_000, 100_000} {
		if err := seedHistory(ctx, u.b, n); err != nil {
			return err
		}
		var times []time.Duration
		for i := range jobsAsked + 5 {
			begin := time.Now()
			results, err := c.conn.PgConn().Exec(ctx, "SELECT * FROM system.jobs ORDER BY created_at DESC LIMIT 100").ReadAll()
			took := time.Since(begin)
			if err != nil {
				return err
			}
			if len(results) != 1 || len(results[0].Rows) != 100 {
				return errors.New("system.jobs did not answer 100 rows")
			}
			if i >= 5 {
				times = append(times, took)
			}
		}
		f := latency(fmt.Sprintf("system.jobs, 100 newest of %d", n), 50, times)
		f.Note = fmt.Sprintf("p99 %s ms", number(percentile(f.Samples, 99)))
		rep.add(f.judge(atMost(100, "ms"), atMost(20, "ms")))
	}
	return execAll(ctx, u.b.super, "DELETE FROM spillway.job_history WHERE statement = 'seeded'")
}

// seedHistory makes the history n rows long.
func seedHistory(ctx context.Context, b *bed, n int) error {
	return execAll(ctx, b.super,
		"DELETE FROM spillway.job_history WHERE statement = 'seeded'",
		fmt.Sprintf(`INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, rows_total, rows_flushed, bytes_written, segments,
				chunks_done, chunks_total, error, error_class, location, requested_by, statement, created_at, started_at, finished_at, workflow_id, run_id)
			SELECT 'flush:app.t_' || i %% 200 || ':' || md5(i::text)::uuid, 'flush', 'app', 't_' || i %% 200,
				(ARRAY['completed','completed','completed','failed','cancelled'])[1 + i %% 5], 100000, 100000 - i %% 5, 5000000, 8, 8, 8,
				CASE WHEN i %% 5 = 3 THEN 'copy out: connection reset' END, CASE WHEN i %% 5 = 3 THEN 'connection' END,
				'file:///srv/cold/app/t_' || i %% 200, 'app', 'seeded', at, at + interval '1 second', at + interval '20 seconds', 'bench/app.t_' || i %% 200, md5('r' || i)::uuid::text
			FROM generate_series(1, %d - (SELECT count(*)::integer FROM spillway.job_history)) AS i, LATERAL (SELECT now() - interval '1 day' - i * interval '1 minute' AS at) AS a`, n),
		"VACUUM (ANALYZE) spillway.job_history")
}
