package activities

import (
	"context"
	"errors"

	"go.temporal.io/sdk/activity"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// VerifyResult says what a VERIFY found.
type VerifyResult = jobstep.VerifyResult

// Keeper is the part of *upkeep.Keeper that activities call. Every method may be called again after a crash, and from
// several processes at once.
type Keeper interface {
	PlanVerify(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error)
	CheckSegments(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
	FindStrays(ctx context.Context, jobID string) (jobstep.VerifyResult, error)

	PlanCleanup(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error)
	CleanUp(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
	FinishCleanup(ctx context.Context, jobID string) error
}

// errNoKeeper is what a worker answers that was built without one.
var errNoKeeper = &jobstep.ClassifiedError{Class: jobstep.ClassInternal, Err: errors.New("this worker was built without a keeper")}

// PlanVerify lists a table's segments in chunks.
func (a *Activities) PlanVerify(ctx context.Context, in PlanInput) (PlanResult, error) {
	return keep(ctx, a, func(k Keeper) (PlanResult, error) { return k.PlanVerify(ctx, in) })
}

// CheckSegments reads the segments of one chunk back.
func (a *Activities) CheckSegments(ctx context.Context, in ChunkInput) (ChunkResult, error) {
	return a.attend(ctx, in, Keeper.CheckSegments)
}

// FindStrays looks again at what was found, and lists objects that nothing explains. Damage is an error of the class damaged.
func (a *Activities) FindStrays(ctx context.Context, jobID string) (VerifyResult, error) {
	return keep(ctx, a, func(k Keeper) (VerifyResult, error) { return k.FindStrays(ctx, jobID) })
}

// PlanCleanup lists what there is to clean up.
func (a *Activities) PlanCleanup(ctx context.Context, in PlanInput) (PlanResult, error) {
	return keep(ctx, a, func(k Keeper) (PlanResult, error) { return k.PlanCleanup(ctx, in) })
}

// CleanUp removes the objects of one chunk.
func (a *Activities) CleanUp(ctx context.Context, in ChunkInput) (ChunkResult, error) {
	return a.attend(ctx, in, Keeper.CleanUp)
}

// FinishCleanup says whether all that was named is gone. If not, it is an error of the class refused.
func (a *Activities) FinishCleanup(ctx context.Context, jobID string) error {
	_, err := keep(ctx, a, func(k Keeper) (struct{}, error) { return struct{}{}, k.FinishCleanup(ctx, jobID) })
	return err
}

// keep runs a step of a Keeper with heartbeats.
func keep[T any](ctx context.Context, a *Activities, step func(Keeper) (T, error)) (T, error) {
	stop := a.beat(ctx)
	defer stop()
	var res T
	err := error(errNoKeeper)
	if a.keeper != nil {
		res, err = step(a.keeper)
	}
	return res, report(ctx, err, noChunk)
}

// attend runs a chunk of a Keeper, with heartbeats that say how far it is.
func (a *Activities) attend(ctx context.Context, in ChunkInput,
	run func(Keeper, context.Context, jobstep.ChunkInput, func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)) (ChunkResult, error) {
	if a.keeper == nil {
		return ChunkResult{}, report(ctx, errNoKeeper, in.Chunk)
	}
	info := activity.GetInfo(ctx)
	p := a.startPulse(ctx, Checkpoint{})
	defer a.running.add(p, in, info.StartedTime)()
	res, err := run(a.keeper, ctx, jobstep.ChunkInput{JobID: in.JobID, Chunk: in.Chunk, Attempt: int(info.Attempt)}, p.set)
	p.stop(err != nil)
	if err != nil {
		return ChunkResult{}, report(ctx, err, in.Chunk)
	}
	return ChunkResult{Rows: res.Rows, Bytes: res.Bytes, Segments: res.Segments, Attempt: int(info.Attempt), StartedAt: info.StartedTime}, nil
}
