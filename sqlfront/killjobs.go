package sqlfront

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// victim is a live job that KILL JOBS found, and what became of it.
type victim struct {
	jobmanager.JobInfo
	actor actor
	may   bool // the actor may kill it
	err   error
}

// killers is how many jobs are cancelled at once.
const killers = 8

// killJobs runs KILL JOBS WHERE …. It acts at once, also inside a transaction. One job's trouble is not another's: a job that
// the actor may not kill, or that ended meanwhile, is a row with its error.
func (r *request) killJobs(ctx context.Context, s *parse.KillJobs) ([][]any, error) {
	list, who, err := r.victims(ctx, s.Where)
	if err != nil {
		r.auditError(ctx, who, err, 0)
		return nil, err
	}
	if len(list) == 0 {
		r.audit(ctx, who, "", "no job")
	}
	if err := r.killAll(ctx, list); err != nil {
		return nil, err
	}
	rows := make([][]any, len(list))
	for i, v := range list {
		rows[i] = []any{v.ID.String(), string(v.Status), v.complaint()}
	}
	return rows, nil
}

// explainKill runs EXPLAIN KILL JOBS WHERE …: the same rows, and no job is killed.
func (r *request) explainKill(ctx context.Context, s *parse.ExplainKill) ([][]any, error) {
	list, _, err := r.victims(ctx, s.Kill.Where)
	if err != nil {
		return nil, err
	}
	rows := make([][]any, len(list))
	for i, v := range list {
		if !v.may {
			v.err = r.mayNotChange(v.ID, 0)
		}
		rows[i] = []any{v.ID.String(), string(v.Status), v.complaint(), v.ID.Table.String(), known(v.RequestedBy), v.CreatedAt, v.RowsFlushed}
	}
	return rows, nil
}

// complaint is the error column of a job: NULL, or the error with its SQLSTATE.
func (v *victim) complaint() any {
	if v.err == nil {
		return nil
	}
	e := sqlError(v.err, 0)
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

// killAll cancels jobs, some at a time, and records each. Only the end of ctx is an error of the statement.
func (r *request) killAll(ctx context.Context, list []victim) error {
	next, done := make(chan int), make(chan int)
	for range min(killers, len(list)) {
		go func() {
			for i := range next {
				list[i].err = r.killVictim(ctx, &list[i])
				done <- i
			}
		}()
	}
	defer close(next)
	for begun, ended := 0, 0; ended < len(list); {
		feed := next
		if begun == len(list) {
			feed = nil
		}
		select {
		case feed <- begun:
			begun++
		case i := <-done:
			ended++
			v := &list[i]
			outcome := string(v.Status)
			if v.err != nil {
				outcome = sqlError(v.err, 0).Code
			}
			r.audit(ctx, v.actor, v.ID.String(), outcome)
		}
	}
	return context.Cause(ctx)
}

// killVictim cancels one job and notes its status.
func (r *request) killVictim(ctx context.Context, v *victim) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !v.may {
		return r.mayNotChange(v.ID, 0)
	}
	err := r.jobs.CancelJob(ctx, v.ID)
	var ended *jobmanager.FinishedError
	switch {
	case errors.As(err, &ended):
		v.Status = ended.Status
	case errors.Is(err, jobmanager.ErrJobNotFound):
		return notFound(v.ID, 0)
	case err == nil:
		v.Status = jobmanager.Cancelling
	}
	return err
}

// victims returns the live jobs that match, in the order of their ids, and who asks. Nothing is held afterwards.
func (r *request) victims(ctx context.Context, p *parse.Predicate) ([]victim, actor, error) {
	me, err := r.look(ctx, jobmanager.Table{})
	if err != nil {
		return nil, actor{}, err
	}
	ids, jobs, err := r.matching(ctx, p)
	if err != nil {
		return nil, me.actor, err
	}
	list := make([]victim, 0, len(ids))
	for _, id := range ids {
		if info, ok := jobs[id]; ok { // what is not live cannot be killed
			list = append(list, victim{JobInfo: info, actor: me.actor, may: me.anywhere()})
		}
	}
	slices.SortFunc(list, func(a, b victim) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	list = slices.CompactFunc(list, func(a, b victim) bool { return a.ID == b.ID })
	if !me.anywhere() {
		err = r.markOwn(ctx, list)
	}
	return list, me.actor, errors.Join(err, r.up.Release())
}

// matching lets PostgreSQL tell which live jobs match, on the client's session, with the client's rights and settings. The
// text is one expression of one statement: its brackets and quotes are closed, and PostgreSQL takes no second statement in
// this protocol. Whatever else it is, it can do no more than the client could by a SELECT.
func (r *request) matching(ctx context.Context, p *parse.Predicate) ([]string, map[string]jobmanager.JobInfo, error) {
	// The status comes first, and as constants: PostgreSQL need not look at the history then.
	view := parse.QuoteName(r.opt.SystemSchema) + "." + viewJobs
	head := "SELECT " + view + ".job_id FROM " + view + " WHERE " + view + ".status OPERATOR(pg_catalog.=) ANY ('" + liveStatuses() + "'::pg_catalog.text[]) AND (\n"
	query := head + p.Text + "\n)"
	var jobs map[string]jobmanager.JobInfo
	cut := narrowFor(query, parse.NarrowCondition(p.Text, r.opt.SystemSchema))
	err := r.fillView(ctx, r.up, viewJobs, cut, func(f *Front, ctx context.Context, only *parse.Narrowing) (text string, err error) {
		text, jobs, err = f.renderJobs(ctx, only)
		return text, err
	})
	if err != nil {
		return nil, nil, err
	}
	rows, err := r.up.Query(ctx, query)
	if err != nil {
		return nil, nil, r.hintRights(moveInto(err, p, head))
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = str(row[0])
	}
	return ids, jobs, nil
}

// hintRights tells who may not read the view what to do.
func (r *request) hintRights(err error) error {
	var e *pgwire.Error
	if errors.As(err, &e) && e.Code == codePrivilege && e.Hint == "" {
		told := *e
		told.Hint = "KILL JOBS takes what a SELECT of " + r.opt.SystemSchema + "." + viewJobs + " with this condition takes; KILL JOB 'id' does not"
		return &told
	}
	return err
}

// liveStatuses is an array of the statuses that live jobs have.
func liveStatuses() string {
	text := ""
	for _, s := range jobmanager.Statuses {
		if !s.Terminal() {
			text += "," + string(s)
		}
	}
	return "{" + text[1:] + "}"
}

// moveInto lets the position of an error, in a text that begins with head, point into the client's statement.
func moveInto(err error, p *parse.Predicate, head string) error {
	var e *pgwire.Error
	if !errors.As(err, &e) || e.Position == 0 {
		return err
	}
	moved := *e
	inside := e.Position - utf8.RuneCountInString(head)
	moved.Position = p.Pos + min(max(inside-1, 0), utf8.RuneCountInString(p.Text))
	return &moved
}

// markOwn notes of which jobs' tables the actor has the owner's rights.
func (r *request) markOwn(ctx context.Context, list []victim) error {
	type table struct {
		Namespace string `json:"ns"`
		Name      string `json:"name"`
	}
	tables := make([]table, len(list))
	for i, v := range list {
		tables[i] = table(v.ID.Table)
	}
	names, err := json.Marshal(tables)
	if err != nil {
		return err
	}
	return r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `
			SELECT k.i - 1, pg_has_role(c.relowner, 'USAGE')
			FROM (SELECT i, t ->> 'ns' AS ns, t ->> 'name' AS name FROM json_array_elements($1::json) WITH ORDINALITY AS e (t, i)) AS k
			JOIN pg_namespace AS n ON n.nspname = k.ns::name JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = k.name::name`, string(names))
		for _, row := range rows {
			var i int
			if _, err := fmt.Sscan(str(row[0]), &i); err != nil {
				return err
			}
			list[i].may = str(row[1]) == "t"
		}
		return err
	})
}

// mayNotChange is the error for a job of somebody else's table.
func (r *request) mayNotChange(id jobmanager.JobID, pos int) error {
	return &pgwire.Error{Code: codePrivilege, Position: pos, Message: fmt.Sprintf("permission denied for job %q", id),
		Hint: "it takes the owner of the table, a superuser, or a member of the role " + r.opt.Operator}
}
