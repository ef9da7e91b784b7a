package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// What workflows and activities say to each other, by internal/jobstep's own types.
type (
	PlanInput     = jobstep.PlanInput
	PlanResult    = jobstep.PlanResult
	ResidueInput  = jobstep.ResidueInput
	ResidueResult = jobstep.ResidueResult
	SweepResult   = jobstep.SweepResult
	FinishInput   = jobstep.FinishInput
	FinishResult  = jobstep.FinishResult
	Checkpoint    = jobstep.Checkpoint
	Manners       = jobstep.Manners
	Pace          = jobstep.Pace
	Charge        = jobstep.Charge
	Sizing        = jobstep.Sizing
	LoadInput     = jobstep.LoadInput
	Load          = jobstep.Load
)

// PhaseThrottled and CalmFor are internal/jobstep's.
const (
	PhaseThrottled = jobstep.PhaseThrottled
	CalmFor        = jobstep.CalmFor
)

// NextLook and Shown are internal/jobstep's.
var (
	NextLook = jobstep.NextLook
	Shown    = jobstep.Shown
)

// Flusher is the part of *flush.Flusher that activities call. Every method may be called again after a crash, and from
// several processes at once.
type Flusher interface {
	Plan(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error)
	PlanRestore(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error)
	RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
	Load(ctx context.Context, in jobstep.LoadInput) (jobstep.Load, error)
	RestoreSegment(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
	Residue(ctx context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error)
	Publish(ctx context.Context, jobID string) error
	Vacuum(ctx context.Context, jobID string) error
	Sweep(ctx context.Context, jobID string) (jobstep.SweepResult, error)
	Finish(ctx context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error)
}

// Options tunes Activities. The zero value means the defaults.
type Options struct {
	Keeper            Keeper        // without one VERIFY and CLEANUP fail
	HeartbeatInterval time.Duration // default 500 ms: also the longest wait for a cancel where the server cannot push it
}

// Activities are the steps of jobs. Register the struct with a worker; a nil *Activities names them in a workflow.
type Activities struct {
	flusher  Flusher
	keeper   Keeper // may be nil
	interval time.Duration
	running  running
}

// New returns the activities of f.
func New(f Flusher, opt *Options) *Activities {
	a := &Activities{flusher: f, interval: 500 * time.Millisecond}
	if opt != nil && opt.HeartbeatInterval > 0 {
		a.interval = opt.HeartbeatInterval
	}
	if opt != nil {
		a.keeper = opt.Keeper
	}
	return a
}

// ChunkInput names a chunk to move.
type ChunkInput struct {
	JobID string
	Chunk int
}

// ChunkResult describes a chunk that is committed.
type ChunkResult struct {
	Rows      int64
	Bytes     int64
	Segments  int
	Skipped   int64
	Attempt   int           // the attempt that reported it, from 1
	StartedAt time.Time     // of that attempt
	Took      time.Duration `json:",omitempty"` // the chunk's transaction, if this attempt ran it
}

// PlanFlush cuts a table into chunks.
func (a *Activities) PlanFlush(ctx context.Context, in PlanInput) (PlanResult, error) {
	stop := a.beat(ctx)
	defer stop()
	res, err := a.flusher.Plan(ctx, in)
	return res, report(ctx, err, noChunk)
}

// PlanRestore lists the segments that a restore puts back.
func (a *Activities) PlanRestore(ctx context.Context, in PlanInput) (PlanResult, error) {
	stop := a.beat(ctx)
	defer stop()
	res, err := a.flusher.PlanRestore(ctx, in)
	return res, report(ctx, err, noChunk)
}

// MoveChunk moves one chunk from hot to cold, or finds that an earlier attempt did.
func (a *Activities) MoveChunk(ctx context.Context, in ChunkInput) (ChunkResult, error) {
	return a.move(ctx, in, a.flusher.RunChunk)
}

// RestoreSegment puts the rows of one segment back into their table, or finds that an earlier attempt did.
func (a *Activities) RestoreSegment(ctx context.Context, in ChunkInput) (ChunkResult, error) {
	return a.move(ctx, in, a.flusher.RestoreSegment)
}

// move runs a step that moves rows, with heartbeats that carry its checkpoints.
func (a *Activities) move(ctx context.Context, in ChunkInput,
	run func(context.Context, jobstep.ChunkInput, func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)) (ChunkResult, error) {
	info := activity.GetInfo(ctx)
	before := previous(ctx)
	p := a.startPulse(ctx, before)
	defer a.running.add(p, in, info.StartedTime)()
	var res jobstep.ChunkResult
	err := fault.Do(ctx, fault.Activity, func() (err error) {
		res, err = run(ctx, jobstep.ChunkInput{
			JobID:    in.JobID,
			Chunk:    in.Chunk,
			Attempt:  int(info.Attempt),
			Previous: before.AttemptID,
		}, p.set)
		return err
	})
	p.stop(err != nil)
	if err != nil {
		return ChunkResult{}, report(ctx, err, in.Chunk)
	}
	return ChunkResult{
		Rows:      res.Rows,
		Bytes:     res.Bytes,
		Segments:  res.Segments,
		Skipped:   res.Skipped,
		Attempt:   int(info.Attempt),
		StartedAt: info.StartedTime,
		Took:      res.Took,
	}, nil
}

// CheckLoad looks whether the database is too busy for the next chunk. It is short, and has no heartbeat.
func (a *Activities) CheckLoad(ctx context.Context, in LoadInput) (Load, error) {
	l, err := a.flusher.Load(ctx, in)
	return l, report(ctx, err, noChunk)
}

// FindResidue counts what is left after all planned chunks, and plans it.
func (a *Activities) FindResidue(ctx context.Context, in ResidueInput) (ResidueResult, error) {
	stop := a.beat(ctx)
	defer stop()
	res, err := a.flusher.Residue(ctx, in)
	return res, report(ctx, err, noChunk)
}

// PublishManifest writes the manifest of the job's table.
func (a *Activities) PublishManifest(ctx context.Context, jobID string) error {
	stop := a.beat(ctx)
	defer stop()
	return report(ctx, a.flusher.Publish(ctx, jobID), noChunk)
}

// VacuumTable gives the space of the job's rows back to the table.
func (a *Activities) VacuumTable(ctx context.Context, jobID string) error {
	stop := a.beat(ctx)
	defer stop()
	return report(ctx, a.flusher.Vacuum(ctx, jobID), noChunk)
}

// SweepAttempts condemns what is left of the job's attempts and deletes their objects.
func (a *Activities) SweepAttempts(ctx context.Context, jobID string) (SweepResult, error) {
	stop := a.beat(ctx)
	defer stop()
	res, err := a.flusher.Sweep(ctx, jobID)
	return res, report(ctx, err, noChunk)
}

// FinishJob records the end of a job. The first end recorded wins, and the result says which that is.
func (a *Activities) FinishJob(ctx context.Context, in FinishInput) (FinishResult, error) {
	stop := a.beat(ctx)
	defer stop()
	var res FinishResult
	err := fault.Do(ctx, fault.WorkflowEnd, func() (err error) { res, err = a.flusher.Finish(ctx, in); return err })
	return res, report(ctx, err, noChunk)
}

// previous returns the checkpoint of the attempt before this one, or the zero Checkpoint. Details that do not decode come
// from another version of spillway; the chunk then finds its earlier attempts in the ledger.
func previous(ctx context.Context) Checkpoint {
	var cp Checkpoint
	if !activity.HasHeartbeatDetails(ctx) || activity.GetHeartbeatDetails(ctx, &cp) != nil {
		return Checkpoint{}
	}
	return cp
}
