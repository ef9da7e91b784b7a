package backing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/policy"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// Policies lets the front-end read and change the policies in the ledger.
type Policies struct{ Ledger *ledger.Ledger }

var _ sqlfront.Policies = (*Policies)(nil)

// Set implements sqlfront.Policies.
func (p *Policies) Set(ctx context.Context, spec sqlfront.PolicySpec) error {
	text, err := json.Marshal(policy.Policy(spec.PolicyRule))
	if err != nil {
		return fmt.Errorf("write flush policy: %w", err)
	}
	row := ledger.PolicyRow{Schema: spec.Table.Namespace, Table: spec.Table.Name, Policy: text, SetBy: spec.User, Statement: spec.Statement}
	err = p.Ledger.SetPolicy(ctx, row, spec.Flush["storage"], spec.Paused)
	if errors.Is(err, ledger.ErrNoStorage) {
		return sqlfront.ErrNoStorage
	}
	return err
}

// Reset implements sqlfront.Policies.
func (p *Policies) Reset(ctx context.Context, t jobmanager.Table) error {
	return noPolicy(p.Ledger.ResetPolicy(ctx, t.Namespace, t.Name))
}

// Pause implements sqlfront.Policies.
func (p *Policies) Pause(ctx context.Context, t jobmanager.Table, user string) error {
	return noPolicy(p.Ledger.HoldPolicy(ctx, t.Namespace, t.Name, user))
}

// Resume implements sqlfront.Policies.
func (p *Policies) Resume(ctx context.Context, t jobmanager.Table) error {
	return noPolicy(p.Ledger.ResumePolicy(ctx, t.Namespace, t.Name))
}

func noPolicy(err error) error {
	if errors.Is(err, ledger.ErrNotFound) {
		return sqlfront.ErrNoPolicy
	}
	return err
}

// Policy implements sqlfront.Policies.
func (p *Policies) Policy(ctx context.Context, t jobmanager.Table) (sqlfront.Policy, error) {
	row, err := p.Ledger.Policy(ctx, t.Namespace, t.Name)
	if err != nil {
		return sqlfront.Policy{}, noPolicy(err)
	}
	return policyOf(&row), nil
}

// Policies implements sqlfront.Policies.
func (p *Policies) Policies(ctx context.Context) ([]sqlfront.Policy, error) {
	rows, err := p.Ledger.Policies(ctx)
	out := make([]sqlfront.Policy, len(rows))
	for i := range rows {
		out[i] = policyOf(&rows[i])
	}
	return out, err
}

// policyOf reads a row. A rule that cannot be read is told of in it, and hides no other table's.
func policyOf(row *ledger.PolicyRow) sqlfront.Policy {
	out := sqlfront.Policy{
		Table: jobmanager.Table{Namespace: row.Schema, Name: row.Table}, SetBy: row.SetBy, SetAt: row.SetAt, Statement: row.Statement,
		PausedAt: row.PausedAt, PausedBy: row.PausedBy, JobID: row.JobID, Failures: row.Failures, Error: row.Error, ErrorClass: row.ErrorClass,
		NextTry: row.NextTry, LastFlush: row.LastFlushAt, NextFlush: row.NextFlushAt,
	}
	var rule policy.Policy
	if err := json.Unmarshal(row.Policy, &rule); err != nil {
		out.Unreadable = err.Error()
		return out
	}
	out.PolicyRule = sqlfront.PolicyRule(rule)
	return out
}
