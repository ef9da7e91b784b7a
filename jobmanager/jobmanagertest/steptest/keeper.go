package steptest

import (
	"context"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// PlanVerify is *upkeep.Keeper's.
func (f *Steps) PlanVerify(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	return f.Plan(ctx, in)
}

// CheckSegments is *upkeep.Keeper's.
func (f *Steps) CheckSegments(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.RunChunk(ctx, in, progress)
}

// FindStrays is *upkeep.Keeper's.
func (f *Steps) FindStrays(context.Context, string) (jobstep.VerifyResult, error) {
	return jobstep.VerifyResult{}, nil
}

// PlanCleanup is *upkeep.Keeper's.
func (f *Steps) PlanCleanup(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	return f.Plan(ctx, in)
}

// CleanUp is *upkeep.Keeper's.
func (f *Steps) CleanUp(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.RunChunk(ctx, in, progress)
}

// FinishCleanup is *upkeep.Keeper's.
func (f *Steps) FinishCleanup(context.Context, string) error { return nil }
