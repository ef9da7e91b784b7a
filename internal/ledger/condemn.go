package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/spillwaydb/spillway/internal/fault"
)

// Verdict is what became of an attempt.
type Verdict int

const (
	// VerdictUnknown: neither an attempt row nor a chunk row. It is not known to have committed, and its first row may still
	// appear. Nothing of it may be deleted; go on under a new attempt id, the fence decides.
	VerdictUnknown Verdict = iota
	// VerdictCondemned: its transaction can never commit. Its objects may be deleted.
	VerdictCondemned
	// VerdictCommitted: its chunk row is there.
	VerdictCommitted
)

func (v Verdict) String() string {
	switch v {
	case VerdictCondemned:
		return "condemned"
	case VerdictCommitted:
		return "committed"
	}
	return "unknown"
}

// condemnLockTimeout bounds one wait for the attempt's row. It is short because a blocked condemnation ends the backend
// that blocks it and tries again.
const condemnLockTimeout = 200 * time.Millisecond

// Condemn makes sure that an attempt either has committed or never will, and says which. It ends the attempt's backend if
// that stands in the way; being terminated is not being condemned, so it asks again afterwards. It returns only with a
// proof or with an error, and after an error nothing may be concluded: call it again.
func (l *Ledger) Condemn(ctx context.Context, id uuid.UUID) (Verdict, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		n, err := l.condemnOnce(ctx, id)
		switch {
		case err == nil && n == 1:
			return VerdictCondemned, nil
		case err == nil:
			v, again, err := l.lookAt(ctx, id)
			if err != nil {
				return VerdictUnknown, fmt.Errorf("condemn attempt: %w", err)
			}
			if !again {
				return v, nil
			}
		case sqlState(err) == "55P03":
			if err := l.endBackendOf(ctx, id); err != nil {
				return VerdictUnknown, fmt.Errorf("condemn attempt: %w", err)
			}
		default:
			return VerdictUnknown, fmt.Errorf("condemn attempt: %w", err)
		}
		select {
		case <-ctx.Done():
			return VerdictUnknown, fmt.Errorf("condemn attempt: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// condemnOnce is the one autocommit statement. It is an update and never an upsert: inserting a tombstone for an attempt
// that has committed would condemn what is registered.
func (l *Ledger) condemnOnce(ctx context.Context, id uuid.UUID) (int64, error) {
	var n int64
	err := fault.Do(ctx, fault.Condemn, func() error {
		return l.onControlSession(ctx, func(c *pgxpool.Conn) error {
			tag, err := c.Exec(ctx, l.expand(`UPDATE @schema@.attempts SET condemned_at = pg_catalog.now() WHERE attempt_id = $1::uuid AND condemned_at IS NULL`), id.String())
			n = tag.RowsAffected()
			return err
		})
	})
	return n, err
}

// onControlSession runs fn on a pooled connection with a short lock timeout, and with commits that are durable here but
// do not wait for standbys: a condemnation must not hang in the synchronous replication that may be why it is needed.
func (l *Ledger) onControlSession(ctx context.Context, fn func(*pgxpool.Conn) error) error {
	c, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	set := fmt.Sprintf("SET lock_timeout = %d; SET synchronous_commit = local; SET default_transaction_isolation = 'read committed'", condemnLockTimeout.Milliseconds())
	if err := execSimple(ctx, c, set); err != nil {
		return err
	}
	fnErr := fn(c)
	// A session that cannot be put back must not return to the pool with these settings.
	reset := "RESET lock_timeout; RESET synchronous_commit; RESET default_transaction_isolation"
	if err := execSimple(context.WithoutCancel(ctx), c, reset); err != nil {
		_ = c.Conn().Close(context.WithoutCancel(ctx))
	}
	return fnErr
}

func execSimple(ctx context.Context, c *pgxpool.Conn, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.Conn().PgConn().Exec(ctx, sql).Close()
}

// lookAt reads, in new statements, what a condemnation of no row means. The attempt row comes first: an attempt that
// commits in between is then found in its chunk row.
func (l *Ledger) lookAt(ctx context.Context, id uuid.UUID) (v Verdict, again bool, err error) {
	var condemned bool
	err = l.pool.QueryRow(ctx, l.expand(`SELECT condemned_at IS NOT NULL FROM @schema@.attempts WHERE attempt_id = $1::uuid`), id.String()).Scan(&condemned)
	switch {
	case err == nil && condemned:
		return VerdictCondemned, false, nil
	case err == nil:
		return VerdictUnknown, true, nil
	case !errors.Is(err, pgx.ErrNoRows):
		return VerdictUnknown, false, err
	}
	var committed bool
	err = l.pool.QueryRow(ctx, l.expand(`SELECT EXISTS (SELECT 1 FROM @schema@.chunks WHERE attempt_id = $1::uuid)`), id.String()).Scan(&committed)
	if err != nil {
		return VerdictUnknown, false, err
	}
	if committed {
		return VerdictCommitted, false, nil
	}
	return VerdictUnknown, false, nil
}

// endBackendOf terminates the backend recorded for an attempt. If that backend is gone, someone else holds the row's lock:
// then those who block a fresh try are ended, as far as they are sessions of ours.
func (l *Ledger) endBackendOf(ctx context.Context, id uuid.UUID) error {
	var ended bool
	err := l.pool.QueryRow(ctx, l.expand(`
		SELECT pg_catalog.pg_terminate_backend(s.pid)
		FROM @schema@.attempts a JOIN pg_catalog.pg_stat_activity s ON s.pid = a.backend_pid AND s.backend_start = a.backend_start
		WHERE a.attempt_id = $1::uuid`), id.String()).Scan(&ended)
	if errors.Is(err, pgx.ErrNoRows) {
		return l.endBlockers(ctx, id)
	}
	return err
}

// endBlockers tries the condemnation in the background and ends what pg_blocking_pids names meanwhile.
func (l *Ledger) endBlockers(ctx context.Context, id uuid.UUID) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	waiting := make(chan uint32, 1)
	done := make(chan error, 1)
	go func() {
		done <- l.onControlSession(ctx, func(c *pgxpool.Conn) error {
			waiting <- c.Conn().PgConn().PID()
			_, err := c.Exec(ctx, l.expand(`UPDATE @schema@.attempts SET condemned_at = pg_catalog.now() WHERE attempt_id = $1::uuid AND condemned_at IS NULL`), id.String())
			return err
		})
	}()
	var pid uint32
	select {
	case pid = <-waiting:
	case err := <-done:
		return ignoreLockTimeout(err)
	}
	for {
		select {
		case err := <-done:
			return ignoreLockTimeout(err)
		case <-time.After(20 * time.Millisecond):
			_, err := l.pool.Exec(ctx, `
				SELECT pg_catalog.pg_terminate_backend(s.pid) FROM pg_catalog.pg_stat_activity s
				WHERE s.pid = ANY (pg_catalog.pg_blocking_pids($1)) AND s.usename = current_user AND s.application_name LIKE 'spillway:%'`, int32(pid))
			if err != nil {
				cancel()
				<-done
				return err
			}
		}
	}
}

func ignoreLockTimeout(err error) error {
	if sqlState(err) == "55P03" {
		return nil
	}
	return err
}

func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}
