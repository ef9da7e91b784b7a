package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// killRows make a COPY last a second or two, so that a kill always finds it in the middle.
const killRows = 1_000_000

// measureKill kills flushes in the middle of their COPYs, two at a time, and waits until others can lock the rows.
func measureKill(ctx context.Context, u *upChild, rep *report) error {
	t := eventsTable()
	n, err := u.b.fresh(ctx, t, killRows)
	if err != nil {
		return err
	}
	k := &killer{u: u, table: t, rows: n}
	if err := k.open(ctx); err != nil {
		return err
	}
	defer k.close()
	var unlocked, answered []time.Duration
	for i := range u.b.cfg.kills {
		// Not always at the same point of the COPY.
		free, answer, err := k.kill(ctx, time.Duration(50+10*(i%30))*time.Millisecond)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		unlocked, answered = append(unlocked, free), append(answered, answer)
	}
	f := latency("KILL → rows unlocked, p99", 99, unlocked)
	f.Note = fmt.Sprintf("p50 %s ms, over %d kills in mid-COPY; KILL answers after %s ms (p50)",
		number(percentile(f.Samples, 50)), len(unlocked), number(percentile(milliseconds(answered), 50)))
	rep.add(f.judge(atMost(1000, "ms"), atMost(100, "ms")))
	return nil
}

type killer struct {
	u      *upChild
	table  table
	rows   int64
	blocks int64
	front  *client
	probe  *pgx.Conn
}

func (k *killer) open(ctx context.Context) (err error) {
	if k.front, err = k.u.connect(ctx); err != nil {
		return err
	}
	if k.probe, err = pgx.Connect(ctx, k.u.b.ownerURL()); err != nil {
		return err
	}
	return k.probe.QueryRow(ctx, "SELECT pg_relation_size(to_regclass($1)) / $2", "app."+k.table.name, int64(blockSize)).Scan(&k.blocks)
}

func (k *killer) close() {
	k.front.close()
	_ = k.probe.Close(context.Background())
}

// kill starts a flush of two chunks, kills it in mid-COPY, and checks afterwards that it was cancelled and moved nothing.
func (k *killer) kill(ctx context.Context, after time.Duration) (free, answer time.Duration, err error) {
	chunk := (k.blocks/2 + 1) * blockSize
	row, err := k.front.row(ctx, fmt.Sprintf("FLUSH TABLE app.%s WITH (parallelism = 2, chunk_bytes = %d)", k.table.name, chunk))
	if err != nil {
		return 0, 0, err
	}
	job := row["job_id"]
	if err := k.copying(ctx); err != nil {
		return 0, 0, err
	}
	if err := pause(ctx, after); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	answered := make(chan error, 1)
	go func() {
		_, err := k.front.row(ctx, "KILL JOB '"+job+"'")
		answer = time.Since(begin)
		answered <- err
	}()
	err = k.unlocked(ctx)
	free = time.Since(begin)
	if err = errors.Join(err, <-answered); err != nil {
		return 0, 0, err
	}
	if row, err = k.front.settled(ctx, job); err != nil {
		return 0, 0, err
	}
	left, err := k.u.b.count(ctx, k.table)
	if err == nil && (row["status"] != "cancelled" || left != k.rows) {
		err = fmt.Errorf("the job is %s and left %d of %d rows", row["status"], left, k.rows)
	}
	return free, answer, err
}

// copying waits until both chunks are in their COPY.
func (k *killer) copying(ctx context.Context) error {
	const running = `SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'spillway:%' AND state = 'active' AND query LIKE 'COPY (DELETE%'`
	deadline := time.Now().Add(20 * time.Second)
	for {
		var n int
		if err := k.u.b.super.QueryRow(ctx, running).Scan(&n); err != nil || n == 2 {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("the flush did not come to its COPY")
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// unlocked waits until no transaction holds the table's rows: nobody writes it, and the first rows of both chunks can be
// locked by somebody else.
func (k *killer) unlocked(ctx context.Context) error {
	const writers = `SELECT count(*) FROM pg_locks WHERE relation = to_regclass($1) AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()`
	for {
		var n int
		if err := k.probe.QueryRow(ctx, writers, "app."+k.table.name).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return k.lockRows(ctx)
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func (k *killer) lockRows(ctx context.Context) error {
	tx, err := k.probe.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	tag, err := tx.Exec(ctx, fmt.Sprintf("SELECT FROM app.%s WHERE ctid IN ('(0,1)', '(%d,1)') FOR UPDATE NOWAIT", k.table.name, k.blocks/2+1))
	if err == nil && tag.RowsAffected() != 2 {
		err = errors.New("the killed flush has moved rows")
	}
	return err
}
