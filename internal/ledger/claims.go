package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A claim says which job may move rows of a table, whoever manages it. Every chunk reads it in its own transaction, in the
// statement that raises the fence: see InsertChunk. No lock is needed for that. Who takes a table over changes the claim
// first and settles the attempts of the job before it then. An attempt whose first row was there by then is settled; one
// whose first row came later reads the new claim, and moves nothing.

// Manager is the kind of job manager that a claim belongs to.
type Manager string

// The managers.
const (
	ManagerTemporal Manager = "temporal" // lives by Temporal's word: one workflow per table
	ManagerLocal    Manager = "local"    // lives exactly as long as its process holds the table's lock: see LockTable
)

// Claim is one job's hold on a table.
type Claim struct {
	Schema    string
	Table     string
	JobID     string
	Manager   Manager
	RequestID uuid.UUID  // zero: not known
	CreatedAt time.Time  // of the job, as far as the ledger knows
	StartedAt *time.Time // its first attempt
	Ended     bool       // the job's end is recorded; the claim is about to go
}

const claimSQL = `
	SELECT c.table_schema, c.table_name, c.job_id, c.manager, coalesce(c.request_id, p.request_id),
	       CASE WHEN c.manager = 'local' THEN c.claimed_at ELSE coalesce(r.created_at, c.claimed_at) END,
	       least((SELECT min(created_at) FROM @schema@.attempts a WHERE a.job_id = c.job_id),
	             (SELECT min(committed_at) FROM @schema@.chunks k WHERE k.job_id = c.job_id)),
	       EXISTS (SELECT FROM @schema@.job_history h WHERE h.job_id = c.job_id)
	FROM @schema@.claims c
	LEFT JOIN @schema@.plans p ON p.job_id = c.job_id AND p.generation = 1
	LEFT JOIN @schema@.requests r ON r.request_id = coalesce(c.request_id, p.request_id)`

func scanClaim(row pgx.CollectableRow) (Claim, error) {
	var c Claim
	var request *uuid.UUID
	err := row.Scan(&c.Schema, &c.Table, &c.JobID, &c.Manager, &request, &c.CreatedAt, &c.StartedAt, &c.Ended)
	if request != nil {
		c.RequestID = *request
	}
	return c, err
}

// Claims lists the claims of local jobs, those of dead ones too, the newest first.
func (l *Ledger) Claims(ctx context.Context) ([]Claim, error) {
	return collect(ctx, l.pool, "list claims", scanClaim, l.expand(claimSQL+` WHERE c.manager = 'local' ORDER BY c.claimed_at DESC`))
}

// ClaimOf returns the claim on a table. Error: ErrNotFound.
func (l *Ledger) ClaimOf(ctx context.Context, schema, table string) (Claim, error) {
	found, err := collect(ctx, l.pool, "read claim", scanClaim, l.expand(claimSQL+` WHERE c.table_schema = $1 AND c.table_name = $2`), schema, table)
	if err != nil {
		return Claim{}, err
	}
	if len(found) == 0 {
		return Claim{}, wrap("read claim", pgx.ErrNoRows)
	}
	return found[0], nil
}

// ClaimTable makes jobID, a job of Temporal's, the one that changes the table, and returns the job of Temporal's that held
// the claim before, or "" if none or jobID itself did. From a job of its own kind it always takes over, for Temporal lets
// one live at a time. Errors: *HeldError if a local job has the claim, alive or dead; ErrClaimLost if the end of jobID is
// recorded.
func (l *Ledger) ClaimTable(ctx context.Context, schema, table, jobID string) (previous string, err error) {
	err = l.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, l.expand(`
			INSERT INTO @schema@.claims (table_schema, table_name, job_id) SELECT $1, $2, $3::text
			WHERE NOT EXISTS (SELECT FROM @schema@.job_history WHERE job_id = $3) ON CONFLICT DO NOTHING`), schema, table, jobID)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		previous, err = l.takeOver(ctx, tx, schema, table, jobID)
		return err
	})
	if err != nil {
		return "", wrap("claim table", err)
	}
	return previous, nil
}

func (l *Ledger) takeOver(ctx context.Context, tx pgx.Tx, schema, table, jobID string) (previous string, err error) {
	c := Claim{Schema: schema, Table: table}
	err = tx.QueryRow(ctx, l.expand(`SELECT job_id, manager FROM @schema@.claims WHERE table_schema = $1 AND table_name = $2 FOR UPDATE`), schema, table).
		Scan(&c.JobID, &c.Manager)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", ErrClaimLost
	case err != nil, c.JobID == jobID:
		return "", err
	case c.Manager == ManagerLocal:
		return "", &HeldError{Claim: c}
	}
	tag, err := tx.Exec(ctx, l.expand(`
		UPDATE @schema@.claims SET job_id = $3::text, claimed_at = pg_catalog.now()
		WHERE table_schema = $1 AND table_name = $2 AND NOT EXISTS (SELECT FROM @schema@.job_history WHERE job_id = $3)`), schema, table, jobID)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrClaimLost
	}
	return c.JobID, err
}

// PutClaim stores the claim of a local job, unless there is one on the table, and returns the one that is there.
func (l *Ledger) PutClaim(ctx context.Context, c Claim) (Claim, error) {
	_, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.claims (table_schema, table_name, job_id, manager, request_id) VALUES ($1, $2, $3, 'local', $4::text::uuid)
		ON CONFLICT DO NOTHING`), c.Schema, c.Table, c.JobID, c.RequestID.String())
	if err != nil {
		return Claim{}, wrap("claim table", err)
	}
	return l.ClaimOf(ctx, c.Schema, c.Table)
}

// ReleaseTable gives up the claim if jobID still holds it.
func (l *Ledger) ReleaseTable(ctx context.Context, schema, table, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.claims WHERE table_schema = $1 AND table_name = $2 AND job_id = $3`), schema, table, jobID)
	return wrap("release table", err)
}

// LocalHolder returns the living local job that holds a table, or "". It may have ended by the time of the answer, and
// another may have come: ClaimTable decides.
func (l *Ledger) LocalHolder(ctx context.Context, schema, table string) (jobID string, err error) {
	key := l.tableKey(schema, table)
	err = l.pool.QueryRow(ctx, l.expand(`
		SELECT c.job_id FROM @schema@.claims c
		WHERE c.table_schema = $1 AND c.table_name = $2 AND c.manager = 'local' AND EXISTS (
			SELECT FROM pg_catalog.pg_locks k
			WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1 AND k.classid = $3::bigint::oid AND k.objid = $4::bigint::oid
			  AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))`),
		schema, table, int64(uint64(key)>>32), int64(uint32(key))).Scan(&jobID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return jobID, wrap("look for a local job", err)
}
