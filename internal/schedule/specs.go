package schedule

import (
	"context"
	"maps"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// specs lists the jobs of a run, after it asked for the rights of whoever created the schedule. Nothing is left of them: they
// may have been taken away since.
func (u *run) specs(ctx context.Context) ([]jobmanager.JobSpec, error) {
	row := &u.row
	rights, err := u.ledger.RoleRights(ctx, row.CreatedBy, row.RunAs, u.opt.Operator)
	if err != nil {
		return nil, err
	}
	if !rights.Exists {
		u.fail(ClassPrivilege, "", "the role %q that created the schedule is gone, or may no longer act as %q", row.CreatedBy, row.RunAs)
		return nil, nil
	}
	needs := row.Scope != ledger.ScopeTable || row.Params["triggers"] != ""
	if needs && !rights.Anywhere {
		u.fail(ClassPrivilege, "", "the role %q is neither a superuser nor a member of %q any more", row.RunAs, u.opt.Operator)
		return nil, nil
	}
	if row.JobType == string(jobCleanup) {
		return []jobmanager.JobSpec{u.spec(jobmanager.Table{})}, nil
	}
	tables, err := u.tables(ctx, rights.Anywhere)
	if err != nil {
		return nil, err
	}
	specs := make([]jobmanager.JobSpec, len(tables))
	for i, t := range tables {
		specs[i] = u.spec(t)
	}
	return specs, nil
}

func (u *run) spec(t jobmanager.Table) jobmanager.JobSpec {
	params := maps.Clone(u.row.Params)
	delete(params, "unregistered")
	return jobmanager.JobSpec{
		Type: jobmanager.JobType(u.row.JobType), Table: t, Params: params, Statement: u.row.JobStatement, RequestedBy: u.row.CreatedBy,
		Trigger: jobmanager.TriggerSchedule, Schedule: u.row.Name,
	}
}

// tables lists the tables of a run. Of many, those that are gone are passed over.
func (u *run) tables(ctx context.Context, anywhere bool) ([]jobmanager.Table, error) {
	row := &u.row
	verify := row.JobType == string(jobVerify)
	if row.Scope == ledger.ScopeTable {
		found, err := u.ledger.TableRights(ctx, row.RunAs, []string{row.Schema}, []string{row.Table}, "")
		t := jobmanager.Table{Namespace: row.Schema, Name: row.Table}
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0 && !(verify && anywhere): // the cold rows of a table that was dropped can be verified
			u.fail(ClassMissing, "", "table %q does not exist any more", t)
			return nil, nil
		case len(found) > 0 && !found[0].Owner && !anywhere:
			u.fail(ClassPrivilege, "", "the role %q is not owner of table %q any more", row.RunAs, t)
			return nil, nil
		}
		return []jobmanager.Table{t}, nil
	}
	if verify {
		rows, err := u.ledger.TablesWithSegments(ctx, row.Schema)
		return tablesOf(rows), err
	}
	rows, err := u.ledger.RegisteredTables(ctx, row.Schema)
	if err != nil {
		return nil, err
	}
	var schemas, names []string
	for _, t := range rows {
		schemas, names = append(schemas, t.Schema), append(names, t.Table)
	}
	owned := ""
	if row.Params["unregistered"] != "" {
		owned = row.Schema
	}
	found, err := u.ledger.TableRights(ctx, row.RunAs, schemas, names, owned)
	tables := make([]jobmanager.Table, 0, len(found))
	for _, f := range found {
		t := jobmanager.Table{Namespace: f.Schema, Name: f.Table}
		if len(tables) == 0 || tables[len(tables)-1] != t { // owned and registered
			tables = append(tables, t)
		}
	}
	return tables, err
}

func tablesOf(rows []ledger.RegisteredTable) []jobmanager.Table {
	tables := make([]jobmanager.Table, len(rows))
	for i, t := range rows {
		tables[i] = jobmanager.Table{Namespace: t.Schema, Name: t.Table}
	}
	return tables
}
