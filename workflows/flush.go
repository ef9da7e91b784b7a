package workflows

import (
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
)

// steps names the activities; it is never called through.
var steps *activities.Activities

// errContinue ends a run whose job goes on in a new one.
var errContinue = errors.New("continue as a new run")

// FlushJob moves the rows that a request asks for, chunk by chunk, and records how the job ended. The job's uuid is the id
// of its first run.
//
// It ends as the ledger says: completed without an error, cancelled with a CanceledError, failed with an ApplicationError
// whose type is the class. The row that FinishJob writes first decides; a cancel that comes after it comes too late.
func FlushJob(ctx workflow.Context, in FlushInput) error {
	return runJob(ctx, flushKind, in, (*job).run)
}

// job is the state of one run of a job of any kind. A restore is a flush backwards.
type job struct {
	kind      *kind
	id        string
	table     jobmanager.Table
	requestID string
	tune      Tuning
	state     FlushState

	phase    Phase
	status   jobmanager.Status // as last upserted
	inFlight int
	begun    int // chunks begun in this run
	looks    int // at the load in this run
	resize   resize
	reported int // chunks done at the last upsert
	cancel   cancelMark

	requests workflow.ReceiveChannel // PauseRequests that came as signals
	held     bool                    // waits to be resumed
	holds    int                     // times held in this run
}

func newJob(ctx workflow.Context, k *kind, in FlushInput) (*job, error) {
	info := workflow.GetInfo(ctx)
	firstRun := info.FirstRunID
	if firstRun == "" { // the test environment knows no chains
		firstRun = info.WorkflowExecution.RunID
	}
	j := &job{
		kind:      k,
		id:        JobID(k.job, in.Table, firstRun),
		table:     in.Table,
		requestID: in.RequestID,
		tune:      in.Tuning.withDefaults(),
		phase:     PhasePlanning,
		status:    jobmanager.Pending,
	}
	if in.State != nil {
		j.state = *in.State
		j.phase, j.reported, j.status = k.phase, j.state.Done, jobmanager.Running
		if j.state.Paused {
			j.status = jobmanager.Pausing
		}
	} else {
		j.state.CreatedAt = in.CreatedAt
		if in.CreatedAt.IsZero() {
			j.state.CreatedAt = info.WorkflowStartTime
		}
		workflow.GetLogger(ctx).Info("job started", obs.KeyJob, j.id, obs.KeyTable, j.table.String())
	}
	j.describe(ctx)
	if err := j.watchPause(ctx); err != nil {
		return nil, err
	}
	return j, workflow.SetQueryHandler(ctx, ProgressQuery, func() (Progress, error) { return j.progress(), nil })
}

// run does the work of the job, or of one run of it. It returns nil when the job is done and errContinue when the next
// run has to go on.
func (j *job) run(ctx workflow.Context) error {
	if err := j.planned(ctx); err != nil {
		return err
	}
	if j.state.Total == 0 { // nothing to move: nothing to look for, nothing to publish
		if j.kind.residue {
			j.state.RowsLeft = new(int64)
		}
		return nil
	}
	for {
		if err := j.move(ctx); err != nil {
			return err
		}
		more, err := j.residue(ctx)
		if err != nil {
			return err
		}
		if !more {
			if err := j.publish(ctx); err != nil {
				return err
			}
			return j.vacuum(ctx)
		}
	}
}

// step runs an activity. Attempts that ended because a worker stopped are no failures, however many there were.
func (j *job) step(ctx workflow.Context, activity, in, out any) error {
	for {
		err := workflow.ExecuteActivity(ctx, activity, in).Get(ctx, out)
		if !stopped(err) || ctx.Err() != nil {
			return err
		}
		j.state.Dirty = true
	}
}

// plan asks for a generation of the plan, and takes it over.
func (j *job) plan(ctx workflow.Context, generation int) error {
	j.phase = PhasePlanning
	j.describe(ctx)
	var res activities.PlanResult
	err := j.step(j.stepOptions(ctx, "plan"), j.kind.plan, activities.PlanInput{
		JobID:      j.id,
		RequestID:  j.requestID,
		Generation: generation,
		ChunkBytes: j.resize.bytes,
		Next:       j.resize.next,
	}, &res)
	if err != nil {
		return err
	}
	j.resize = resize{}
	j.state.Sizing.Reset()
	j.adopt(ctx, res)
	return nil
}

// adopt makes a generation of the plan the current one.
func (j *job) adopt(ctx workflow.Context, p activities.PlanResult) {
	s := &j.state
	s.Generation = p.Generation
	s.Next, s.End = p.FirstChunk, p.FirstChunk+p.Chunks
	s.Total = s.Done + p.Chunks
	if p.Manners != nil {
		s.Manners = p.Manners
	}
	s.RowsTotal = s.Rows + p.RowsEstimate
	s.Vacuum = s.Vacuum || p.Vacuum
	if p.Parallelism > 0 {
		s.Parallelism = p.Parallelism
	}
	if s.Parallelism <= 0 {
		s.Parallelism = j.tune.Parallelism
	}
	if s.Total > 0 {
		j.enter(ctx, j.kind.phase)
	}
}

// residue looks for rows that are left, and reports whether there is a plan to move them.
func (j *job) residue(ctx workflow.Context) (more bool, err error) {
	if !j.kind.residue {
		return false, nil
	}
	j.enter(ctx, PhaseResidue)
	j.state.Pass++
	var res activities.ResidueResult
	err = j.step(j.stepOptions(ctx, "look for rows left"), steps.FindResidue, activities.ResidueInput{
		JobID: j.id,
		Pass:  j.state.Pass,
	}, &res)
	if err != nil {
		return false, err
	}
	j.state.RowsLeft = &res.RowsLeft
	if res.Plan == nil || res.Plan.Chunks == 0 {
		return false, nil
	}
	j.state.Skipped = 0 // the new plan has these rows again
	j.adopt(ctx, *res.Plan)
	return true, nil
}

// publish brings the manifest up to date; a job that changed no segment has nothing to say there.
func (j *job) publish(ctx workflow.Context) error {
	if !j.changedCold() {
		return nil
	}
	if err := j.hold(ctx); err != nil {
		return err
	}
	j.enter(ctx, PhasePublishing)
	return j.step(j.stepOptions(ctx, "publish the manifest"), steps.PublishManifest, j.id, nil)
}

// vacuum gives the space of moved rows back, where the plan says so.
func (j *job) vacuum(ctx workflow.Context) error {
	if !j.state.Vacuum || j.state.Segments == 0 {
		return nil
	}
	if err := j.hold(ctx); err != nil {
		return err
	}
	j.enter(ctx, PhaseVacuuming)
	return j.step(j.stepOptions(ctx, "vacuum"), steps.VacuumTable, j.id, nil)
}

// replanned answers a table that changed under the job: the next generation covers what is not committed.
func (j *job) replanned(ctx workflow.Context) error {
	j.state.Replans++
	if j.state.Replans > j.tune.Replans {
		return temporal.NewNonRetryableApplicationError("the table kept changing", activities.ClassConflict, nil)
	}
	j.resize = resize{}
	if m := j.state.Manners; m != nil {
		j.resize.bytes = m.ChunkBytes
	}
	return j.plan(ctx, j.state.Generation+1)
}
