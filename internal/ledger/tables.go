package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// RegisteredTable is a table that FLUSH ALL covers: it has a policy or was flushed before.
type RegisteredTable struct {
	Schema       string
	Table        string
	RegisteredAt time.Time
	Policy       json.RawMessage // nil: none
	LastFlushAt  *time.Time
	LastJobID    *string
}

// RegisterTable adds a table. Adding it again changes nothing.
func (l *Ledger) RegisterTable(ctx context.Context, schema, table string) error {
	_, err := l.pool.Exec(ctx, l.expand(`INSERT INTO @schema@.tables (table_schema, table_name) VALUES ($1, $2) ON CONFLICT DO NOTHING`), schema, table)
	return wrap("register table", err)
}

// TouchTable records a table's last flush, and registers the table if need be. An older time does not replace a newer one.
func (l *Ledger) TouchTable(ctx context.Context, schema, table string, at time.Time, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		INSERT INTO @schema@.tables AS t (table_schema, table_name, last_flush_at, last_job_id) VALUES ($1, $2, $3, $4)
		ON CONFLICT (table_schema, table_name) DO UPDATE SET last_flush_at = excluded.last_flush_at, last_job_id = excluded.last_job_id
		WHERE t.last_flush_at IS NULL OR t.last_flush_at <= excluded.last_flush_at`), schema, table, at, jobID)
	return wrap("record last flush", err)
}

// RegisteredTables lists the registered tables of a namespace, or of all if it is empty, by name.
func (l *Ledger) RegisteredTables(ctx context.Context, namespace string) ([]RegisteredTable, error) {
	return collect(ctx, l.pool, "list tables", func(row pgx.CollectableRow) (t RegisteredTable, err error) {
		err = row.Scan(&t.Schema, &t.Table, &t.RegisteredAt, &t.Policy, &t.LastFlushAt, &t.LastJobID)
		return t, err
	}, l.expand(`
		SELECT table_schema, table_name, registered_at, policy, last_flush_at, last_job_id FROM @schema@.tables
		WHERE $1 = '' OR table_schema = $1 ORDER BY table_schema, table_name`), namespace)
}

// AuditRow is one statement that started, stopped or changed jobs, and what became of it.
type AuditRow struct {
	User      string
	Statement string
	JobID     string // "" if none
	Outcome   string // "started", "existing", an SQLSTATE, …
}

// Audit records a statement.
func (l *Ledger) Audit(ctx context.Context, a AuditRow) error {
	_, err := l.pool.Exec(ctx, l.expand(`INSERT INTO @schema@.audit (user_name, statement, job_id, outcome) VALUES ($1, $2, nullif($3, ''), $4)`),
		a.User, storable(a.Statement), a.JobID, a.Outcome)
	return wrap("write audit", err)
}
