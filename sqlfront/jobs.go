package sqlfront

import (
	"context"
	"errors"
	"fmt"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// jobID reads the id that a statement names.
func (r *request) jobID(ref parse.JobRef) (jobmanager.JobID, error) {
	text := ref.ID
	if ref.Param > 0 {
		if len(r.args) < ref.Param || r.args[ref.Param-1] == nil {
			return jobmanager.JobID{}, &pgwire.Error{Code: codeNullValue, Message: "a job id cannot be null", Position: ref.Pos}
		}
		text = *r.args[ref.Param-1]
	}
	id, err := jobmanager.ParseJobID(text)
	if err != nil {
		return id, sqlError(err, ref.Pos)
	}
	return id, nil
}

func notFound(id jobmanager.JobID, pos int) error {
	return &pgwire.Error{Code: codeUndefined, Message: fmt.Sprintf("job %q not found", id), Position: pos}
}

// kill runs KILL JOB.
func (r *request) kill(ctx context.Context, s *parse.KillJob) ([][]any, error) {
	return r.change(ctx, s.Job, func(ctx context.Context, id jobmanager.JobID) (jobmanager.Status, error) {
		return jobmanager.Cancelling, r.jobs.CancelJob(ctx, id)
	})
}

// pause runs PAUSE JOB.
func (r *request) pause(ctx context.Context, s *parse.PauseJob) ([][]any, error) {
	return r.setPaused(ctx, "pause", s.Job, jobmanager.Pausing, jobmanager.Pauser.PauseJob)
}

// resume runs RESUME JOB.
func (r *request) resume(ctx context.Context, s *parse.ResumeJob) ([][]any, error) {
	return r.setPaused(ctx, "resume", s.Job, jobmanager.Running, jobmanager.Pauser.ResumeJob)
}

// setPaused asks a manager that can pause jobs for a change of one.
func (r *request) setPaused(ctx context.Context, verb string, job parse.JobRef, asked jobmanager.Status, change func(jobmanager.Pauser, context.Context, jobmanager.JobID) error) ([][]any, error) {
	return r.change(ctx, job, func(ctx context.Context, id jobmanager.JobID) (jobmanager.Status, error) {
		p, ok := r.jobs.(jobmanager.Pauser)
		if !ok {
			return "", &pgwire.Error{Code: codeNotSupported, Position: job.Pos, Message: "the job manager of this front-end cannot " + verb + " jobs",
				Hint: "KILL JOB 'id' stops a job; a later FLUSH takes the rows that are still hot"}
		}
		return r.standing(ctx, id, asked, change(p, ctx, id))
	})
}

// standing says where a job stands after a request that ended with err: mostly where it was asked to, but it may be
// cancelling, or have been paused for a while. The request is carried out even if nobody can tell.
func (r *request) standing(ctx context.Context, id jobmanager.JobID, asked jobmanager.Status, err error) (jobmanager.Status, error) {
	if err != nil {
		return "", err
	}
	info, err := r.jobs.JobStatus(ctx, id)
	if err != nil {
		return asked, nil
	}
	return info.Status, nil
}

// change runs a statement that changes a job. It acts at once, also inside a transaction: there is no taking it back.
func (r *request) change(ctx context.Context, ref parse.JobRef, ask func(context.Context, jobmanager.JobID) (jobmanager.Status, error)) ([][]any, error) {
	id, err := r.jobID(ref)
	if err != nil {
		return nil, err
	}
	t, err := r.look(ctx, id.Table)
	if err != nil {
		return nil, err
	}
	status, err := r.changeOne(ctx, t, id, ref.Pos, ask)
	if err != nil {
		r.audit(ctx, t.actor, id.String(), sqlError(err, 0).Code)
		return nil, err
	}
	r.audit(ctx, t.actor, id.String(), string(status))
	return [][]any{{id.String(), string(status)}}, nil
}

func (r *request) changeOne(ctx context.Context, t target, id jobmanager.JobID, pos int,
	ask func(context.Context, jobmanager.JobID) (jobmanager.Status, error)) (jobmanager.Status, error) {
	if err := r.up.Release(); err != nil {
		return "", err
	}
	if !t.anywhere() && !(t.exists && t.owner) {
		// Who may not change it may still learn that there is no such job.
		if _, err := r.jobs.JobStatus(ctx, id); errors.Is(err, jobmanager.ErrJobNotFound) {
			return "", notFound(id, pos)
		}
		return "", r.mayNotChange(id, pos)
	}
	status, err := ask(ctx, id)
	if errors.Is(err, jobmanager.ErrJobNotFound) {
		return "", notFound(id, pos)
	}
	if err != nil {
		return "", sqlError(err, pos)
	}
	return status, nil
}

// mayList reports whether the actor may see all jobs: who may read system.jobs may.
func (r *request) mayList(ctx context.Context) (bool, error) { return r.mayRead(ctx, viewJobs) }

// mayRead reports whether the actor may read a view of the system schema, or could read all in it anyway.
func (r *request) mayRead(ctx context.Context, view string) (bool, error) {
	ok := false
	err := r.pinned(ctx, func() error {
		rows, err := r.up.Query(ctx, `
			SELECT coalesce((SELECT has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
			                 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			                 WHERE n.nspname = $1::name AND c.relname = $3::name), false)
			    OR coalesce((SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = $2::name), false)
			    OR coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false)`, r.opt.SystemSchema, r.opt.Operator, view)
		ok = err == nil && len(rows) == 1 && str(rows[0][0]) == "t"
		return err
	})
	return ok, err
}

func (r *request) showJobs(ctx context.Context) ([][]any, error) {
	ok, err := r.mayList(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, &pgwire.Error{Code: codePrivilege, Message: "permission denied for view jobs",
			Hint: fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO …; GRANT SELECT ON %[1]s.jobs TO …", parse.QuoteName(r.opt.SystemSchema))}
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	var rows [][]any
	for info, err := range r.jobs.ListJobs(ctx, jobmanager.JobFilter{}) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, jobRow(info))
	}
	return rows, nil
}

// showJob shows one job, at once or when it has ended, to those who may see all, and to those who may flush its table.
func (r *request) showJob(ctx context.Context, s *parse.ShowJob) ([][]any, error) {
	if s.WhenComplete && r.up.Block() != pgwire.Idle {
		return nil, errWhenInTransaction
	}
	id, err := r.jobID(s.Job)
	if err != nil {
		return nil, err
	}
	t, err := r.look(ctx, id.Table)
	if err != nil {
		return nil, err
	}
	ok := t.anywhere() || t.exists && t.owner
	if !ok {
		if ok, err = r.mayList(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	info, err := r.jobs.JobStatus(ctx, id)
	switch {
	case errors.Is(err, jobmanager.ErrJobNotFound):
		return nil, notFound(id, s.Job.Pos)
	case err != nil:
		return nil, err
	case !ok:
		return nil, &pgwire.Error{Code: codePrivilege, Position: s.Job.Pos, Message: fmt.Sprintf("permission denied for job %q", id)}
	}
	if s.WhenComplete && !info.Status.Terminal() {
		if info, err = r.waitOne(ctx, id); err != nil {
			return nil, err
		}
	}
	r.tellFindings(ctx, info)
	return [][]any{jobRow(info)}, nil
}

var errWhenInTransaction = &pgwire.Error{Code: codeActiveTx, Message: "SHOW JOB … WHEN COMPLETE cannot run inside a transaction block",
	Hint: "locks of the transaction could keep the job from ever ending"}
