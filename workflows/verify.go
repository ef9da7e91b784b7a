package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/jobmanager"
)

// VerifyJobName is the workflow type of VerifyJob.
const VerifyJobName = "VerifyJob"

// VerifyType is the job type that VerifyJob runs.
const VerifyType jobmanager.JobType = "verify"

var verifyKind = &kind{
	name: VerifyJobName, job: VerifyType, plan: steps.PlanVerify, chunk: steps.CheckSegments, phase: PhaseChecking,
	noun: "chunk", did: "read", things: "segments",
}

// VerifyJob reads the segments of a table back, chunk by chunk, and then looks for objects that nothing explains. It changes
// nothing but its findings in the ledger. It fails with the class damaged if a segment is damaged or missing; in all else it
// ends as FlushJob does.
func VerifyJob(ctx workflow.Context, in FlushInput) error {
	return runJob(ctx, verifyKind, in, func(j *job, ctx workflow.Context) error {
		if err := j.begin(ctx); err != nil {
			return err
		}
		j.enter(ctx, PhaseListing)
		var found activities.VerifyResult
		return j.step(j.stepOptions(ctx, "look for strays"), steps.FindStrays, j.id, &found)
	})
}
