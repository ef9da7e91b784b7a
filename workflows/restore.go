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
func RestoreJob(ctx workflow.Context, in RestoreInput) error { return runJob(ctx, restoreKind, in) }

// kind is what tells the jobs that move rows apart.
type kind struct {
	jobType  jobmanager.JobType
	workflow string // its type
	plan     any    // activity
	chunk    any    // activity
	noun     string // a chunk, for people
	residue  bool   // looks again for rows that were left
}

var (
	flushKind   = kind{FlushType, FlushJobName, steps.PlanFlush, steps.MoveChunk, "chunk", true}
	restoreKind = kind{RestoreType, RestoreJobName, steps.PlanRestore, steps.RestoreSegment, "segment", false}
)

// changedCold reports whether the list of cold segments may have changed.
func (j *flushJob) changedCold() bool {
	if j.kind.residue {
		return j.state.Segments > 0
	}
	return j.state.Rows > 0
}
