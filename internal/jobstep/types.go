package jobstep

import "time"

// The types of jobs, but for restores: what flushes a table, what reads its segments back, and what removes that which nobody needs
// from storages, and has no table.
const (
	FlushType   = "flush"
	VerifyType  = "verify"
	CleanupType = "cleanup"
)

// PlanInput asks for a generation of a job's plan. Generation 1 is the first; each later one covers what the ones before
// did not commit, because the table changed its shape or file or because rows were left.
type PlanInput struct {
	JobID      string
	RequestID  string
	Generation int
	ChunkBytes int64 // cut so, instead of as asked for; 0: as asked for
	Next       int   // chunks of the generation before this one are committed up to it, so the new one begins there; 0: at the start
	Claimed    bool  // the job's manager has claimed the table itself: see TakeTable
}

// PlanResult says how a generation cuts the table. The plan itself, block ranges and predicate, stays in the ledger.
type PlanResult struct {
	Generation   int
	FirstChunk   int // chunks are numbered through all generations of a job
	Chunks       int
	RowsEstimate int64 // by the planner's statistics
	Parallelism  int   // chunks to move at once
	Vacuum       bool  // there is something to vacuum when the rows have moved
	Manners      *Manners
}

// ChunkInput names one try at one chunk.
type ChunkInput struct {
	JobID    string
	Chunk    int
	Attempt  int    // from 1
	Previous string // attempt id in the last heartbeat of the try before, or ""
}

// Step is where a chunk stands, in a checkpoint.
type Step string

// The steps of a chunk, in order.
const (
	StepResolving   Step = "resolving" // finding out what became of earlier attempts
	StepClaiming    Step = "claiming"
	StepCopying     Step = "copying"
	StepUploading   Step = "uploading"
	StepRegistering Step = "registering"
	StepCommitting  Step = "committing"
	StepDone        Step = "done"
)

// Checkpoint is what a heartbeat carries: enough for a retry to find the attempt before it, and for a person to see that
// the chunk moves.
type Checkpoint struct {
	Step      Step
	AttemptID string
	Rows      int64 // rows received from PostgreSQL so far, or sent to it
	Bytes     int64 // compressed bytes written so far
}

// ChunkResult describes a committed chunk.
type ChunkResult struct {
	Rows     int64
	Bytes    int64 // compressed bytes of its segments
	Segments int
	Skipped  int64         // rows left because others held their locks
	Earlier  bool          // an earlier attempt had committed it
	Took     time.Duration // its transaction, from BEGIN to the answer to COMMIT; 0: not known
}

// ResidueInput asks what is left after all chunks of the generations so far.
type ResidueInput struct {
	JobID string
	Pass  int // from 1
}

// ResidueResult says how many matching rows are still hot, and how to move them. Plan is nil when nothing is left or the
// passes are used up.
type ResidueResult struct {
	RowsLeft int64
	Plan     *PlanResult
}

// SweepResult says what a sweep found.
type SweepResult struct {
	Condemned int // attempts that can no longer commit
	Deleted   int // objects removed
}

// FinishInput describes the end of a job as its manager saw it.
type FinishInput struct {
	JobID       string
	RequestID   string
	Status      string // completed, failed or cancelled
	Class       string // error class when failed
	RowsLeft    *int64
	WorkflowID  string
	RunID       string
	CreatedAt   time.Time
	StartedAt   *time.Time
	CancelledAt *time.Time
}

// FinishResult is what the ledger now says of the job. Status differs from the one asked for if another end was recorded
// first.
type FinishResult struct {
	Status   string
	Rows     int64
	Bytes    int64
	Segments int64
}

// EndInput describes the end of a job that could not record it itself.
type EndInput struct {
	FinishInput

	JobType    string
	Schema     string
	Table      string
	FinishedAt time.Time
	Error      string // what to say of it, or ""
}

// VerifyResult says what a VERIFY found.
type VerifyResult struct {
	Bad    int // segments damaged or missing
	Strays int // objects that nothing explains
}
