package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

const jobFlush jobmanager.JobType = "flush"

// flushTable runs FLUSH TABLE.
func (r *request) flushTable(ctx context.Context, s *parse.FlushTable) ([][]any, error) {
	t, params, err := r.readFlush(ctx, s)
	if err != nil {
		return nil, err
	}
	wait := params["wait"] != ""
	delete(params, "wait")
	if wait && r.up.Block() != pgwire.Idle {
		return nil, errWaitInTransaction
	}
	if err := r.up.Release(); err != nil { // no lock or snapshot is held while the job service answers
		return nil, err
	}
	var started launch
	taken, err := r.policyDefaults(ctx, t.table, s.Options, params)
	if err == nil {
		err = r.refuse(ctx, t, params, s.Table.Pos)
	}
	if err == nil {
		started, err = r.start(ctx, t, params)
	}
	if err != nil {
		err = ofPolicy(err, taken)
		pos := blame(err, s.Options, s.Table.Pos)
		r.auditError(ctx, t.actor, err, pos)
		return nil, sqlError(err, pos)
	}
	if wait {
		return r.waitAndTell(ctx, []launch{started})
	}
	return [][]any{started.row()}, nil
}

// readFlush checks all that a FLUSH TABLE asks for, and returns its table and parameters, "wait" among them.
func (r *request) readFlush(ctx context.Context, s *parse.FlushTable) (target, map[string]string, error) {
	params, err := readOptions(s.Options, "unregistered")
	if err != nil {
		return target{}, nil, err
	}
	t, err := r.resolve(ctx, s.Table)
	if err == nil {
		err = mayFireTriggers(t.actor, params)
	}
	if err == nil {
		err = r.readRows(ctx, t, s, params)
	}
	if err != nil {
		r.auditError(ctx, t.actor, err, s.Table.Pos)
		return target{}, nil, err
	}
	return t, params, nil
}

// readRows puts into the parameters which rows a FLUSH TABLE asks for.
func (r *request) readRows(ctx context.Context, t target, s *parse.FlushTable, params map[string]string) (err error) {
	if err := r.settleAges(ctx, t, s.Age, s.Options, params); err != nil {
		return err
	}
	if s.Where != nil {
		params["where"], err = r.checkPredicate(ctx, t, s.Where)
	}
	return err
}

var errWaitInTransaction = waitInTransaction("FLUSH")

func waitInTransaction(verb string) *pgwire.Error {
	return &pgwire.Error{Code: codeActiveTx, Message: verb + " … WITH (wait = true) cannot run inside a transaction block",
		Hint: "locks of the transaction could keep the job from ever ending"}
}

// mayFireTriggers: triggers of a table run with the worker's rights, so its owner's word is not enough.
func mayFireTriggers(a actor, params map[string]string) error {
	if params["triggers"] != "" && !a.anywhere() {
		return &pgwire.Error{Code: codePrivilege, Message: "permission denied for option \"triggers\"",
			Hint: "triggers would run with the rights of the worker's role; it takes an operator or a superuser"}
	}
	return nil
}

// launch is a job that a statement started or found.
type launch struct {
	jobmanager.Started
	target jobmanager.Table
	status jobmanager.Status
	err    string
}

func (s launch) row() []any {
	if s.err != "" && s.ID.IsZero() {
		return []any{nil, nil, nil, s.target.String(), s.err}
	}
	return []any{s.ID.String(), string(s.status), s.Existing, known(s.target.String()), known(s.err)}
}

// start starts a flush.
func (r *request) start(ctx context.Context, t target, params map[string]string) (launch, error) {
	return r.startJob(ctx, jobFlush, t, params)
}

// startJob starts a job of any type, or finds it.
func (r *request) startJob(ctx context.Context, jobType jobmanager.JobType, t target, params map[string]string) (launch, error) {
	spec := jobmanager.JobSpec{
		Type: jobType, Table: t.table, Params: params,
		Statement: r.text, RequestedBy: t.user, Trigger: jobmanager.TriggerCommand,
	}
	got, err := r.jobs.StartJob(ctx, spec)
	if err != nil {
		return launch{}, err
	}
	s := launch{Started: got, target: t.table, status: jobmanager.Pending}
	outcome := "started"
	if got.Existing {
		outcome, s.status = "existing", jobmanager.Running
		if info, err := r.jobs.JobStatus(ctx, got.ID); err == nil {
			s.status = info.Status
		}
	}
	r.audit(ctx, t.actor, got.ID.String(), outcome)
	return s, nil
}

// flushAll runs FLUSH ALL: one job per table, and one table's trouble is not another's.
func (r *request) flushAll(ctx context.Context, s *parse.FlushAll) ([][]any, error) {
	params, err := readOptions(s.Options, "as_text", "keep_rows", "age_column") // columns are of one table
	if err != nil {
		return nil, err
	}
	wait, unregistered := params["wait"] != "", params["unregistered"] != ""
	delete(params, "wait")
	delete(params, "unregistered")
	switch {
	case wait && r.up.Block() != pgwire.Idle:
		return nil, errWaitInTransaction
	case unregistered && s.In == "":
		return nil, &pgwire.Error{Code: codeInvalidValue, Message: "unregistered = true needs IN schema",
			Hint: "FLUSH ALL TABLES IN app WITH (unregistered = true)"}
	}
	tables, err := r.tablesOf(ctx, s, unregistered)
	if err != nil {
		return nil, err
	}
	var list []launch
	for _, table := range tables {
		one, err := r.flushOne(ctx, table, s.Options, maps.Clone(params))
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	if wait {
		return r.waitAndTell(ctx, list)
	}
	rows := make([][]any, len(list))
	for i, one := range list {
		rows[i] = one.row()
	}
	return rows, nil
}

// flushOne starts the flush of one table among many. The error is one that ends the statement.
func (r *request) flushOne(ctx context.Context, table jobmanager.Table, opts []parse.Option, params map[string]string) (launch, error) {
	t, err := r.look(ctx, table)
	if err != nil {
		return launch{}, err
	}
	err = r.flushable(t, 0)
	if err == nil {
		err = mayFireTriggers(t.actor, params)
	}
	var one launch
	if err == nil {
		if err := r.up.Release(); err != nil {
			return one, err
		}
		var taken []string
		if taken, err = r.policyDefaults(ctx, table, opts, params); err == nil {
			err = r.refuse(ctx, t, params, 0)
		}
		if err == nil {
			one, err = r.start(ctx, t, params)
		}
		err = ofPolicy(err, taken)
	}
	if err == nil {
		return one, nil
	}
	r.auditError(ctx, t.actor, err, 0)
	if ctx.Err() != nil || errors.Is(err, jobmanager.ErrUnavailable) {
		return one, err
	}
	e := sqlError(err, 0)
	return launch{target: table, err: fmt.Sprintf("%s (%s)", e.Message, e.Code)}, nil
}

// tablesOf lists what FLUSH ALL covers.
func (r *request) tablesOf(ctx context.Context, s *parse.FlushAll, unregistered bool) ([]jobmanager.Table, error) {
	tables, err := r.catalog.RegisteredTables(ctx, s.In)
	if err != nil {
		return nil, err
	}
	if unregistered {
		if tables, err = r.addOwned(ctx, s.In, tables); err != nil {
			return nil, err
		}
	}
	if len(tables) > 0 {
		return tables, nil
	}
	e := &pgwire.Error{Code: codeUndefined, Position: s.InPos, Message: "no table is registered",
		Hint: "a table is registered by its first FLUSH TABLE; FLUSH ALL TABLES IN schema WITH (unregistered = true) includes the others"}
	if s.In != "" {
		e.Message = fmt.Sprintf("no table of the schema \"%s\" is registered", s.In)
	}
	if unregistered {
		e.Message, e.Hint = fmt.Sprintf("the schema \"%s\" has no table that you own", s.In), ""
	}
	return nil, e
}

// addOwned adds the actor's own tables of a schema. Partitions go with their parents.
func (r *request) addOwned(ctx context.Context, schema string, tables []jobmanager.Table) ([]jobmanager.Table, error) {
	have := map[jobmanager.Table]bool{}
	for _, t := range tables {
		have[t] = true
	}
	err := r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `
			SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = $1::name AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
			  AND pg_has_role(c.relowner, 'USAGE') ORDER BY c.relname`, schema)
		for _, row := range rows {
			t := jobmanager.Table{Namespace: schema, Name: str(row[0])}
			if !have[t] {
				tables = append(tables, t)
			}
		}
		return err
	})
	return tables, err
}
