package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Request is what a user asked for. It may hold literals of a predicate, which is why it lives here and only its id goes
// into workflow history.
type Request struct {
	ID          uuid.UUID
	JobType     string
	Schema      string
	Table       string
	Params      map[string]string
	Statement   string
	RequestedBy string
	Trigger     string
	Schedule    string
	CreatedAt   time.Time // set by the ledger
}

const requestColumns = `request_id, job_type, table_schema, table_name, params, statement, requested_by, trigger, schedule, created_at`

func scanRequest(row pgx.CollectableRow) (Request, error) {
	var r Request
	err := row.Scan(&r.ID, &r.JobType, &r.Schema, &r.Table, &r.Params, &r.Statement, &r.RequestedBy, &r.Trigger, &r.Schedule, &r.CreatedAt)
	return r, err
}

// PutRequest stores a request. Storing the same id again changes nothing.
func (l *Ledger) PutRequest(ctx context.Context, r Request) error {
	params, err := json.Marshal(r.Params)
	if err != nil || r.Params == nil {
		params = []byte("{}")
	}
	trigger := r.Trigger
	if trigger == "" {
		trigger = "command"
	}
	_, err = l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.requests (request_id, job_type, table_schema, table_name, params, statement, requested_by, trigger, schedule)
		VALUES ($1::text::uuid, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9) ON CONFLICT (request_id) DO NOTHING`),
		r.ID.String(), r.JobType, r.Schema, r.Table, string(params), storable(r.Statement), r.RequestedBy, trigger, r.Schedule)
	return wrap("store request", err)
}

// Request returns a stored request, or ErrNotFound.
func (l *Ledger) Request(ctx context.Context, id uuid.UUID) (Request, error) {
	found, err := l.Requests(ctx, []uuid.UUID{id})
	if err != nil {
		return Request{}, err
	}
	r, ok := found[id]
	if !ok {
		return Request{}, wrap("read request", pgx.ErrNoRows)
	}
	return r, nil
}

// Requests returns those of the requests that are stored, in one statement.
func (l *Ledger) Requests(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]Request, error) {
	rows, err := collect(ctx, l.pool, "read requests", scanRequest,
		l.expand(`SELECT `+requestColumns+` FROM @schema@.requests WHERE request_id = ANY ($1::text[]::uuid[])`), texts(ids))
	if err != nil {
		return nil, err
	}
	out := make(map[uuid.UUID]Request, len(rows))
	for _, r := range rows {
		out[r.ID] = r
	}
	return out, nil
}

// DeleteRequest removes a request that came to nothing. Removing it twice is harmless.
func (l *Ledger) DeleteRequest(ctx context.Context, id uuid.UUID) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.requests WHERE request_id = $1::text::uuid`), id.String())
	return wrap("delete request", err)
}

// ClaimTable makes jobID the one job that changes the table, and returns the job that held the claim before, or "" if none
// or jobID itself did. It always takes over: that the earlier job is dead is for the caller to know, who lets one job live
// at a time, and the fences of the protocol hold even if both still ran.
func (l *Ledger) ClaimTable(ctx context.Context, schema, table, jobID string) (previous string, err error) {
	err = l.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, l.expand(`INSERT INTO @schema@.claims (table_schema, table_name, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`), schema, table, jobID)
		if err != nil || tag.RowsAffected() == 1 {
			return err
		}
		err = tx.QueryRow(ctx, l.expand(`SELECT job_id FROM @schema@.claims WHERE table_schema = $1 AND table_name = $2 FOR UPDATE`), schema, table).Scan(&previous)
		if err != nil {
			return err
		}
		if previous == jobID {
			previous = ""
			return nil
		}
		_, err = tx.Exec(ctx, l.expand(`UPDATE @schema@.claims SET job_id = $3, claimed_at = pg_catalog.now() WHERE table_schema = $1 AND table_name = $2`), schema, table, jobID)
		return err
	})
	if err != nil {
		return "", wrap("claim table", err)
	}
	return previous, nil
}

// ReleaseTable gives up the claim if jobID still holds it.
func (l *Ledger) ReleaseTable(ctx context.Context, schema, table, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`DELETE FROM @schema@.claims WHERE table_schema = $1 AND table_name = $2 AND job_id = $3`), schema, table, jobID)
	return wrap("release table", err)
}
