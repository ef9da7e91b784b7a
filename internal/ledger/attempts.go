package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Attempt is one try at one chunk: which transaction may still commit it, and which objects it may have written.
type Attempt struct {
	ID           uuid.UUID
	JobID        string
	Chunk        int
	Storage      string // name of the storage
	ObjectPrefix string // every object of this attempt has a key that starts so, but for those that it recorded: see StagedKeys
	BackendPID   int
	BackendStart time.Time
	CreatedAt    time.Time
	CondemnedAt  *time.Time
	Origin       string // the database that made it: see Identity.Origin; "" is not known
}

// OpenAttempt records an attempt in a transaction of its own, on the very connection that will move the chunk: q must be
// that session, outside of a transaction. An error means that nobody knows whether the row is there; the id must not be
// used again either way.
func (l *Ledger) OpenAttempt(ctx context.Context, q Querier, a Attempt) error {
	_, err := q.Exec(ctx, l.expand(`
		INSERT INTO @schema@.attempts (attempt_id, job_id, chunk, storage, object_prefix, origin, backend_pid, backend_start)
		SELECT $1::uuid, $2, $3, $4, $5, $6, pid, backend_start
		FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()`),
		a.ID.String(), a.JobID, a.Chunk, a.Storage, a.ObjectPrefix, a.Origin)
	if err != nil {
		return fmt.Errorf("record attempt: %w", err)
	}
	return nil
}

// TakeAttempt makes q's transaction the only one that can commit the attempt: it deletes the attempt's row, and the lock
// on that row is the mutex. It reports false if the attempt was condemned, or if q is not the session that opened it.
func (l *Ledger) TakeAttempt(ctx context.Context, q Querier, id uuid.UUID) (bool, error) {
	tag, err := q.Exec(ctx, l.expand(`
		DELETE FROM @schema@.attempts
		WHERE attempt_id = $1::uuid AND condemned_at IS NULL
		  AND backend_pid = pg_catalog.pg_backend_pid()
		  AND backend_start = (SELECT backend_start FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid())`),
		id.String())
	if err != nil {
		return false, fmt.Errorf("take attempt: %w", err)
	}
	return tag.RowsAffected() == 1, nil
}

// InsertChunk raises the fence: the primary key lets one attempt only commit a chunk. A unique violation (23505) means
// that another attempt has. ErrClaimLost means that the table is no longer the job's: see claims.go.
func (l *Ledger) InsertChunk(ctx context.Context, q Querier, jobID string, chunk int, attemptID uuid.UUID, attempt int) error {
	tag, err := q.Exec(ctx, l.expand(`
		INSERT INTO @schema@.chunks (job_id, chunk, attempt_id, attempt)
		SELECT $1::text, $2::int, $3::uuid, $4::int FROM @schema@.claims WHERE job_id = $1`), jobID, chunk, attemptID.String(), attempt)
	if err != nil {
		return fmt.Errorf("raise fence: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("raise fence: %w", ErrClaimLost)
	}
	return nil
}

// UpdateChunk completes the row that InsertChunk made, in the same transaction.
func (l *Ledger) UpdateChunk(ctx context.Context, q Querier, jobID string, chunk int, rows, bytes, skipped int64, segments int) error {
	tag, err := q.Exec(ctx, l.expand(`
		UPDATE @schema@.chunks SET row_count = $3, bytes = $4, rows_skipped_locked = $5, segments = $6, committed_at = pg_catalog.clock_timestamp()
		WHERE job_id = $1 AND chunk = $2`), jobID, chunk, rows, bytes, skipped, segments)
	if err != nil {
		return fmt.Errorf("complete chunk: %w", err)
	}
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("complete chunk: %d rows of %s chunk %d, expected 1", tag.RowsAffected(), jobID, chunk)
	}
	return nil
}

// Attempts lists the attempts of a job that have not committed, condemned ones too, oldest first. A negative chunk means
// all chunks.
func (l *Ledger) Attempts(ctx context.Context, jobID string, chunk int) ([]Attempt, error) {
	return l.listAttempts(ctx, `job_id = $1 AND ($2::int < 0 OR chunk = $2)`, jobID, chunk)
}

// OtherAttempts lists the attempts, not committed, of all other jobs on the same table, of whatever type: the middle part of a
// job id names the table.
func (l *Ledger) OtherAttempts(ctx context.Context, jobID string) ([]Attempt, error) {
	return l.listAttempts(ctx, `job_id <> $1 AND pg_catalog.split_part(job_id, ':', 2) = pg_catalog.split_part($1, ':', 2)`, jobID)
}

func (l *Ledger) listAttempts(ctx context.Context, where string, args ...any) ([]Attempt, error) {
	rows, err := l.pool.Query(ctx, l.expand(`
		SELECT attempt_id::text, job_id, chunk, storage, object_prefix, backend_pid, backend_start, created_at, condemned_at, origin
		FROM @schema@.attempts WHERE `+where+` ORDER BY created_at, attempt_id`), args...)
	if err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	defer rows.Close()
	var out []Attempt
	for rows.Next() {
		var a Attempt
		var id string
		if err := rows.Scan(&id, &a.JobID, &a.Chunk, &a.Storage, &a.ObjectPrefix, &a.BackendPID, &a.BackendStart, &a.CreatedAt, &a.CondemnedAt, &a.Origin); err != nil {
			return nil, fmt.Errorf("list attempts: %w", err)
		}
		if a.ID, err = uuid.Parse(id); err != nil {
			return nil, fmt.Errorf("list attempts: %w", err)
		}
		out = append(out, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list attempts: %w", err)
	}
	return out, nil
}

// DropAttempt removes the row of a condemned attempt. Only the process that ran the attempt may call it, once its
// transaction is known to be over and none of its writers is open: it alone knows that no object can appear any more.
func (l *Ledger) DropAttempt(ctx context.Context, id uuid.UUID) error {
	return l.control(ctx, "drop attempt", `
		WITH gone AS (DELETE FROM @schema@.attempts WHERE attempt_id = $1::uuid AND condemned_at IS NOT NULL RETURNING attempt_id)
		DELETE FROM @schema@.attempt_objects WHERE attempt_id IN (SELECT attempt_id FROM gone)`, id)
}

// MarkSwept records that a condemned attempt's prefix was looked at and is empty. The row stays, for a zombie may still
// upload.
func (l *Ledger) MarkSwept(ctx context.Context, id uuid.UUID) error {
	return l.control(ctx, "mark attempt swept", `UPDATE @schema@.attempts SET swept_at = pg_catalog.now() WHERE attempt_id = $1::uuid AND condemned_at IS NOT NULL`, id)
}

// control runs one statement about an attempt on a control session, which does not wait for standbys.
func (l *Ledger) control(ctx context.Context, what, sql string, id uuid.UUID) error {
	err := l.onControlSession(ctx, func(c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, l.expand(sql), id.String())
		return err
	})
	return wrap(what, err)
}
