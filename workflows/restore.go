package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/jobmanager"
)

// RestoreJobName is the workflow type of RestoreJob.
const RestoreJobName = "RestoreJob"

// RestoreType is the job type that RestoreJob runs.
const RestoreType jobmanager.JobType = "restore"

// RestoreInput starts a RestoreJob. Which rows, predicate and options, is in the ledger under RequestID.
type RestoreInput = FlushInput

// RestoreJob puts cold rows back into their table, segment by segment, and records how the job ended. In all that a chunk of a flush
// is, a segment is one of its chunks: the window, pauses, kills and the end are those of FlushJob. There is no residue to look for:
// what a condition or a conflict leaves out stays cold, and is counted there.
func RestoreJob(ctx workflow.Context, in RestoreInput) error {
	return runJob(ctx, restoreKind, in, (*job).run)
}

var restoreKind = &kind{
	name: RestoreJobName, job: RestoreType, plan: steps.PlanRestore, chunk: steps.RestoreSegment, phase: PhaseMoving, moves: true,
	noun: "segment", did: "written", things: "segments",
}

// changedCold reports whether the list of cold segments may have changed.
func (j *job) changedCold() bool {
	if j.kind.residue {
		return j.state.Segments > 0
	}
	return j.state.Rows > 0
}
