package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ChunkRow is a committed chunk.
type ChunkRow struct {
	JobID       string
	Chunk       int
	AttemptID   uuid.UUID
	Rows        int64
	Bytes       int64
	Segments    int
	Skipped     int64 // rows left because others held their locks
	Attempt     int   // the try that committed it, from 1
	CommittedAt time.Time
}

const chunkColumns = `job_id, chunk, attempt_id, row_count, bytes, rows_skipped_locked, attempt, committed_at, segments`

func scanChunk(row pgx.CollectableRow) (ChunkRow, error) {
	var c ChunkRow
	err := row.Scan(&c.JobID, &c.Chunk, &c.AttemptID, &c.Rows, &c.Bytes, &c.Skipped, &c.Attempt, &c.CommittedAt, &c.Segments)
	return c, err
}

// ChunkRow returns a chunk if it is known to be committed. Not found proves nothing: its COMMIT may be on the way.
func (l *Ledger) ChunkRow(ctx context.Context, jobID string, chunk int) (ChunkRow, bool, error) {
	rows, err := collect(ctx, l.pool, "read chunk", scanChunk,
		l.expand(`SELECT `+chunkColumns+` FROM @schema@.chunks WHERE job_id = $1 AND chunk = $2`), jobID, chunk)
	if err != nil || len(rows) == 0 {
		return ChunkRow{}, false, err
	}
	return rows[0], true, nil
}

// Chunks returns the committed chunks of a job from number from on, in order.
func (l *Ledger) Chunks(ctx context.Context, jobID string, from int) ([]ChunkRow, error) {
	return collect(ctx, l.pool, "read chunks", scanChunk,
		l.expand(`SELECT `+chunkColumns+` FROM @schema@.chunks WHERE job_id = $1 AND chunk >= $2 ORDER BY chunk`), jobID, from)
}

// Totals is how far a job has come, as the ledger knows it.
type Totals struct {
	Rows       int64
	Bytes      int64 // compressed bytes of its segments
	Segments   int64
	ChunksDone int64
	Skipped    int64 // rows_skipped_locked of the newest generation
	Attempt    int   // highest attempt of any committed chunk; 1 if none
	Location   string

	Planned      bool
	Generation   int       // newest; 0 if not planned
	RequestID    uuid.UUID // of the newest plan
	ChunksTotal  int64     // chunks done by earlier generations, and all of the newest
	RowsEstimate int64     // rows moved by earlier generations, and the newest one's estimate

	Started    bool // a chunk was attempted
	LastError  string
	ErrorClass string // of the last recorded failure
}

// Totals returns how far one job has come. A job that the ledger has never seen has zero totals.
func (l *Ledger) Totals(ctx context.Context, jobID string) (Totals, error) {
	all, err := l.Progress(ctx, []string{jobID})
	return all[jobID], err
}

// Progress returns the totals of many jobs in one statement. Every id is in the answer.
func (l *Ledger) Progress(ctx context.Context, jobIDs []string) (map[string]Totals, error) {
	out := make(map[string]Totals, len(jobIDs))
	if len(jobIDs) == 0 {
		return out, nil
	}
	rows, err := l.pool.Query(ctx, l.expand(progressSQL), jobIDs)
	if err != nil {
		return nil, wrap("read progress", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, first, last string
		t := Totals{}
		var request *uuid.UUID
		err := rows.Scan(&id, &t.ChunksDone, &t.Rows, &t.Bytes, &t.Skipped, &t.Attempt, &t.Segments, &first, &last,
			&t.Generation, &request, &t.ChunksTotal, &t.RowsEstimate, &t.Started, &t.LastError, &t.ErrorClass)
		if err != nil {
			return nil, wrap("read progress", err)
		}
		if request != nil {
			t.RequestID = *request
		}
		t.Planned = t.Generation > 0
		t.Location = commonDirectory(first, last)
		out[id] = t
	}
	return out, wrap("read progress", rows.Err())
}

const progressSQL = `
	SELECT j.id, c.done, c.rows, c.bytes, c.skipped,
	       greatest(c.attempt, (SELECT max(attempt) FROM @schema@.failures WHERE job_id = j.id)), s.n, s.first, s.last,
	       coalesce(p.generation, 0), p.request_id,
	       coalesce(p.chunks + c.done_before, 0), coalesce(p.rows_estimate + c.rows_before, 0),
	       c.done > 0 OR EXISTS (SELECT FROM @schema@.attempts a WHERE a.job_id = j.id),
	       coalesce(f.message, ''), coalesce(f.class, '')
	FROM pg_catalog.unnest($1::text[]) AS j(id)
	LEFT JOIN LATERAL (SELECT generation, request_id, first_chunk, chunks, rows_estimate FROM @schema@.plans
	                   WHERE job_id = j.id ORDER BY generation DESC LIMIT 1) AS p ON true
	CROSS JOIN LATERAL (SELECT count(*) AS done, coalesce(sum(row_count), 0)::bigint AS rows, coalesce(sum(bytes), 0)::bigint AS bytes,
	                           coalesce(sum(rows_skipped_locked) FILTER (WHERE chunk >= p.first_chunk), 0)::bigint AS skipped,
	                           coalesce(max(attempt), 1) AS attempt, -- of those that committed
	                           count(*) FILTER (WHERE chunk < p.first_chunk) AS done_before,
	                           coalesce(sum(row_count) FILTER (WHERE chunk < p.first_chunk), 0)::bigint AS rows_before
	                    FROM @schema@.chunks WHERE job_id = j.id) AS c
	CROSS JOIN LATERAL (SELECT count(*) AS n, coalesce(min(location COLLATE "C"), '') AS first, coalesce(max(location COLLATE "C"), '') AS last
	                    FROM @schema@.segments WHERE job_id = j.id) AS s
	LEFT JOIN LATERAL (SELECT message, class FROM @schema@.failures WHERE job_id = j.id ORDER BY failure_id DESC LIMIT 1) AS f ON true`

// commonDirectory returns the directory above all locations, given the first and the last of them in byte order.
func commonDirectory(first, last string) string {
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return first[:strings.LastIndexByte(first[:n], '/')+1]
}

// Failure is an error of a job, with its full text.
type Failure struct {
	JobID    string
	Chunk    *int // nil: not of a chunk
	Attempt  int
	Class    string
	SQLState string
	Message  string
}

// RecordFailure keeps the full text of an error.
func (l *Ledger) RecordFailure(ctx context.Context, f Failure) error {
	_, err := l.pool.Exec(ctx, l.expand(`INSERT INTO @schema@.failures (job_id, chunk, attempt, class, sqlstate, message) VALUES ($1, $2, $3, $4, $5, $6)`),
		f.JobID, f.Chunk, max(f.Attempt, 1), f.Class, f.SQLState, storable(f.Message))
	return wrap("record failure", err)
}

// storable makes any text fit for a text column: PostgreSQL takes no NUL and no broken UTF-8.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
