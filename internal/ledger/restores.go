package ledger

import (
	"context"
	"iter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ReplacedBy returns the segment whose place the given one took. Error: ErrNotFound for one that came from a table.
func (l *Ledger) ReplacedBy(ctx context.Context, id uuid.UUID) (Segment, error) {
	found, err := collect(ctx, l.pool, "read segment", scanSegment,
		l.expand(`SELECT `+segmentColumns+` FROM @schema@.segments WHERE replaced_by = $1::text::uuid LIMIT 1`), id.String())
	if err != nil {
		return Segment{}, err
	}
	if len(found) == 0 {
		return Segment{}, wrap("read segment", pgx.ErrNoRows)
	}
	return found[0], nil
}

// ColdOfJob yields the segments of a table that count as cold and whose rows a job moved there: those that it wrote, and what took
// their places since. Oldest first.
func (l *Ledger) ColdOfJob(ctx context.Context, schema, table, jobID string) iter.Seq2[Segment, error] {
	return l.segments(ctx, `table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL AND segment_id IN (
		WITH RECURSIVE origin(id) AS (
			SELECT segment_id FROM @schema@.segments WHERE job_id = $3
			UNION
			SELECT s.replaced_by FROM @schema@.segments s JOIN origin ON s.segment_id = origin.id WHERE s.replaced_by IS NOT NULL)
		SELECT id FROM origin) ORDER BY created_at, segment_id`, schema, table, jobID)
}

// WroteSegments reports whether a job has ever registered a segment.
func (l *Ledger) WroteSegments(ctx context.Context, jobID string) (yes bool, err error) {
	err = l.pool.QueryRow(ctx, l.expand(`SELECT EXISTS (SELECT FROM @schema@.segments WHERE job_id = $1)`), jobID).Scan(&yes)
	return yes, wrap("look for segments", err)
}

// LockSegment keeps everybody else from restoring or replacing a segment until q's transaction ends, and reports false if
// somebody has: then it is history, and its rows are elsewhere. q must be in READ COMMITTED.
func (l *Ledger) LockSegment(ctx context.Context, q Querier, id uuid.UUID) (live bool, err error) {
	tag, err := q.Exec(ctx, l.expand(`
		SELECT 1 FROM @schema@.segments WHERE segment_id = $1::text::uuid AND restored_at IS NULL AND replaced_at IS NULL FOR UPDATE`), id.String())
	if err != nil {
		return false, wrap("lock segment", err)
	}
	return tag.RowsAffected() == 1, nil
}

// MarkRestored makes a locked segment history: all its rows are in the table again, by q's transaction.
func (l *Ledger) MarkRestored(ctx context.Context, q Querier, id uuid.UUID, jobID string) error {
	return l.toHistory(ctx, q, `restored_at = pg_catalog.now(), restored_by = $2`, id, jobID)
}

// MarkReplaced makes a locked segment history: another one, registered by q's transaction, holds what is still cold of it.
func (l *Ledger) MarkReplaced(ctx context.Context, q Querier, id, by uuid.UUID) error {
	return l.toHistory(ctx, q, `replaced_at = pg_catalog.now(), replaced_by = $2::text::uuid`, id, by.String())
}

func (l *Ledger) toHistory(ctx context.Context, q Querier, set string, id uuid.UUID, by string) error {
	tag, err := q.Exec(ctx, l.expand(`
		UPDATE @schema@.segments SET `+set+`
		WHERE segment_id = $1::text::uuid AND restored_at IS NULL AND replaced_at IS NULL`), id.String(), by)
	if err == nil && tag.RowsAffected() != 1 {
		err = ErrNotFound
	}
	return wrap("make segment history", err)
}

// PausePolicy notes that the table's policy rests since a restore, or it would flush the rows straight back. A table that is
// not registered has no policy.
func (l *Ledger) PausePolicy(ctx context.Context, schema, table, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.tables SET policy_paused_at = pg_catalog.now(), policy_paused_by = $3
		WHERE table_schema = $1 AND table_name = $2 AND policy_paused_by IS DISTINCT FROM $3`), schema, table, jobID)
	return wrap("pause policy", err)
}
