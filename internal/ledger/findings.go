package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The kinds of findings.
const (
	KindDamaged  = "damaged"  // a live segment whose object is not what was registered
	KindMissing  = "missing"  // a live segment without its object
	KindStray    = "stray"    // an object that no segment and no attempt explains
	KindLeftover = "leftover" // an object of an attempt that can never commit
)

// What a job did about a finding.
const (
	ActionReported    = "reported"
	ActionWouldDelete = "would_delete"
	ActionDeleted     = "deleted"
	ActionKept        = "kept"
)

// Finding is an object that is not as the ledger says.
type Finding struct {
	JobID     string // that found it
	Location  string // URL
	Schema    string // of the table; "" if the job has none
	Table     string
	Storage   string
	Kind      string
	Action    string
	SegmentID uuid.UUID // zero: none
	AttemptID uuid.UUID // zero: none
	Bytes     *int64    // of the object; nil: not known
	Problem   string
	FoundAt   time.Time // set by the ledger
}

const findingColumns = `job_id, location, table_schema, table_name, storage, kind, action, segment_id, attempt_id, bytes, problem, found_at`

func scanFinding(row pgx.CollectableRow) (Finding, error) {
	var f Finding
	var segment, attempt *uuid.UUID
	err := row.Scan(&f.JobID, &f.Location, &f.Schema, &f.Table, &f.Storage, &f.Kind, &f.Action, &segment, &attempt, &f.Bytes, &f.Problem, &f.FoundAt)
	if segment != nil {
		f.SegmentID = *segment
	}
	if attempt != nil {
		f.AttemptID = *attempt
	}
	return f, err
}

const (
	locationDigest = `pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to($2::text, 'UTF8')), 'hex')`
	putFinding     = `
		INSERT INTO @schema@.findings (job_id, digest, location, table_schema, table_name, storage, kind, action, segment_id, attempt_id, bytes, problem)
		VALUES ($1, ` + locationDigest + `, $2, $3, $4, $5, $6, $7, nullif($8, '')::uuid, nullif($9, '')::uuid, $10, $11)
		ON CONFLICT (job_id, digest) DO UPDATE SET kind = excluded.kind, action = excluded.action, segment_id = excluded.segment_id,
			attempt_id = excluded.attempt_id, bytes = excluded.bytes, problem = excluded.problem, found_at = excluded.found_at`
)

// PutFindings stores findings, all or none. What the same job found at the same place before is replaced.
func (l *Ledger) PutFindings(ctx context.Context, list []Finding) error {
	if len(list) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	sql := l.expand(putFinding)
	for _, f := range list {
		batch.Queue(sql, f.JobID, storable(f.Location), f.Schema, f.Table, f.Storage, f.Kind, f.Action, idText(f.SegmentID), idText(f.AttemptID), f.Bytes, storable(f.Problem))
	}
	return wrap("store findings", l.inTx(ctx, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }))
}

func idText(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}

// DropFinding takes a finding back: a second look found nothing wrong.
func (l *Ledger) DropFinding(ctx context.Context, jobID, location string) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.findings WHERE job_id = $1 AND digest = `+locationDigest), jobID, storable(location))
	return wrap("take a finding back", err)
}

// DropStrays takes the stray objects back that a job has found: it lists them anew.
func (l *Ledger) DropStrays(ctx context.Context, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.findings WHERE job_id = $1 AND kind = 'stray'`), jobID)
	return wrap("take strays back", err)
}

// Findings lists what a job found: damaged and missing segments first, then by address.
func (l *Ledger) Findings(ctx context.Context, jobID string) ([]Finding, error) {
	return collect(ctx, l.pool, "read findings", scanFinding, l.expand(`
		SELECT `+findingColumns+` FROM @schema@.findings WHERE job_id = $1
		ORDER BY kind NOT IN ('damaged', 'missing'), location COLLATE "C"`), jobID)
}

// Finding returns what a job found at one address, if it did.
func (l *Ledger) Finding(ctx context.Context, jobID, location string) (Finding, bool, error) {
	found, err := collect(ctx, l.pool, "read finding", scanFinding,
		l.expand(`SELECT `+findingColumns+` FROM @schema@.findings WHERE job_id = $1 AND digest = `+locationDigest), jobID, storable(location))
	if err != nil || len(found) == 0 {
		return Finding{}, false, err
	}
	return found[0], true, nil
}

// MarkDeleted records that the objects of an attempt which a job was about to remove are gone.
func (l *Ledger) MarkDeleted(ctx context.Context, jobID string, attempt uuid.UUID) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.findings SET action = 'deleted' WHERE job_id = $1 AND attempt_id = $2::text::uuid AND action = 'would_delete'`), jobID, attempt.String())
	return wrap("record what was removed", err)
}

// FindingCount is how many findings of one kind a job has, by what it did about them.
type FindingCount struct {
	Kind, Action string
	Objects      int64
	Bytes        int64 // of those whose size is known
}

// CountFindings sums up what a job found.
func (l *Ledger) CountFindings(ctx context.Context, jobID string) ([]FindingCount, error) {
	return collect(ctx, l.pool, "count findings", pgx.RowToStructByPos[FindingCount], l.expand(`
		SELECT kind, action, count(*), coalesce(sum(bytes), 0)::bigint FROM @schema@.findings WHERE job_id = $1
		GROUP BY kind, action ORDER BY kind, action`), jobID)
}
