package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// HistoryRow is what remains of a job: one row, written once.
type HistoryRow struct {
	JobID        string
	JobType      string
	Schema       string
	Table        string
	Status       string // completed, failed or cancelled
	RowsTotal    *int64
	RowsFlushed  int64
	BytesWritten int64
	Segments     int64
	ChunksDone   int64
	ChunksTotal  *int64
	RowsLeft     *int64
	RowsSkipped  int64
	Attempt      int
	Error        *string
	ErrorClass   *string
	Location     *string
	RequestedBy  string
	Trigger      string
	Schedule     string
	Statement    string
	CreatedAt    time.Time
	StartedAt    *time.Time
	FinishedAt   time.Time // zero: now, by the server's clock
	CancelledAt  *time.Time
	WorkflowID   string
	RunID        string

	// What a flush did to the size of its table; nil where it could not be measured.
	HotBytesBefore *int64 // of the table with indexes and TOAST, when the job was planned
	HotBytesAfter  *int64 // the same, when it ended
	ColdBytes      *int64 // of all live segments of the table, when it ended
	DeadRows       *int64 // rows that VACUUM will clear away, those of earlier deletes and updates among them
	DeadBytes      *int64 // about how much of HotBytesAfter they take up

	Recorded  bool      // of what InsertHistory returns: that very call recorded it
	RequestID uuid.UUID // what goes when the job is forgotten; zero: not known. It is written, never read back
}

const historyColumns = `job_id, job_type, table_schema, table_name, status, rows_total, rows_flushed, bytes_written, segments, chunks_done, chunks_total,
	rows_left, rows_skipped_locked, attempt, error, error_class, location, requested_by, trigger, schedule, statement, created_at, started_at,
	finished_at, cancelled_at, workflow_id, run_id, hot_bytes_before, hot_bytes_after, cold_bytes, dead_rows, dead_bytes`

func scanHistory(row pgx.CollectableRow) (HistoryRow, error) {
	var h HistoryRow
	err := row.Scan(&h.JobID, &h.JobType, &h.Schema, &h.Table, &h.Status, &h.RowsTotal, &h.RowsFlushed, &h.BytesWritten, &h.Segments, &h.ChunksDone,
		&h.ChunksTotal, &h.RowsLeft, &h.RowsSkipped, &h.Attempt, &h.Error, &h.ErrorClass, &h.Location, &h.RequestedBy, &h.Trigger, &h.Schedule,
		&h.Statement, &h.CreatedAt, &h.StartedAt, &h.FinishedAt, &h.CancelledAt, &h.WorkflowID, &h.RunID,
		&h.HotBytesBefore, &h.HotBytesAfter, &h.ColdBytes, &h.DeadRows, &h.DeadBytes)
	return h, err
}

// InsertHistory records how a job ended and returns what is recorded. The first one wins: a terminal status is final, so a
// later end changes nothing and the caller learns the earlier one.
func (l *Ledger) InsertHistory(ctx context.Context, h HistoryRow) (HistoryRow, error) {
	if h.Trigger == "" {
		h.Trigger = "command"
	}
	h.Statement = storable(h.Statement)
	if h.Error != nil {
		text := storable(*h.Error)
		h.Error = &text
	}
	var request *string
	if h.RequestID != uuid.Nil {
		text := h.RequestID.String()
		request = &text
	}
	var finished *time.Time
	if !h.FinishedAt.IsZero() {
		finished = &h.FinishedAt
	}
	tag, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.job_history (`+historyColumns+`, request_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, coalesce($24, pg_catalog.now()), $25, $26, $27, $28, $29, $30, $31, $32, $33::text::uuid)
		ON CONFLICT (job_id) DO NOTHING`),
		h.JobID, h.JobType, h.Schema, h.Table, h.Status, h.RowsTotal, h.RowsFlushed, h.BytesWritten, h.Segments, h.ChunksDone,
		h.ChunksTotal, h.RowsLeft, h.RowsSkipped, max(h.Attempt, 1), h.Error, h.ErrorClass, h.Location, h.RequestedBy, h.Trigger, h.Schedule,
		h.Statement, h.CreatedAt, h.StartedAt, finished, h.CancelledAt, h.WorkflowID, h.RunID,
		h.HotBytesBefore, h.HotBytesAfter, h.ColdBytes, h.DeadRows, h.DeadBytes, request)
	if err != nil {
		return HistoryRow{}, wrap("record the end of the job", err)
	}
	stored, found, err := l.History(ctx, h.JobID)
	if err == nil && !found {
		err = wrap("record the end of the job", pgx.ErrNoRows)
	}
	stored.Recorded = tag.RowsAffected() == 1
	return stored, err
}

// History returns the end of a job, if it is recorded.
func (l *Ledger) History(ctx context.Context, jobID string) (HistoryRow, bool, error) {
	all, err := l.HistoryOf(ctx, []string{jobID})
	h, found := all[jobID]
	return h, found, err
}

// HistoryOf returns the ends of those of the jobs that have one recorded, in one statement.
func (l *Ledger) HistoryOf(ctx context.Context, jobIDs []string) (map[string]HistoryRow, error) {
	rows, err := collect(ctx, l.pool, "read job history", scanHistory,
		l.expand(`SELECT `+historyColumns+` FROM @schema@.job_history WHERE job_id = ANY ($1::text[])`), jobIDs)
	if err != nil {
		return nil, err
	}
	out := make(map[string]HistoryRow, len(rows))
	for _, h := range rows {
		out[h.JobID] = h
	}
	return out, nil
}

// HistoryFilter selects ended jobs. Zero fields do not restrict.
type HistoryFilter struct {
	Statuses []string
	JobType  string
	Schema   string
	Table    string
	Limit    int
}

// ListHistory returns ended jobs, newest first.
func (l *Ledger) ListHistory(ctx context.Context, f HistoryFilter) ([]HistoryRow, error) {
	var limit *int
	if f.Limit > 0 {
		limit = &f.Limit
	}
	statuses := f.Statuses
	if statuses == nil {
		statuses = []string{}
	}
	return collect(ctx, l.pool, "list job history", scanHistory, l.expand(`
		SELECT `+historyColumns+` FROM @schema@.job_history
		WHERE (pg_catalog.cardinality($1::text[]) = 0 OR status = ANY ($1)) AND ($2 = '' OR job_type = $2)
		  AND ($3 = '' OR table_schema = $3) AND ($4 = '' OR table_name = $4)
		ORDER BY created_at DESC, job_id LIMIT $5`), statuses, f.JobType, f.Schema, f.Table, limit)
}
