package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Object is one object of an attempt: what will be a segment when the attempt commits. Rows is 0 while only its key is known,
// because it is about to be written.
type Object struct {
	Key             string          `json:"key"`
	SegmentID       uuid.UUID       `json:"segment_id"`
	Location        string          `json:"location,omitempty"`
	Rows            int64           `json:"rows,omitempty"`
	Bytes           int64           `json:"bytes,omitempty"`
	SHA256          string          `json:"sha256,omitempty"`
	PartitionValues json.RawMessage `json:"partition_values,omitempty"`
	ColumnStats     json.RawMessage `json:"column_stats,omitempty"`
}

// ErrAttemptGone is returned when an attempt records objects after it was condemned: it must write none of them.
var ErrAttemptGone = errors.New("the attempt was condemned")

// StageObjects records objects of an attempt, in a transaction of its own on another connection than the one that moves the
// rows: what becomes of that one, the record stays, and whoever condemns the attempt finds them. Batches are numbered by the
// caller. ErrAttemptGone; after any error nothing of the batch may be written.
func (l *Ledger) StageObjects(ctx context.Context, attempt uuid.UUID, batch int, objects []Object) error {
	text, err := json.Marshal(objects)
	if err != nil {
		return fmt.Errorf("record objects: %w", err)
	}
	var n int64
	err = l.onControlSession(ctx, func(c *pgxpool.Conn) error {
		// The transaction that moves the rows has deleted the attempt's row, but has not committed: it is still seen here.
		tag, err := c.Exec(ctx, l.expand(`
			INSERT INTO @schema@.attempt_objects (attempt_id, batch, objects)
			SELECT attempt_id, $2::int, $3::text::jsonb FROM @schema@.attempts WHERE attempt_id = $1::text::uuid AND condemned_at IS NULL`),
			attempt.String(), batch, string(text))
		n = tag.RowsAffected()
		return err
	})
	if err == nil && n == 0 {
		err = ErrAttemptGone
	}
	return wrap("record objects", err)
}

// StagedKeys returns the keys of all objects that an attempt has recorded, each once.
func (l *Ledger) StagedKeys(ctx context.Context, attempt uuid.UUID) ([]string, error) {
	return collect(ctx, l.pool, "read recorded objects", pgx.RowTo[string], l.expand(`
		SELECT DISTINCT o.key FROM @schema@.attempt_objects AS a, pg_catalog.jsonb_to_recordset(a.objects) AS o(key text)
		WHERE a.attempt_id = $1::text::uuid ORDER BY 1`), attempt.String())
}

// insertObjects makes segments of the objects that follow.
const insertObjects = `
	INSERT INTO @schema@.segments (segment_id, location, row_count, bytes, sha256, partition_values, column_stats,
	                               job_id, chunk, attempt, table_schema, table_name, leaf, storage, schema_version, pg_types, codec)
	SELECT o.segment_id, o.location, o.rows, o.bytes, o.sha256, coalesce(o.partition_values, '{}'), coalesce(o.column_stats, '{}'),
	       $2, $3, $1::text::uuid, $4, $5, $6, $7, $8, $9::text::jsonb, $10
	FROM `

const objectColumns = `AS o(segment_id uuid, location text, rows bigint, bytes bigint, sha256 text, partition_values jsonb, column_stats jsonb)
	WHERE o.rows > 0`

// RegisterObjects makes objects cold data, in q's transaction: the one that removes their rows from the table. common says
// in what all segments are the same.
func (l *Ledger) RegisterObjects(ctx context.Context, q Querier, common Segment, objects []Object) error {
	text, err := json.Marshal(objects)
	if err != nil {
		return fmt.Errorf("register segments: %w", err)
	}
	tag, err := q.Exec(ctx, l.expand(insertObjects+`pg_catalog.jsonb_to_recordset($11::text::jsonb) `+objectColumns), append(commonArgs(common), string(text))...)
	if err == nil && tag.RowsAffected() != int64(len(objects)) {
		err = fmt.Errorf("%d of %d objects", tag.RowsAffected(), len(objects))
	}
	return wrap("register segments", err)
}

// RegisterStaged makes the objects that an attempt has recorded cold data, in q's transaction, and returns how many they
// are and how many rows they hold. It removes the record: once q commits, nothing is left to condemn.
func (l *Ledger) RegisterStaged(ctx context.Context, q Querier, common Segment) (segments, rows int64, err error) {
	err = q.QueryRow(ctx, l.expand(`
		WITH gone AS (DELETE FROM @schema@.attempt_objects WHERE attempt_id = $1::text::uuid RETURNING objects),
		made AS (`+insertObjects+`gone CROSS JOIN LATERAL pg_catalog.jsonb_to_recordset(gone.objects) `+objectColumns+` RETURNING row_count)
		SELECT count(*), coalesce(sum(row_count), 0)::bigint FROM made`), commonArgs(common)...).Scan(&segments, &rows)
	return segments, rows, wrap("register segments", err)
}

func commonArgs(s Segment) []any {
	return []any{s.AttemptID.String(), s.JobID, s.Chunk, s.Schema, s.Table, s.Leaf, s.Storage, s.SchemaVersion, jsonOr(s.PGTypes), s.Codec}
}

// SchemaVersion is one list of columns under which rows of a table went cold.
type SchemaVersion struct {
	Version int
	Columns json.RawMessage
}

// SchemaVersions returns the versions of a table's columns, in order.
func (l *Ledger) SchemaVersions(ctx context.Context, schema, table string) ([]SchemaVersion, error) {
	return collect(ctx, l.pool, "read schema versions", pgx.RowToStructByPos[SchemaVersion], l.expand(`
		SELECT version, columns FROM @schema@.schema_versions WHERE table_schema = $1 AND table_name = $2 ORDER BY version`), schema, table)
}
