package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// PlanRow is one generation of a job's plan: how the table is cut into chunks FirstChunk to FirstChunk+Chunks-1.
type PlanRow struct {
	JobID        string
	Generation   int
	RequestID    uuid.UUID
	FirstChunk   int
	Chunks       int
	RowsEstimate int64
	Plan         json.RawMessage
	CreatedAt    time.Time // set by the ledger
}

const planColumns = `job_id, generation, request_id, first_chunk, chunks, rows_estimate, plan, created_at`

func scanPlan(row pgx.CollectableRow) (PlanRow, error) {
	var p PlanRow
	err := row.Scan(&p.JobID, &p.Generation, &p.RequestID, &p.FirstChunk, &p.Chunks, &p.RowsEstimate, &p.Plan, &p.CreatedAt)
	return p, err
}

// PutPlan stores a generation, unless it is stored already, and returns what is stored: of two planners the first wins.
func (l *Ledger) PutPlan(ctx context.Context, p PlanRow) (PlanRow, error) {
	_, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.plans (job_id, generation, request_id, first_chunk, chunks, rows_estimate, plan)
		VALUES ($1, $2, $3::text::uuid, $4, $5, $6, $7::text::jsonb) ON CONFLICT (job_id, generation) DO NOTHING`),
		p.JobID, p.Generation, p.RequestID.String(), p.FirstChunk, p.Chunks, p.RowsEstimate, jsonOr(p.Plan))
	if err != nil {
		return PlanRow{}, wrap("store plan", err)
	}
	return l.PlanGeneration(ctx, p.JobID, p.Generation)
}

// PlanGeneration returns one generation of a job's plan. Error: ErrNotFound.
func (l *Ledger) PlanGeneration(ctx context.Context, jobID string, generation int) (PlanRow, error) {
	return l.onePlan(ctx, `job_id = $1 AND generation = $2`, jobID, generation)
}

// Plan returns the generation that a chunk belongs to: the newest one that starts at or before it. Error: ErrNotFound.
func (l *Ledger) Plan(ctx context.Context, jobID string, chunk int) (PlanRow, error) {
	return l.onePlan(ctx, `job_id = $1 AND first_chunk <= $2`, jobID, chunk)
}

// LastPlan returns the newest generation of a job. Error: ErrNotFound.
func (l *Ledger) LastPlan(ctx context.Context, jobID string) (PlanRow, error) {
	return l.onePlan(ctx, `job_id = $1`, jobID)
}

func (l *Ledger) onePlan(ctx context.Context, where string, args ...any) (PlanRow, error) {
	rows, err := collect(ctx, l.pool, "read plan", scanPlan,
		l.expand(`SELECT `+planColumns+` FROM @schema@.plans WHERE `+where+` ORDER BY generation DESC LIMIT 1`), args...)
	if err != nil {
		return PlanRow{}, err
	}
	if len(rows) == 0 {
		return PlanRow{}, wrap("read plan", pgx.ErrNoRows)
	}
	return rows[0], nil
}
