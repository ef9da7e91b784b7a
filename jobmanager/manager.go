package jobmanager

import (
	"context"
	"iter"
)

// JobManager runs jobs. Every method may be called by many goroutines at once, and in several processes that share the
// same back end all see the same jobs.
//
// Nothing else starts a job: SQL, command line, policies and schedules all go through StartJob.
type JobManager interface {
	// StartJob starts the job that spec asks for, or finds it. At most one job that changes a table lives at a time:
	//   - none lives: the job is started durably before StartJob returns; Existing is false.
	//   - one with the same canonical spec lives: its id is returned, and Existing is true.
	//   - one with another spec lives: *BusyError, which names it.
	// An invalid spec is *SpecError, and nothing is started. A StartJob whose context ends may or may not have
	// started the job; calling it again finds out.
	StartJob(ctx context.Context, spec JobSpec) (Started, error)

	// CancelJob asks a job to stop. It returns when the request is durable; the job reports Cancelling until its work
	// has stopped. Calling it again while the job is cancelling is harmless. Errors: ErrJobNotFound;
	// *FinishedError when the job has ended.
	CancelJob(ctx context.Context, id JobID) error

	// JobStatus describes one job, alive or ended. Error: ErrJobNotFound.
	JobStatus(ctx context.Context, id JobID) (JobInfo, error)

	// ListJobs yields jobs, newest first. The zero filter lists active jobs. An error ends the sequence; jobs are
	// never left out silently.
	ListJobs(ctx context.Context, f JobFilter) iter.Seq2[JobInfo, error]
}

// Started is the answer to StartJob.
type Started struct {
	ID       JobID
	Existing bool // a job with the same canonical spec was already alive
}

// Pauser is the optional ability to hold a job between chunks. A pause survives restarts of everything.
//
// Both methods return when the request is durable. Repeating one is harmless, and so is resuming a job that is not paused.
// A job that is cancelling stays so: the cancel wins, and both return nil. Errors: ErrJobNotFound; *FinishedError when the
// job has ended; one that wraps ErrUnavailable when nobody answers who could make the request durable. After that one, and
// after the end of ctx, the request may still be carried out; asking again settles it.
type Pauser interface {
	// PauseJob asks a job to hold. The chunks that have begun end and commit, chunks that only wait for a slot may count as
	// begun, and nothing else begins. The job reports Pausing until then, then Paused. A pause that meets a job behind
	// its last step comes too late: the job completes.
	PauseJob(ctx context.Context, id JobID) error

	// ResumeJob lets a job that is Pausing or Paused go on from where it stands; it reports Running.
	ResumeJob(ctx context.Context, id JobID) error
}

// Waiter is the optional ability to wait for a job's end without polling.
type Waiter interface {
	// WaitJob returns when the job has a terminal status, with its final description, or when ctx ends.
	WaitJob(ctx context.Context, id JobID) (JobInfo, error)
}

// JobFilter selects jobs for ListJobs. Zero fields do not restrict.
type JobFilter struct {
	Statuses []Status // empty: active ones
	All      bool     // active and ended ones; Statuses still restricts if set
	IDs      []JobID
	Targets  []string // tables, as Table.String spells them
	Type     JobType
	Table    Table
	Limit    int // at most so many; 0: no limit
}
