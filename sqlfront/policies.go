package sqlfront

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Policies knows when and what tables flush by themselves.
type Policies interface {
	// Set gives a table a policy in place of any that it had. Error: ErrNoStorage.
	Set(ctx context.Context, spec PolicySpec) error
	// Reset takes it away, Pause and Resume make it rest and go on. Error: ErrNoPolicy.
	Reset(ctx context.Context, table jobmanager.Table) error
	Pause(ctx context.Context, table jobmanager.Table, user string) error
	Resume(ctx context.Context, table jobmanager.Table) error
	// Policy returns a table's. Error: ErrNoPolicy.
	Policy(ctx context.Context, table jobmanager.Table) (Policy, error)
	// Policies lists all by their tables' names.
	Policies(ctx context.Context) ([]Policy, error)
}

// Errors of Policies.
var (
	ErrNoPolicy  = errors.New("the table has no flush policy")
	ErrNoStorage = errors.New("the storage does not exist")
)

// PolicyRule is what a policy says. The parameters in Flush are those of the flushes that it starts.
type PolicyRule struct {
	Interval time.Duration // 0: none
	Rows     int64         // 0: none
	Bytes    int64         // 0: none
	MinRows  int64         // at least 1
	Flush    map[string]string
}

// PolicySpec is a policy as a statement sets it.
type PolicySpec struct {
	PolicyRule
	Table     jobmanager.Table
	User      string // who asks
	Statement string
	Paused    bool
}

// Policy is a table's policy and what became of it: one row of SHOW FLUSH POLICIES.
type Policy struct {
	PolicyRule
	Unreadable string // why its rule could not be read; "": it was
	Table      jobmanager.Table
	SetBy      string
	SetAt      *time.Time
	Statement  string
	PausedAt   *time.Time
	PausedBy   string
	JobID      string
	Failures   int64
	Error      string
	ErrorClass string
	NextTry    *time.Time
	LastFlush  *time.Time
	NextFlush  *time.Time
}

// status is what system.tables.policy_status says.
func (p *Policy) status() string {
	switch {
	case p.Unreadable != "":
		return "unreadable"
	case p.PausedAt != nil:
		return "paused"
	case p.Failures > 0:
		return "failing"
	}
	return "active"
}

var (
	// of the statements that change policies
	policyChangeColumns = []pgwire.Column{text("table"), text("status"), moment("next_flush_at")}

	// of SHOW FLUSH POLICIES and SHOW FLUSH POLICY FOR
	policyColumns = []pgwire.Column{
		text("table"), text("status"), text("interval"), count("rows"), count("bytes"), count("min_rows"), text("flush"),
		moment("last_flush_at"), moment("next_flush_at"), text("set_by"), moment("set_at"), moment("paused_at"), text("paused_by"),
		text("job_id"), count("failures"), text("error"), text("error_class"), moment("next_try"), text("statement"),
	}
)

func policyRow(p *Policy) ([]any, error) {
	above0 := func(n int64) any {
		if n > 0 {
			return n
		}
		return nil
	}
	var interval, flush any
	if p.Interval > 0 {
		interval = p.Interval.String()
	}
	if len(p.Flush) > 0 {
		shown := map[string]string{}
		for name, value := range p.Flush {
			if name == "where" {
				value = unguarded(value)
			}
			shown[name] = value
		}
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // people read it
		if err := e.Encode(shown); err != nil {
			return nil, err
		}
		flush = strings.TrimSpace(b.String())
	}
	problem := p.Error
	if p.Unreadable != "" {
		problem = p.Unreadable
	}
	return []any{
		p.Table.String(), p.status(), interval, above0(p.Rows), above0(p.Bytes), above0(p.MinRows), flush,
		instant(p.LastFlush), instant(p.NextFlush), known(p.SetBy), instant(p.SetAt), instant(p.PausedAt), known(p.PausedBy),
		known(p.JobID), p.Failures, known(problem), known(p.ErrorClass), instant(p.NextTry), known(p.Statement),
	}, nil
}

// policies are those of the front-end, or an error without.
func (r *request) policies() (Policies, error) {
	if r.opt.Policies == nil {
		return nil, &pgwire.Error{Code: codeNotSupported, Message: "this front-end knows no flush policies"}
	}
	return r.opt.Policies, nil
}

// setPolicy runs ALTER TABLE … SET FLUSH POLICY. All that it says is checked now: a policy that can never flush is none.
func (r *request) setPolicy(ctx context.Context, s *parse.SetPolicy) ([][]any, error) {
	a, err := r.trySetPolicy(ctx, s)
	if err != nil {
		e := optionAtFault(sqlError(err, blame(err, s.Options, s.Table.Pos)), s.Options)
		r.auditError(ctx, a, e, e.Position)
		return nil, e
	}
	r.audit(ctx, a, "", "policy set")
	return r.policyStatus(ctx, jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table}, "set")
}

// optionAtFault moves an error about something that an option names to the option.
func optionAtFault(e *pgwire.Error, opts []parse.Option) *pgwire.Error {
	of := map[string]string{codeUndefined: "storage", codeUndefinedColumn: "as_text"}[e.Code]
	o := optionNamed(opts, of)
	if of == "" || o.Name == "" || !strings.Contains(e.Message, of) {
		return e
	}
	moved := *e
	moved.Position = o.ValuePos
	return &moved
}

func (r *request) trySetPolicy(ctx context.Context, s *parse.SetPolicy) (actor, error) {
	list, err := r.policies()
	if err != nil {
		return actor{}, err
	}
	t, err := r.resolve(ctx, s.Table)
	if err != nil {
		return t.actor, err
	}
	rule, paused, err := r.readPolicy(ctx, t, s)
	if err == nil {
		err = r.up.Release() // no lock or snapshot is held while others are asked
	}
	if err == nil {
		err = r.mustFit(ctx, t, rule.Flush, s.Table.Pos)
	}
	if err != nil {
		return t.actor, err
	}
	err = list.Set(ctx, PolicySpec{PolicyRule: rule, Table: t.table, User: t.actor.user, Statement: r.text, Paused: paused})
	if errors.Is(err, ErrNoStorage) {
		err = &jobmanager.SpecError{Param: "storage", Msg: fmt.Sprintf("storage \"%s\" does not exist", rule.Flush["storage"]), Hint: "SHOW STORAGES lists them"}
	}
	return t.actor, err
}

// policyPatience bounds the look at a table whose policy is set.
const policyPatience = 20 * time.Second

// mustFit wants the planner's word that such a flush can be run. Unlike a job, nobody finds out for a policy soon after.
func (r *request) mustFit(ctx context.Context, t target, params map[string]string, pos int) error {
	if r.opt.Planner == nil {
		return nil
	}
	looking, cancel := context.WithTimeout(ctx, policyPatience)
	defer cancel()
	no, err := r.opt.Planner.Check(looking, t.table, params)
	known, refused := r.refusal(ctx, t, no, err, pos)
	if !known {
		return &pgwire.Error{Code: codeNotReady, Position: pos, Message: fmt.Sprintf("table %s could not be looked at: %v", t.table, err), Hint: "nothing was set; try again"}
	}
	return refused
}

// changePolicy runs ALTER TABLE … RESET, PAUSE or RESUME FLUSH POLICY.
func (r *request) changePolicy(ctx context.Context, s *parse.ChangePolicy) ([][]any, error) {
	list, err := r.policies()
	if err != nil {
		return nil, err
	}
	table := jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table}
	t, err := r.look(ctx, table)
	if err == nil && (t.exists || !t.anywhere()) { // an operator clears away what a dropped table left
		err = r.flushable(t, s.Table.Pos)
	}
	if err == nil {
		err = r.up.Release()
	}
	var done string
	if err == nil {
		switch s.Verb {
		case "RESET":
			done, err = "reset", list.Reset(ctx, table)
		case "PAUSE":
			done, err = "paused", list.Pause(ctx, table, t.actor.user)
		default:
			done, err = "resumed", list.Resume(ctx, table)
		}
	}
	if errors.Is(err, ErrNoPolicy) {
		err = noPolicy(table, s.Table)
	}
	if err != nil {
		r.auditError(ctx, t.actor, err, s.Table.Pos)
		return nil, sqlError(err, s.Table.Pos)
	}
	r.audit(ctx, t.actor, "", "policy "+done)
	return r.policyStatus(ctx, table, done)
}

func noPolicy(table jobmanager.Table, name parse.Name) error {
	return &pgwire.Error{Code: codeUndefined, Position: name.Pos, Message: fmt.Sprintf("table %s has no flush policy", table),
		Hint: fmt.Sprintf("ALTER TABLE %s SET FLUSH POLICY (interval = '1 hour') gives it one", name)}
}

// policyStatus is the answer of a statement that has changed a policy: where it stands now. done is the word for one that is not there.
func (r *request) policyStatus(ctx context.Context, table jobmanager.Table, done string) ([][]any, error) {
	p, err := r.opt.Policies.Policy(ctx, table)
	if err != nil { // what was done is done
		return [][]any{{table.String(), done, nil}}, nil
	}
	return [][]any{{table.String(), p.status(), instant(p.NextFlush)}}, nil
}

// showPolicies shows all policies to those who may read system.tables.
func (r *request) showPolicies(ctx context.Context) ([][]any, error) {
	ok, err := r.mayRead(ctx, "tables")
	if err == nil && !ok {
		err = &pgwire.Error{Code: codePrivilege, Message: "permission denied for view tables",
			Hint: fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO …; GRANT SELECT ON %[1]s.tables TO …", parse.QuoteName(r.opt.SystemSchema))}
	}
	if err != nil {
		return nil, err
	}
	policies, err := r.policies()
	if err == nil {
		err = r.up.Release()
	}
	if err != nil {
		return nil, err
	}
	list, err := policies.Policies(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([][]any, len(list))
	for i := range list {
		if rows[i], err = policyRow(&list[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// showPolicy shows one policy, to its table's owner too.
func (r *request) showPolicy(ctx context.Context, s *parse.ShowPolicy) ([][]any, error) {
	policies, err := r.policies()
	if err != nil {
		return nil, err
	}
	table := jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table}
	t, err := r.look(ctx, table)
	if err != nil {
		return nil, err
	}
	ok := t.anywhere() || t.exists && t.owner
	if !ok {
		if ok, err = r.mayRead(ctx, "tables"); err != nil {
			return nil, err
		}
	}
	if !ok {
		return nil, r.flushable(t, s.Table.Pos)
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	p, err := policies.Policy(ctx, table)
	if errors.Is(err, ErrNoPolicy) {
		if !t.exists {
			return nil, r.flushable(t, s.Table.Pos)
		}
		return nil, noPolicy(table, s.Table)
	}
	if err != nil {
		return nil, err
	}
	row, err := policyRow(&p)
	return [][]any{row}, err
}
