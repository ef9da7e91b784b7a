package jobmanager

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trigger says who asked for a job.
type Trigger string

// The triggers.
const (
	TriggerCommand  Trigger = "command"
	TriggerPolicy   Trigger = "policy"
	TriggerSchedule Trigger = "schedule"
)

// JobSpec is what a user asks for. Type, Table and Params say what the work is and make the canonical form; the rest says
// who asked and how.
//
// Params may hold literals of a user's predicate. A manager keeps them in the ledger and never in workflow history.
type JobSpec struct {
	Type   JobType
	Table  Table
	Params map[string]string // "where" is a predicate in PostgreSQL's own deparsed form; others are options

	Statement   string // as typed, or ""
	RequestedBy string // the database user
	Trigger     Trigger
	Schedule    string // name of the schedule, or ""
}

// Canonical returns a text that two specs share exactly if they ask for the same work.
func (s JobSpec) Canonical() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q", string(s.Type), s.Table.Namespace, s.Table.Name)
	keys := make([]string, 0, len(s.Params))
	for k := range s.Params {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, " %q=%q", k, s.Params[k])
	}
	return b.String()
}

// JobInfo describes a job: one row of system.jobs. Pointers are nil where nothing is known yet.
type JobInfo struct {
	ID     JobID
	Status Status
	Phase  string // "planning", "moving", "residue", "publishing", "vacuuming", "finishing"; "throttled" or "waiting: …"; "" when ended

	RowsTotal    *int64 // estimate by the planner's statistics until the job ends, then what was flushed
	RowsFlushed  int64  // moved: cold by a flush, hot again by a restore
	BytesWritten int64  // compressed bytes of registered segments
	Segments     int64
	ChunksDone   int64
	ChunksTotal  *int64
	RowsLeft     *int64 // matching rows found hot at the end
	RowsSkipped  int64  // rows_skipped_locked of the last pass
	Attempt      int    // highest attempt number of any chunk, from 1

	Error      string // full text, from the ledger
	ErrorClass string
	Location   string // URL of the directory of its segments

	RequestedBy string
	Trigger     Trigger
	Schedule    string
	Statement   string

	CreatedAt   time.Time
	StartedAt   *time.Time
	FinishedAt  *time.Time
	CancelledAt *time.Time

	WorkflowID string
	RunID      string
	UIURL      string
}

// Progress returns the done share of the job, 0 to 1: 1 for completed jobs, 0 while nothing is planned.
func (j JobInfo) Progress() float64 {
	if j.Status == Completed {
		return 1
	}
	if j.ChunksTotal == nil || *j.ChunksTotal <= 0 {
		return 0
	}
	return min(1, float64(j.ChunksDone)/float64(*j.ChunksTotal))
}
