package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Segment is a registered Parquet file.
type Segment struct {
	ID              uuid.UUID
	JobID           string
	Chunk           int
	AttemptID       uuid.UUID
	Schema          string // of the flushed table
	Table           string // the flushed table; the root, if it is partitioned
	Leaf            string // the partition that held the rows, or the table itself
	Storage         string
	Location        string // URL
	Rows            int64
	Bytes           int64
	SHA256          string // of the whole file, in hexadecimal
	SchemaVersion   int
	PartitionValues json.RawMessage
	ColumnStats     json.RawMessage
	PGTypes         json.RawMessage
	Codec           string
	CreatedAt       time.Time // set by the ledger

	RestoredAt *time.Time
	RestoredBy *string
	ReplacedAt *time.Time
	ReplacedBy *uuid.UUID
}

// Live reports whether the segment counts as cold.
func (s Segment) Live() bool { return s.RestoredAt == nil && s.ReplacedAt == nil }

const segmentColumns = `segment_id, job_id, chunk, attempt, table_schema, table_name, leaf, storage, location, row_count, bytes, sha256,
	schema_version, partition_values, column_stats, pg_types, created_at, restored_at, restored_by, replaced_at, replaced_by, codec`

func scanSegment(row pgx.CollectableRow) (Segment, error) {
	var s Segment
	err := row.Scan(&s.ID, &s.JobID, &s.Chunk, &s.AttemptID, &s.Schema, &s.Table, &s.Leaf, &s.Storage, &s.Location, &s.Rows, &s.Bytes, &s.SHA256,
		&s.SchemaVersion, &s.PartitionValues, &s.ColumnStats, &s.PGTypes, &s.CreatedAt, &s.RestoredAt, &s.RestoredBy, &s.ReplacedAt, &s.ReplacedBy, &s.Codec)
	return s, err
}

// RegisterSegment makes a file cold data, in q's transaction: the one that removes its rows from the table.
func (l *Ledger) RegisterSegment(ctx context.Context, q Querier, s Segment) error {
	_, err := q.Exec(ctx, l.expand(`
		INSERT INTO @schema@.segments (segment_id, job_id, chunk, attempt, table_schema, table_name, leaf, storage, location, row_count, bytes, sha256,
		                               schema_version, partition_values, column_stats, pg_types, codec)
		VALUES ($1::text::uuid, $2, $3, $4::text::uuid, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::text::jsonb, $15::text::jsonb, $16::text::jsonb, coalesce(nullif($17, ''), 'zstd'))`),
		s.ID.String(), s.JobID, s.Chunk, s.AttemptID.String(), s.Schema, s.Table, s.Leaf, s.Storage, s.Location, s.Rows, s.Bytes, s.SHA256,
		s.SchemaVersion, jsonOr(s.PartitionValues), jsonOr(s.ColumnStats), jsonOr(s.PGTypes), s.Codec)
	return wrap("register segment", err)
}

// LiveStorages returns the names of the storages that hold live segments of a table.
func (l *Ledger) LiveStorages(ctx context.Context, schema, table string) ([]string, error) {
	return collect(ctx, l.pool, "read storages of the table", pgx.RowTo[string], l.expand(`
		SELECT DISTINCT storage FROM @schema@.segments
		WHERE table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL ORDER BY 1`), schema, table)
}

// LiveSegments yields the segments of a table that count as cold, oldest first, in one snapshot. It holds a connection of
// the pool until the loop ends.
func (l *Ledger) LiveSegments(ctx context.Context, schema, table string) iter.Seq2[Segment, error] {
	return l.segments(ctx, `table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL ORDER BY created_at, segment_id`, schema, table)
}

func (l *Ledger) segments(ctx context.Context, where string, args ...any) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		rows, err := l.pool.Query(ctx, l.expand(`SELECT `+segmentColumns+` FROM @schema@.segments WHERE `+where), args...)
		if err != nil {
			yield(Segment{}, wrap("read segments", err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			s, err := scanSegment(rows)
			if err != nil {
				yield(Segment{}, wrap("read segments", err))
				return
			}
			if !yield(s, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Segment{}, wrap("read segments", err))
		}
	}
}

// SegmentsState counts the segments of a table by what became of them. None of the counts ever falls while the table is in use, so two
// equal states have the same live segments.
type SegmentsState struct {
	Segments, Restored, Replaced int64
}

// SegmentsState returns the state of this moment.
func (l *Ledger) SegmentsState(ctx context.Context, schema, table string) (s SegmentsState, err error) {
	err = l.pool.QueryRow(ctx, l.expand(`
		SELECT count(*), count(restored_at), count(replaced_at) FROM @schema@.segments WHERE table_schema = $1 AND table_name = $2`), schema, table).
		Scan(&s.Segments, &s.Restored, &s.Replaced)
	return s, wrap("count segments", err)
}

// ColdTotals is what a table has cold.
type ColdTotals struct {
	Segments, Rows, Bytes int64
}

// ColdTotals sums up the live segments of a table.
func (l *Ledger) ColdTotals(ctx context.Context, schema, table string) (ColdTotals, error) {
	var t ColdTotals
	err := l.pool.QueryRow(ctx, l.expand(`
		SELECT count(*), coalesce(sum(row_count), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM @schema@.segments
		WHERE table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL`), schema, table).Scan(&t.Segments, &t.Rows, &t.Bytes)
	return t, wrap("sum up segments", err)
}

// ColdPlace is a storage that holds segments of a table, or has held some, with what is cold there now.
type ColdPlace struct {
	Schema, Table, Storage string
	ColdTotals
}

// ColdPlaces lists them for all tables.
func (l *Ledger) ColdPlaces(ctx context.Context) ([]ColdPlace, error) {
	const live = `FILTER (WHERE restored_at IS NULL AND replaced_at IS NULL)`
	return collect(ctx, l.pool, "sum up segments", func(row pgx.CollectableRow) (p ColdPlace, err error) {
		err = row.Scan(&p.Schema, &p.Table, &p.Storage, &p.Segments, &p.Rows, &p.Bytes)
		return p, err
	}, l.expand(`
		SELECT table_schema, table_name, storage, count(*) `+live+`, coalesce(sum(row_count) `+live+`, 0)::bigint, coalesce(sum(bytes) `+live+`, 0)::bigint
		FROM @schema@.segments GROUP BY 1, 2, 3 ORDER BY 3, 1, 2`))
}

// versionTries bounds how often EnsureSchemaVersion meets somebody who takes the same number.
const versionTries = 100

// EnsureSchemaVersion returns the number of a table's list of columns, and gives it the next one if it is new. Equal lists
// have equal numbers, whoever asks first. q must be in autocommit or READ COMMITTED; call it before the transaction that
// moves rows, for a new number locks others out until q's transaction ends.
func (l *Ledger) EnsureSchemaVersion(ctx context.Context, q Querier, schema, table string, columns json.RawMessage) (int, error) {
	const digest = `pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to($3::text::jsonb::text, 'UTF8')), 'hex')`
	find := l.expand(`SELECT version FROM @schema@.schema_versions WHERE table_schema = $1 AND table_name = $2 AND digest = ` + digest)
	add := l.expand(`
		INSERT INTO @schema@.schema_versions (table_schema, table_name, version, columns, digest)
		SELECT $1::text, $2::text, coalesce(max(version), 0) + 1, $3::text::jsonb, ` + digest + `
		FROM @schema@.schema_versions WHERE table_schema = $1 AND table_name = $2
		ON CONFLICT DO NOTHING RETURNING version`)
	for range versionTries {
		for _, sql := range []string{find, add} {
			found, err := collect(ctx, q, "number the columns", pgx.RowTo[int], sql, schema, table, string(columns))
			if err != nil {
				return 0, err
			}
			if len(found) == 1 {
				return found[0], nil
			}
		}
	}
	return 0, fmt.Errorf("number the columns: others took %d numbers meanwhile", versionTries)
}
