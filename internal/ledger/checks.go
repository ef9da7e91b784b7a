package ledger

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// SegmentsBetween returns the live segments of a table whose ids lie in a range, ends included, in the order of their ids.
func (l *Ledger) SegmentsBetween(ctx context.Context, schema, table string, from, to uuid.UUID) ([]Segment, error) {
	return collectSegments(l.segments(ctx, `table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL
		AND segment_id BETWEEN $3::text::uuid AND $4::text::uuid ORDER BY segment_id`, schema, table, from.String(), to.String()))
}

// LiveByID yields the live segments of a table in the order of their ids, in one snapshot.
func (l *Ledger) LiveByID(ctx context.Context, schema, table string) iter.Seq2[Segment, error] {
	return l.segments(ctx, `table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL ORDER BY segment_id`, schema, table)
}

// SegmentByID returns a segment, one that is history too. Error: ErrNotFound.
func (l *Ledger) SegmentByID(ctx context.Context, id uuid.UUID) (Segment, error) {
	found, err := collectSegments(l.segments(ctx, `segment_id = $1::text::uuid`, id.String()))
	if err == nil && len(found) == 0 {
		err = wrap("read segment", pgx.ErrNoRows)
	}
	if err != nil {
		return Segment{}, err
	}
	return found[0], nil
}

func collectSegments(seq iter.Seq2[Segment, error]) ([]Segment, error) {
	var list []Segment
	for s, err := range seq {
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// SchemaColumns returns the list of columns that a version of a table's schema stands for. Error: ErrNotFound.
func (l *Ledger) SchemaColumns(ctx context.Context, schema, table string, version int) (json.RawMessage, error) {
	var columns []byte
	err := l.pool.QueryRow(ctx, l.expand(`SELECT columns::text FROM @schema@.schema_versions WHERE table_schema = $1 AND table_name = $2 AND version = $3`),
		schema, table, version).Scan(&columns)
	return columns, wrap("read schema version", err)
}

// MarkChunk records that a chunk of a job that moves no rows is done. Marking it again changes nothing.
func (l *Ledger) MarkChunk(ctx context.Context, jobID string, chunk, attempt int) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.chunks (job_id, chunk, attempt_id, attempt) VALUES ($1, $2, pg_catalog.gen_random_uuid(), $3) ON CONFLICT (job_id, chunk) DO NOTHING`),
		jobID, chunk, max(attempt, 1))
	return wrap("mark chunk", err)
}

// PlanElement returns what the first generation of a job's plan has for one chunk, in its list "Chunks". Error: ErrNotFound.
func (l *Ledger) PlanElement(ctx context.Context, jobID string, chunk int) (json.RawMessage, error) {
	var text []byte
	err := l.pool.QueryRow(ctx, l.expand(`
		SELECT (plan->'Chunks'->$2::int)::text FROM @schema@.plans
		WHERE job_id = $1 AND generation = 1 AND pg_catalog.jsonb_array_length(plan->'Chunks') > $2`), jobID, chunk).Scan(&text)
	return text, wrap("read plan", err)
}

// Checked is what a VERIFY job has read back so far.
type Checked struct{ Segments, Rows, Bytes int64 }

// Checked sums up the chunks of a VERIFY job that are done, as they were planned.
func (l *Ledger) Checked(ctx context.Context, jobID string) (Checked, error) {
	var c Checked
	err := l.pool.QueryRow(ctx, l.expand(`
		SELECT coalesce(sum((e.chunk->>'Segments')::bigint), 0)::bigint, coalesce(sum((e.chunk->>'Rows')::bigint), 0)::bigint,
		       coalesce(sum((e.chunk->>'Bytes')::bigint), 0)::bigint
		FROM @schema@.plans AS p CROSS JOIN LATERAL pg_catalog.jsonb_array_elements(p.plan->'Chunks') WITH ORDINALITY AS e(chunk, n)
		JOIN @schema@.chunks AS c ON c.job_id = p.job_id AND c.chunk = e.n - 1
		WHERE p.job_id = $1 AND p.generation = 1`), jobID).Scan(&c.Segments, &c.Rows, &c.Bytes)
	return c, wrap("sum up what was checked", err)
}

// Directory is a place in a storage where segments of a table lie.
type Directory struct {
	Storage string
	URL     string // with the slash at its end
}

// Directories lists where segments of a table lie or lay.
func (l *Ledger) Directories(ctx context.Context, schema, table string) ([]Directory, error) {
	return collect(ctx, l.pool, "list directories", pgx.RowToStructByPos[Directory], l.expand(`
		SELECT DISTINCT storage, pg_catalog.regexp_replace(location, '[^/]*$', '') FROM @schema@.segments
		WHERE table_schema = $1 AND table_name = $2 ORDER BY 1, 2`), schema, table)
}

// Known is what the ledger knows of an object.
type Known struct {
	SegmentID uuid.UUID // the segment, live or history, whose file it is; zero: none
	AttemptID uuid.UUID // the attempt under whose prefix it lies, condemned or not; zero: none
	Condemned bool      // that attempt can never commit here
	Origin    string    // of that attempt: see Attempt
}

// Explained reports whether the object has a reason to be there.
func (k Known) Explained() bool { return k.SegmentID != uuid.Nil || k.AttemptID != uuid.Nil }

// Explain says what the ledger knows of objects of a storage, given by key and by URL, in one snapshot: an attempt that
// commits meanwhile is found either as an attempt or as its segment.
func (l *Ledger) Explain(ctx context.Context, storage string, keys, locations []string) ([]Known, error) {
	return collect(ctx, l.pool, "explain objects", func(row pgx.CollectableRow) (Known, error) {
		var k Known
		var segment, attempt *uuid.UUID
		err := row.Scan(&segment, &attempt, &k.Condemned, &k.Origin)
		if segment != nil {
			k.SegmentID = *segment
		}
		if attempt != nil {
			k.AttemptID = *attempt
		}
		return k, err
	}, l.expand(`
		WITH staged AS MATERIALIZED (
			SELECT DISTINCT ON (x.key) x.key, r.attempt_id
			FROM @schema@.attempt_objects AS r CROSS JOIN LATERAL pg_catalog.jsonb_to_recordset(r.objects) AS x(key text)
			WHERE x.key = ANY ($2::text[]) ORDER BY x.key
		)
		SELECT s.segment_id, a.attempt_id, coalesce(a.condemned, false), coalesce(a.origin, '')
		FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) WITH ORDINALITY AS o(key, location, n)
		LEFT JOIN @schema@.segments AS s ON s.location = o.location
		LEFT JOIN staged ON staged.key = o.key
		LEFT JOIN LATERAL (SELECT attempt_id, condemned_at IS NOT NULL AS condemned, origin FROM @schema@.attempts
		                   WHERE storage = $1 AND (pg_catalog.starts_with(o.key, object_prefix) OR attempt_id = staged.attempt_id) LIMIT 1) AS a ON true
		ORDER BY o.n`), storage, keys, locations)
}

// Abandoned lists the attempts whose objects a clean-up may ask for: condemned ones, and those that nobody can commit any
// more, because their job has ended, or holds no table, or because their backend is gone. Whether they have committed all the
// same is for Condemn to say.
func (l *Ledger) Abandoned(ctx context.Context) ([]Attempt, error) {
	return l.listAttempts(ctx, `condemned_at IS NOT NULL
		OR EXISTS (SELECT FROM @schema@.job_history AS h WHERE h.job_id = attempts.job_id)
		OR NOT EXISTS (SELECT FROM @schema@.claims AS c WHERE c.job_id = attempts.job_id)
		OR NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS s WHERE s.pid = attempts.backend_pid
		               AND (s.backend_start IS NULL OR s.backend_start = attempts.backend_start))`)
}

// AttemptsByID returns those of the attempts that have a row.
func (l *Ledger) AttemptsByID(ctx context.Context, ids []uuid.UUID) ([]Attempt, error) {
	return l.listAttempts(ctx, `attempt_id = ANY ($1::text[]::uuid[])`, texts(ids))
}

// AttemptRegistered reports whether a segment, live or history, was written by the attempt.
func (l *Ledger) AttemptRegistered(ctx context.Context, a Attempt) (bool, error) {
	var found bool
	err := l.pool.QueryRow(ctx, l.expand(`SELECT EXISTS (SELECT FROM @schema@.segments WHERE job_id = $1 AND chunk = $2 AND attempt = $3::text::uuid)`),
		a.JobID, a.Chunk, a.ID.String()).Scan(&found)
	return found, wrap("look for segments of the attempt", err)
}
