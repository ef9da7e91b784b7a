package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/jobmanager"
)

// FlushJobName is the workflow type of FlushJob.
const FlushJobName = "FlushJob"

// FlushType is the job type that FlushJob runs.
const FlushType jobmanager.JobType = "flush"

// ProgressQuery is the query that answers with a job's Progress.
const ProgressQuery = "progress"

// PauseRequestName is the name of the update, and of the signal, that holds a job or lets it go on; a PauseRequest is the
// argument of both. The update says at once what became of it, but takes a worker; the signal waits for one.
const PauseRequestName = "set-paused"

// PauseRequest asks a job to pause or to go on. A run ignores requests for other jobs: its workflow id was theirs before.
type PauseRequest struct {
	JobID  string
	Paused bool
}

// The types of the errors by which a job refuses a PauseRequest that came as an update.
const (
	RefusedOtherJob = "other_job"
	RefusedNoChange = "no_change" // it is so already, or the job is cancelling or in its last step
)

// Search attributes. Their values may be looked at by anyone who may use the Temporal Web UI.
var (
	AttrInstallation = temporal.NewSearchAttributeKeyKeyword("SpillwayInstallation") // as in workflow ids: escaped
	AttrJobID        = temporal.NewSearchAttributeKeyKeyword("SpillwayJobID")
	AttrJobType      = temporal.NewSearchAttributeKeyKeyword("SpillwayJobType")
	AttrTable        = temporal.NewSearchAttributeKeyKeyword("SpillwayTable")
	AttrStatus       = temporal.NewSearchAttributeKeyKeyword("SpillwayStatus")
	AttrPhase        = temporal.NewSearchAttributeKeyKeyword("SpillwayPhase")
	AttrTrigger      = temporal.NewSearchAttributeKeyKeyword("SpillwayTrigger")
	AttrUser         = temporal.NewSearchAttributeKeyKeyword("SpillwayUser")
	AttrErrorClass   = temporal.NewSearchAttributeKeyKeyword("SpillwayErrorClass")
	AttrRows         = temporal.NewSearchAttributeKeyInt64("SpillwayRows")
	AttrChunksDone   = temporal.NewSearchAttributeKeyInt64("SpillwayChunksDone")
	AttrChunksTotal  = temporal.NewSearchAttributeKeyInt64("SpillwayChunksTotal")
	AttrStarted      = temporal.NewSearchAttributeKeyTime("SpillwayStarted")
)

// SearchAttributes returns the search attributes that a Temporal namespace needs, by name. They fit the limits of a
// server on SQL: ten keywords, three of every other type.
func SearchAttributes() map[string]enumspb.IndexedValueType {
	attrs := make(map[string]enumspb.IndexedValueType)
	for _, key := range []temporal.SearchAttributeKey{
		AttrInstallation, AttrJobID, AttrJobType, AttrTable, AttrStatus, AttrPhase, AttrTrigger, AttrUser, AttrErrorClass,
		AttrRows, AttrChunksDone, AttrChunksTotal, AttrStarted,
	} {
		attrs[key.GetName()] = key.GetValueType()
	}
	return attrs
}

// MemoJob is the memo field that holds a Memo.
const MemoJob = "spillway"

// Memo says what a workflow's job is, without a look into the ledger.
type Memo struct {
	Type      jobmanager.JobType
	Table     jobmanager.Table
	RequestID string
	CreatedAt time.Time
}

// The names of activities, by which a job's phase can be told from what is pending.
const (
	planActivity    = "PlanFlush"
	refillActivity  = "PlanRestore"
	chunkActivity   = "MoveChunk"
	segmentActivity = "RestoreSegment"
	residueActivity = "FindResidue"
	publishActivity = "PublishManifest"
	vacuumActivity  = "VacuumTable"
	loadActivity    = "CheckLoad"

	planVerifyActivity  = "PlanVerify"
	checkActivity       = "CheckSegments"
	straysActivity      = "FindStrays"
	planCleanupActivity = "PlanCleanup"
	cleanActivity       = "CleanUp"
)

// PhaseOf returns the phase in which an activity runs, and whether it is a chunk, which takes a slot. A look at the load has no
// phase of its own: "".
func PhaseOf(activityType string) (phase Phase, chunk bool) {
	switch activityType {
	case planActivity, refillActivity, planVerifyActivity, planCleanupActivity:
		return PhasePlanning, false
	case chunkActivity, segmentActivity:
		return PhaseMoving, true
	case checkActivity:
		return PhaseChecking, true
	case cleanActivity:
		return PhaseCleaning, true
	case straysActivity:
		return PhaseListing, false
	case residueActivity:
		return PhaseResidue, false
	case publishActivity:
		return PhasePublishing, false
	case vacuumActivity:
		return PhaseVacuuming, false
	case loadActivity:
		return "", false
	}
	return PhaseFinishing, false
}

// maxName is the longest workflow id and keyword that Temporal's SQL stores hold.
const maxName = 255

// WorkflowID returns the id of the workflow of a job. Jobs that change a table share one id per table, so that Temporal
// lets only one of them run; others have one id per type and table, or per type if they have no table.
func WorkflowID(installation string, mutating bool, jobType jobmanager.JobType, t jobmanager.Table) string {
	parts := []string{jobmanager.EscapeName(installation)}
	if !mutating {
		parts = append(parts, string(jobType))
	}
	if t != (jobmanager.Table{}) {
		parts = append(parts, jobmanager.EscapeName(t.Namespace)+"."+jobmanager.EscapeName(t.Name))
	}
	return shorten(strings.Join(parts, "/"))
}

// TaskQueue returns the task queue of an installation's workflows and of all activities but chunks.
func TaskQueue(installation string) string {
	return shorten(jobmanager.EscapeName(installation))
}

// ChunkTaskQueue returns the task queue of chunks. It is apart from the other because a worker has few slots for chunks,
// and planning or ending a job must not wait for one.
func ChunkTaskQueue(taskQueue string) string {
	return shorten(taskQueue + "/chunks")
}

// JobID returns the text form of the id of a job whose first run is firstRun.
func JobID(jobType jobmanager.JobType, t jobmanager.Table, firstRun string) string {
	id := jobmanager.JobID{Type: jobType, Table: t}
	return strings.TrimSuffix(id.String(), uuid.Nil.String()) + firstRun
}

// Keyword returns s cut to what a keyword attribute may hold.
func Keyword(s string) string { return shorten(s) }

// shorten keeps s within maxName. The end of a longer one gives way to its hash, so that different names stay different.
func shorten(s string) string {
	if len(s) <= maxName {
		return s
	}
	return shortenTo(s, maxName)
}

func shortenTo(s string, most int) string {
	sum := sha256.Sum256([]byte(s))
	tail := "~" + hex.EncodeToString(sum[:16])
	return strings.ToValidUTF8(s[:most-len(tail)], "") + tail
}
