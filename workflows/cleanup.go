package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/jobmanager"
)

// CleanupJobName is the workflow type of CleanupJob.
const CleanupJobName = "CleanupJob"

// CleanupType is the job type that CleanupJob runs. Its jobs have no table.
const CleanupType jobmanager.JobType = "cleanup"

var cleanupKind = &kind{
	name: CleanupJobName, job: CleanupType, plan: steps.PlanCleanup, chunk: steps.CleanUp, phase: PhaseCleaning,
	noun: "chunk", did: "removed", things: "objects",
}

// CleanupJob removes objects that nobody needs: those of attempts that can never commit, or those that were named and are
// stray. It fails with the class refused if an object that was named is not; in all else it ends as FlushJob does.
func CleanupJob(ctx workflow.Context, in FlushInput) error {
	return runJob(ctx, cleanupKind, in, func(j *job, ctx workflow.Context) error {
		if err := j.begin(ctx); err != nil {
			return err
		}
		if j.state.Total == 0 {
			return nil
		}
		return j.step(j.stepOptions(ctx, "look at what was kept"), steps.FinishCleanup, j.id, nil)
	})
}
