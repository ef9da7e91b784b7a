package schedule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// The classes of runs that fail before a job does. Others are those of the jobs.
const (
	ClassPrivilege = "privilege"     // the creator may no longer do what the schedule does
	ClassMissing   = "missing_table" // the table is gone
	ClassInvalid   = "invalid"       // what it asks for cannot be run any more
	ClassLost      = "lost"          // nothing is known of how a job ended
)

const (
	jobFlush   jobmanager.JobType = "flush"
	jobVerify  jobmanager.JobType = "verify"
	jobCleanup jobmanager.JobType = "cleanup"
)

// maxRemembered is how many jobs a Progress names. It travels with every heartbeat; the jobs beyond are found by StartJob as
// long as they run.
const maxRemembered = 500

// Ledger is the part of *ledger.Ledger that a Runner needs.
type Ledger interface {
	ScheduleByID(ctx context.Context, id uuid.UUID) (ledger.ScheduleRow, error)
	ScheduleBegan(ctx context.Context, id uuid.UUID) error
	ScheduleStarted(ctx context.Context, id uuid.UUID, jobID string) error
	ScheduledJob(ctx context.Context, schedule, jobType, schema, table string, since time.Time) (jobID string, err error)
	ScheduleEnded(ctx context.Context, id uuid.UUID, status, jobID, message string) error
	RoleRights(ctx context.Context, login, runAs, operator string) (ledger.RoleRights, error)
	TableRights(ctx context.Context, role string, schemas, names []string, owned string) ([]ledger.TableRights, error)
	RegisteredTables(ctx context.Context, namespace string) ([]ledger.RegisteredTable, error)
	TablesWithSegments(ctx context.Context, namespace string) ([]ledger.RegisteredTable, error)
}

// Starter is the part of a job manager that a Runner needs.
type Starter interface {
	StartJob(ctx context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error)
	JobStatus(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error)
	WaitJob(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error)
}

// Options tune a Runner; nil means defaults.
type Options struct {
	Operator  string        // role whose members may work on every table; default "spillway_operator"
	TurnEvery time.Duration // how often a run looks whether a table is free; default 1 s
	Logger    *slog.Logger
}

// Runner does what is due.
type Runner struct {
	ledger Ledger
	jobs   Starter
	opt    Options
}

// New returns a Runner.
func New(l Ledger, jobs Starter, opt *Options) (*Runner, error) {
	if l == nil || jobs == nil {
		return nil, errors.New("a runner of schedules needs a ledger and a job manager")
	}
	r := &Runner{ledger: l, jobs: jobs}
	if opt != nil {
		r.opt = *opt
	}
	if r.opt.Operator == "" {
		r.opt.Operator = "spillway_operator"
	}
	if r.opt.TurnEvery <= 0 {
		r.opt.TurnEvery = time.Second
	}
	if r.opt.Logger == nil {
		r.opt.Logger = slog.New(slog.DiscardHandler)
	}
	return r, nil
}

// Input names a schedule.
type Input struct {
	Name string
	ID   string // tells it from an earlier one of the same name

	Since time.Time `json:"-"` // not zero: an earlier try of this run, which began then, may have died before it could tell what it had started
}

// Progress is what a run has done so far. It holds names only.
type Progress struct {
	Begun   bool
	Jobs    map[string]string `json:",omitempty"` // by table: the job that was started or found
	Waiting map[string]string `json:",omitempty"` // by table: the other job whose end is waited for
}

// Result is what became of a run.
type Result struct {
	Status    string // completed, cancelled; dropped: the schedule is gone
	Completed int
	Failed    int
	Cancelled int
}

// FailedError is returned by Run when a job failed or could not be started. It is final.
type FailedError struct {
	Class  string
	Result Result
	msg    string // may hold what belongs into the ledger alone
}

func (e *FailedError) Error() string { return e.msg }

// run is one run.
type run struct {
	*Runner
	row      ledger.ScheduleRow
	since    time.Time
	progress Progress
	report   func(Progress)
	result   Result
	failed   *FailedError
	worst    string // the job that tells most
}

// Run does what is due. report is called after each step. Errors: *FailedError; any other one may pass by itself.
func (r *Runner) Run(ctx context.Context, in Input, before Progress, report func(Progress)) (Result, error) {
	id, err := uuid.Parse(in.ID)
	if err != nil {
		return Result{}, &FailedError{Class: ClassInvalid, msg: fmt.Sprintf("schedule id: %v", err)}
	}
	row, err := r.ledger.ScheduleByID(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && row.State == ledger.ScheduleDropping {
		return Result{Status: "dropped"}, nil
	}
	if err != nil {
		return Result{}, err
	}
	u := &run{Runner: r, row: row, since: in.Since, progress: before, report: report}
	u.progress.Jobs = maps.Clone(u.progress.Jobs)
	if !u.progress.Begun {
		if err := r.ledger.ScheduleBegan(ctx, id); err != nil {
			return Result{}, err
		}
		u.progress.Begun = true
		u.told()
	}
	if err := u.work(ctx); err != nil {
		return Result{}, err
	}
	return u.end(ctx)
}

// told reports the progress as it is now.
func (u *run) told() {
	p := Progress{Begun: u.progress.Begun, Jobs: map[string]string{}, Waiting: map[string]string{}}
	for from, to := range map[*map[string]string]map[string]string{&u.progress.Jobs: p.Jobs, &u.progress.Waiting: p.Waiting} {
		for k, v := range *from {
			if len(to) < maxRemembered {
				to[k] = v
			}
		}
	}
	u.report(p)
}

// fail notes what went wrong. The first error is the run's.
func (u *run) fail(class, jobID, format string, args ...any) {
	u.result.Failed++
	if u.failed == nil {
		u.failed = &FailedError{Class: class, msg: fmt.Sprintf(format, args...)}
		u.worst = jobID
	}
}

// work starts all jobs and waits for them.
func (u *run) work(ctx context.Context) error {
	specs, err := u.specs(ctx)
	if err != nil || u.failed != nil {
		return err
	}
	var jobs []jobmanager.JobID
	for len(specs) > 0 {
		var later []jobmanager.JobSpec
		for _, spec := range specs {
			id, busy, err := u.start(ctx, spec)
			switch {
			case err != nil:
				return err
			case busy:
				later = append(later, spec)
			case !id.IsZero():
				jobs = append(jobs, id)
			}
		}
		if specs = later; len(specs) > 0 {
			if err := u.pause(ctx); err != nil {
				return err
			}
		}
	}
	for _, id := range jobs {
		if err := u.await(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (u *run) pause(ctx context.Context) error {
	t := time.NewTimer(u.opt.TurnEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// start starts one job, or finds it. busy: another one has the table.
func (u *run) start(ctx context.Context, spec jobmanager.JobSpec) (id jobmanager.JobID, busy bool, err error) {
	key := spec.Table.String()
	if known, err := jobmanager.ParseJobID(u.progress.Jobs[key]); err == nil {
		return known, false, nil
	}
	if other, err := jobmanager.ParseJobID(u.progress.Waiting[key]); err == nil {
		if info, err := u.jobs.JobStatus(ctx, other); err == nil && !info.Status.Terminal() {
			return id, true, nil // it is still there; asking costs less than a start that is refused
		}
	}
	if lost, err := u.untold(ctx, spec); err != nil || !lost.IsZero() {
		return lost, false, err
	}
	got, err := u.jobs.StartJob(ctx, spec)
	var inUse *jobmanager.BusyError
	var bad *jobmanager.SpecError
	switch {
	case errors.As(err, &inUse):
		if u.progress.Waiting == nil {
			u.progress.Waiting = map[string]string{}
		}
		if now := inUse.Running.String(); u.progress.Waiting[key] != now {
			u.progress.Waiting[key] = now
			u.opt.Logger.Info("schedule waits for another job", "schedule", u.row.Name, "table", key, "job", now)
			u.told()
		}
		return id, true, nil
	case errors.As(err, &bad):
		u.fail(ClassInvalid, "", "%s: %s", key, bad.Msg)
		return id, false, nil
	case err != nil:
		return id, false, err
	}
	u.has(key, got.ID)
	u.opt.Logger.Info("schedule started a job", "schedule", u.row.Name, "table", key, "job", got.ID.String(), "existing", got.Existing)
	return got.ID, false, u.ledger.ScheduleStarted(ctx, u.row.ID, got.ID.String())
}

// has notes whose end the run waits for.
func (u *run) has(key string, id jobmanager.JobID) {
	delete(u.progress.Waiting, key)
	if u.progress.Jobs == nil {
		u.progress.Jobs = map[string]string{}
	}
	u.progress.Jobs[key] = id.String()
	u.told()
}

// untold returns the job that an earlier try of this run started and did not live to tell of, if it has ended by now: one that lives is
// found by StartJob. Without this look the run would do its work twice.
func (u *run) untold(ctx context.Context, spec jobmanager.JobSpec) (id jobmanager.JobID, err error) {
	if u.since.IsZero() {
		return id, nil
	}
	text, err := u.ledger.ScheduledJob(ctx, u.row.Name, string(spec.Type), spec.Table.Namespace, spec.Table.Name, u.since)
	if err != nil || text == "" {
		return id, err
	}
	if id, err = jobmanager.ParseJobID(text); err != nil {
		return id, err
	}
	u.has(spec.Table.String(), id)
	return id, u.ledger.ScheduleStarted(ctx, u.row.ID, text) // that try may have died before this, too
}

// await waits for the end of a job.
func (u *run) await(ctx context.Context, id jobmanager.JobID) error {
	info, err := u.jobs.WaitJob(ctx, id)
	switch {
	case errors.Is(err, jobmanager.ErrJobNotFound): // Temporal's store was lost, or the job is long forgotten
		u.fail(ClassLost, id.String(), "job \"%s\" is not known any more", id)
		return nil
	case err != nil:
		return err
	}
	switch info.Status {
	case jobmanager.Completed:
		u.result.Completed++
	case jobmanager.Cancelled:
		u.result.Cancelled++
		if u.worst == "" {
			u.worst = id.String()
		}
	default:
		u.fail(info.ErrorClass, id.String(), "%s: %s", id, info.Error)
	}
	return nil
}

// end records what became of the run. A job that somebody killed is no failure: that was a decision, and the next run may do
// what was left.
func (u *run) end(ctx context.Context) (Result, error) {
	status, message := "completed", ""
	switch {
	case u.failed != nil:
		status, message = "failed", u.failed.msg
	case u.result.Cancelled > 0:
		status = "cancelled"
	}
	if err := u.ledger.ScheduleEnded(ctx, u.row.ID, status, u.worst, message); err != nil {
		return Result{}, err
	}
	u.result.Status = status
	u.opt.Logger.Info("schedule ran", "schedule", u.row.Name, "status", status, "completed", u.result.Completed, "failed", u.result.Failed, "cancelled", u.result.Cancelled)
	if u.failed != nil {
		u.failed.Result = u.result
		return Result{}, u.failed
	}
	return u.result, nil
}
