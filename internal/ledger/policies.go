package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrNoStorage is returned by SetPolicy for a policy whose storage is not there, or is still being created.
var ErrNoStorage = errors.New("the storage of the policy does not exist")

// PolicyRow is a table's flush policy and what became of it.
type PolicyRow struct {
	Schema      string
	Table       string
	Policy      json.RawMessage // as package policy writes it; a newer build may have written what this one cannot read
	SetAt       *time.Time
	SetBy       string
	Statement   string
	PausedAt    *time.Time
	PausedBy    string // a database user, or the restore that made it rest
	JobID       string // the last one that it started
	Failures    int64  // one after the other
	Error       string // of the last try
	ErrorClass  string
	NextTry     *time.Time
	LastFlushAt *time.Time
	NextFlushAt *time.Time // when its interval will have passed; nil: it has none, or nobody here can read it
}

// SetPolicy gives a table a policy in place of any that it had, and registers the table. Nothing of the earlier one is left:
// no pause, no failures. With paused it rests until ResumePolicy. storage is the one that the policy names, or "". Error: ErrNoStorage.
func (l *Ledger) SetPolicy(ctx context.Context, p PolicyRow, storage string, paused bool) error {
	err := l.inTx(ctx, func(tx pgx.Tx) error {
		if storage != "" { // whoever drops it waits, and then finds the policy
			tag, err := tx.Exec(ctx, l.expand(`SELECT 1 FROM @schema@.storages WHERE name = $1 AND NOT pending FOR KEY SHARE`), storage)
			if err == nil && tag.RowsAffected() == 0 {
				err = ErrNoStorage
			}
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, l.expand(`
			INSERT INTO @schema@.tables AS t (table_schema, table_name, policy, policy_set_at, policy_set_by, policy_statement, policy_paused_at, policy_paused_by)
			VALUES ($1, $2, $3::text::jsonb, pg_catalog.now(), $4, $5, CASE WHEN $6 THEN pg_catalog.now() END, CASE WHEN $6 THEN $4 END)
			ON CONFLICT (table_schema, table_name) DO UPDATE SET
				policy = excluded.policy, policy_set_at = excluded.policy_set_at, policy_set_by = excluded.policy_set_by, policy_statement = excluded.policy_statement,
				policy_paused_at = excluded.policy_paused_at, policy_paused_by = excluded.policy_paused_by, policy_job_id = NULL, policy_tried_at = NULL,
				policy_failures = 0, policy_error = NULL, policy_error_class = NULL, policy_next_try = NULL`),
			p.Schema, p.Table, string(p.Policy), p.SetBy, storable(p.Statement), paused)
		return err
	})
	return wrap("set policy", err)
}

// ResetPolicy takes a table's policy away. The table stays registered. Error: ErrNotFound if it had none.
func (l *Ledger) ResetPolicy(ctx context.Context, schema, table string) error {
	return l.changePolicy(ctx, "reset policy", `policy = NULL, policy_set_at = NULL, policy_set_by = NULL, policy_statement = NULL,
		policy_paused_at = NULL, policy_paused_by = NULL, policy_job_id = NULL, policy_tried_at = NULL,
		policy_failures = 0, policy_error = NULL, policy_error_class = NULL, policy_next_try = NULL`, schema, table)
}

// HoldPolicy makes a table's policy rest until ResumePolicy. One that rests already stays as it is. Error: ErrNotFound.
func (l *Ledger) HoldPolicy(ctx context.Context, schema, table, by string) error {
	return l.changePolicy(ctx, "pause policy", `policy_paused_by = CASE WHEN policy_paused_at IS NULL THEN $3 ELSE policy_paused_by END,
		policy_paused_at = coalesce(policy_paused_at, pg_catalog.now())`, schema, table, by)
}

// ResumePolicy lets a policy flush again, at once if it is due: what it failed at before does not hold it back, and is forgotten with
// the job that failed. Error: ErrNotFound.
func (l *Ledger) ResumePolicy(ctx context.Context, schema, table string) error {
	return l.changePolicy(ctx, "resume policy", `policy_paused_at = NULL, policy_paused_by = NULL, policy_failures = 0,
		policy_job_id = CASE WHEN policy_next_try IS NULL THEN policy_job_id END, policy_error = NULL, policy_error_class = NULL, policy_next_try = NULL`, schema, table)
}

func (l *Ledger) changePolicy(ctx context.Context, step, set string, args ...any) error {
	tag, err := l.pool.Exec(ctx, l.expand(`UPDATE @schema@.tables SET `+set+` WHERE table_schema = $1 AND table_name = $2 AND policy IS NOT NULL`), args...)
	if err == nil && tag.RowsAffected() == 0 {
		err = ErrNotFound
	}
	return wrap(step, err)
}

// Policy returns a table's policy. Error: ErrNotFound if it has none.
func (l *Ledger) Policy(ctx context.Context, schema, table string) (PolicyRow, error) {
	list, err := l.policies(ctx, ` AND t.table_schema = $1 AND t.table_name = $2`, schema, table)
	if err == nil && len(list) == 0 {
		err = wrap("read policy", ErrNotFound)
	}
	if err != nil {
		return PolicyRow{}, err
	}
	return list[0], nil
}

// Policies lists all policies by their tables' names.
func (l *Ledger) Policies(ctx context.Context) ([]PolicyRow, error) { return l.policies(ctx, "") }

func (l *Ledger) policies(ctx context.Context, more string, args ...any) ([]PolicyRow, error) {
	return collect(ctx, l.pool, "read policies", func(row pgx.CollectableRow) (p PolicyRow, err error) {
		err = row.Scan(&p.Schema, &p.Table, &p.Policy, &p.SetAt, &p.SetBy, &p.Statement, &p.PausedAt, &p.PausedBy, &p.JobID,
			&p.Failures, &p.Error, &p.ErrorClass, &p.NextTry, &p.LastFlushAt, &p.NextFlushAt)
		return p, err
	}, l.expand(`
		SELECT t.table_schema, t.table_name, t.policy, t.policy_set_at, coalesce(t.policy_set_by, ''), coalesce(t.policy_statement, ''),
		       t.policy_paused_at, coalesce(t.policy_paused_by, ''), coalesce(t.policy_job_id, ''), t.policy_failures::bigint,
		       coalesce(t.policy_error, ''), coalesce(t.policy_error_class, ''), t.policy_next_try, t.last_flush_at, v.next_flush_at
		FROM @schema@.tables AS t CROSS JOIN LATERAL (
		    SELECT coalesce(t.last_flush_at, t.policy_set_at)
		           + CASE WHEN t.policy ->> 'interval' ~ '^(?=.)([0-9]{1,7}h)?([0-9]{1,9}m)?([0-9]{1,9}([.][0-9]{1,9})?s)?$' THEN (t.policy ->> 'interval')::interval END AS next_flush_at) AS v
		WHERE t.policy IS NOT NULL`+more+` ORDER BY t.table_schema, t.table_name`), args...)
}
