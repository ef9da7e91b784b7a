package backing

import (
	"context"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// Catalog lets the front-end ask the ledger about tables, segments and what became of jobs.
type Catalog struct{ Ledger *ledger.Ledger }

var _ sqlfront.Catalog = (*Catalog)(nil)

// RegisteredTables implements sqlfront.Catalog.
func (c *Catalog) RegisteredTables(ctx context.Context, namespace string) ([]jobmanager.Table, error) {
	rows, err := c.Ledger.RegisteredTables(ctx, namespace)
	if err != nil {
		return nil, err
	}
	tables := make([]jobmanager.Table, len(rows))
	for i, r := range rows {
		tables[i] = jobmanager.Table{Namespace: r.Schema, Name: r.Table}
	}
	return tables, nil
}

// LiveSegments implements sqlfront.Catalog.
func (c *Catalog) LiveSegments(ctx context.Context, table jobmanager.Table) ([]sqlfront.Segment, error) {
	var list []sqlfront.Segment
	for s, err := range c.Ledger.LiveSegments(ctx, table.Namespace, table.Name) {
		if err != nil {
			return nil, err
		}
		list = append(list, sqlfront.Segment{
			ID: s.ID.String(), JobID: s.JobID, Leaf: s.Leaf, Location: s.Location, Storage: s.Storage, Rows: s.Rows, Bytes: s.Bytes,
			SchemaVersion: int64(s.SchemaVersion), CreatedAt: s.CreatedAt,
		})
	}
	return list, nil
}

// WroteSegments implements sqlfront.Catalog.
func (c *Catalog) WroteSegments(ctx context.Context, job jobmanager.JobID) (bool, error) {
	return c.Ledger.WroteSegments(ctx, job.String())
}

// Audit implements sqlfront.Catalog.
func (c *Catalog) Audit(ctx context.Context, e sqlfront.AuditEntry) error {
	return c.Ledger.Audit(ctx, ledger.AuditRow{User: e.User, Statement: e.Statement, JobID: e.JobID, Outcome: e.Outcome})
}

// Space implements sqlfront.Catalog.
func (c *Catalog) Space(ctx context.Context, job jobmanager.JobID) (sqlfront.Space, bool, error) {
	h, found, err := c.Ledger.History(ctx, job.String())
	if err != nil || !found || h.HotBytesBefore == nil || h.HotBytesAfter == nil || h.DeadBytes == nil {
		return sqlfront.Space{}, false, err
	}
	cold, err := c.Ledger.ColdTotals(ctx, h.Schema, h.Table)
	if err != nil {
		return sqlfront.Space{}, false, err
	}
	plan, err := c.Ledger.PlanGeneration(ctx, job.String(), 1)
	if err != nil {
		return sqlfront.Space{}, false, err
	}
	denied, err := flush.NotVacuumed(plan)
	return sqlfront.Space{
		NotVacuumed: denied,
		Rows:        h.RowsFlushed, HotBefore: *h.HotBytesBefore, HotAfter: *h.HotBytesAfter, DeadBytes: *h.DeadBytes, ColdBytes: cold.Bytes, Segments: cold.Segments,
	}, err == nil, err
}

// Findings implements sqlfront.Catalog.
func (c *Catalog) Findings(ctx context.Context, job jobmanager.JobID) (f sqlfront.Findings, err error) {
	counts, err := c.Ledger.CountFindings(ctx, job.String())
	if err != nil {
		return f, err
	}
	for _, n := range counts {
		switch {
		case n.Kind == ledger.KindDamaged:
			f.Damaged = n.Objects
		case n.Kind == ledger.KindMissing:
			f.Missing = n.Objects
		case n.Action == ledger.ActionReported:
			f.Strays, f.StrayBytes = n.Objects, n.Bytes
		case n.Action == ledger.ActionDeleted:
			f.Deleted, f.DeletedBytes = f.Deleted+n.Objects, f.DeletedBytes+n.Bytes
		case n.Action == ledger.ActionWouldDelete:
			f.ToDelete, f.ToDeleteBytes = f.ToDelete+n.Objects, f.ToDeleteBytes+n.Bytes
		case n.Action == ledger.ActionKept:
			f.Kept += n.Objects
		}
	}
	checked, err := c.Ledger.Checked(ctx, job.String())
	f.Segments, f.Rows, f.Bytes = checked.Segments, checked.Rows, checked.Bytes
	return f, err
}
