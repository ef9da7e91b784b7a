package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Duty is a table that flushes by itself: its policy, and what became of it. Times are the server's.
type Duty struct {
	Schema      string
	Table       string
	Version     int64           // differs whenever the row does
	Policy      json.RawMessage // nil: it has none any more
	SetAt       time.Time       // when the policy was set; for one that does not say, when the table was registered
	SetBy       string
	Statement   string
	LastFlushAt *time.Time
	JobID       string // the last job that the policy started, or ""
	TriedAt     *time.Time
	Failures    int // one after the other
	Error       string
	Class       string
	NextTry     *time.Time // nil: at any time
	Paused      bool
}

// DutyName names a row of the ledger's tables.
type DutyName struct {
	Schema, Table string
	Version       int64
}

const dutyVersion = `xmin::text::bigint`

// DutyMark returns a text that differs whenever a policy, or the state of one, does.
func (l *Ledger) DutyMark(ctx context.Context) (mark string, err error) {
	// An update gives its row a younger transaction, so that the sum grows; what comes or goes changes the number.
	err = l.pool.QueryRow(ctx, l.expand(`
		SELECT pg_catalog.count(*) || '/' || coalesce(pg_catalog.sum(`+dutyVersion+`), 0) FROM @schema@.tables WHERE policy IS NOT NULL`)).Scan(&mark)
	return mark, wrap("look for changed policies", err)
}

// DutyNames lists the tables that have a policy, with their versions.
func (l *Ledger) DutyNames(ctx context.Context) ([]DutyName, error) {
	return collect(ctx, l.pool, "list policies", func(row pgx.CollectableRow) (n DutyName, err error) {
		err = row.Scan(&n.Schema, &n.Table, &n.Version)
		return n, err
	}, l.expand(`SELECT table_schema, table_name, `+dutyVersion+` FROM @schema@.tables WHERE policy IS NOT NULL ORDER BY table_schema, table_name`))
}

// Duties reads the policies and states of tables; of all if names is nil. Tables without a policy are left out.
func (l *Ledger) Duties(ctx context.Context, names []DutyName) ([]Duty, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.Schema, n.Table
	}
	return collect(ctx, l.pool, "read policies", func(row pgx.CollectableRow) (d Duty, err error) {
		err = row.Scan(&d.Schema, &d.Table, &d.Version, &d.Policy, &d.SetAt, &d.SetBy, &d.Statement, &d.LastFlushAt, &d.JobID, &d.TriedAt,
			&d.Failures, &d.Error, &d.Class, &d.NextTry, &d.Paused)
		return d, err
	}, l.expand(`
		SELECT t.table_schema, t.table_name, t.`+dutyVersion+`, t.policy, coalesce(t.policy_set_at, t.registered_at), coalesce(t.policy_set_by, ''),
		       coalesce(t.policy_statement, ''), t.last_flush_at, coalesce(t.policy_job_id, ''), t.policy_tried_at, t.policy_failures,
		       coalesce(t.policy_error, ''), coalesce(t.policy_error_class, ''), t.policy_next_try, t.policy_paused_at IS NOT NULL
		FROM @schema@.tables AS t
		WHERE t.policy IS NOT NULL AND ($1 OR (t.table_schema, t.table_name) IN (SELECT a, b FROM ROWS FROM (unnest($2::text[]), unnest($3::text[])) AS n (a, b)))
		ORDER BY t.table_schema, t.table_name`), names == nil, schemas, tables)
}

// DutyStarted records that a policy started a job, or found the one that it had started.
func (l *Ledger) DutyStarted(ctx context.Context, schema, table, jobID string) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.tables SET policy_job_id = $3, policy_tried_at = pg_catalog.clock_timestamp(), policy_next_try = NULL
		WHERE table_schema = $1 AND table_name = $2 AND policy IS NOT NULL AND policy_job_id IS DISTINCT FROM $3`), schema, table, jobID)
	return wrap("record the start of a policy's job", err)
}

// DutyOutcome is what follows from a try.
type DutyOutcome struct {
	Failures int
	Error    string        // "": none
	Class    string        // "": none
	Rest     time.Duration // how long nothing is tried; 0: not at all
}

const setOutcome = `policy_failures = $4::int, policy_error = nullif($5, ''), policy_error_class = nullif($6, ''),
	policy_next_try = CASE WHEN $7::bigint > 0 THEN pg_catalog.clock_timestamp() + $7::bigint * interval '1 microsecond' END`

// DutyEnded records what followed from the end of a policy's job, unless that has been recorded, or another job was started since.
func (l *Ledger) DutyEnded(ctx context.Context, schema, table, jobID string, o DutyOutcome) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.tables SET `+setOutcome+`
		WHERE table_schema = $1 AND table_name = $2 AND policy IS NOT NULL AND policy_job_id = $3 AND policy_next_try IS NULL`),
		schema, table, jobID, o.Failures, storable(o.Error), o.Class, o.Rest.Microseconds())
	return wrap("record the end of a policy's job", err)
}

// DutyRefused records that a policy could not start a job, unless its row has changed since it was read.
func (l *Ledger) DutyRefused(ctx context.Context, schema, table string, version int64, o DutyOutcome) error {
	_, err := l.pool.Exec(ctx, l.expand(`
		UPDATE @schema@.tables SET policy_tried_at = pg_catalog.clock_timestamp(), `+setOutcome+`
		WHERE table_schema = $1 AND table_name = $2 AND policy IS NOT NULL AND `+dutyVersion+` = $3::bigint`),
		schema, table, version, o.Failures, storable(o.Error), o.Class, o.Rest.Microseconds())
	return wrap("record that a policy could start no job", err)
}
