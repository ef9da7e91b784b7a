package sqlfront

import (
	"context"
	"errors"
	"fmt"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

const jobRestore jobmanager.JobType = "restore"

// restoreOptions lists the options of RESTORE in the order in which an error names them.
var restoreOptions = []option{
	{"wait", boolean},
	{"parallelism", between(1, 64)},
	{"lock_timeout", milliseconds},
	{"on_conflict", conflicts},
	{"drop_columns", list},
	{"triggers", oneOf("fire")},
	{"replicate", boolean},
}

// conflicts reads on_conflict. An error is the default.
func conflicts(text string) (string, error) {
	word, err := oneOf("error", "skip")(text)
	if word == "error" {
		word = ""
	}
	return word, err
}

// restoreTable runs RESTORE TABLE.
func (r *request) restoreTable(ctx context.Context, s *parse.RestoreTable) ([][]any, error) {
	params, err := readOptionsOf(restoreOptions, s.Options)
	if err != nil {
		return nil, err
	}
	wait := params["wait"] != ""
	delete(params, "wait")
	if wait && r.up.Block() != pgwire.Idle {
		return nil, &pgwire.Error{Code: codeActiveTx, Message: "RESTORE … WITH (wait = true) cannot run inside a transaction block", Hint: errWaitInTransaction.Hint}
	}
	t, err := r.readRestore(ctx, s, params)
	if err == nil {
		err = r.up.Release() // no lock or snapshot is held while the job service answers
	}
	if err == nil && params["from_job"] != "" {
		err = r.knownJob(ctx, params["from_job"], s.Job.Pos)
	}
	if err == nil && r.opt.CheckRestore != nil {
		err = r.refuseBy(ctx, r.opt.CheckRestore, t, params, s.Table.Pos)
	}
	var started launch
	if err == nil {
		started, err = r.startJob(ctx, jobRestore, t, params)
	}
	if err != nil {
		r.auditError(ctx, t.actor, err, s.Table.Pos)
		return nil, sqlError(err, s.Table.Pos)
	}
	r.policyRests(ctx, t)
	if wait {
		return r.waitFor(ctx, []launch{started})
	}
	return [][]any{started.row()}, nil
}

// readRestore checks all that a RESTORE TABLE asks for, and puts into the parameters which rows that is.
func (r *request) readRestore(ctx context.Context, s *parse.RestoreTable, params map[string]string) (target, error) {
	if s.Job != nil {
		id, err := r.jobID(*s.Job)
		if err != nil {
			return target{}, err
		}
		if want := (jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table}); id.Table != want {
			return target{}, &pgwire.Error{Code: codeInvalidValue, Position: s.Job.Pos, Message: fmt.Sprintf("job %q is not one of table %s", id, want),
				Hint: fmt.Sprintf("RESTORE TABLE %s FROM JOB '%s'", parse.Name{Schema: id.Table.Namespace, Table: id.Table.Name}, id)}
		}
		params["from_job"] = id.String()
	}
	t, err := r.resolve(ctx, s.Table)
	if err == nil {
		err = mayFireTriggers(t.actor, params)
	}
	if err == nil && s.Where != nil {
		params["where"], err = r.checkPredicate(ctx, t, s.Where)
	}
	return t, err
}

// knownJob refuses a job that nobody knows: neither the ledger's segments nor the job manager, which forgets.
func (r *request) knownJob(ctx context.Context, job string, pos int) error {
	id, err := jobmanager.ParseJobID(job)
	if err != nil {
		return err
	}
	if wrote, err := r.catalog.WroteSegments(ctx, id); err != nil || wrote {
		return err
	}
	_, err = r.jobs.JobStatus(ctx, id)
	if errors.Is(err, jobmanager.ErrJobNotFound) {
		return notFound(id, pos)
	}
	return err
}
