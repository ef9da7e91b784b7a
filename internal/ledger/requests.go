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
