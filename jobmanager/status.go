package jobmanager

import "fmt"

// Status is where a job stands. The …ing ones are requests not yet carried out.
type Status string

// The statuses. Cancelled is spelt with two l, as users type it in SQL; Completed is the successful end.
const (
	Pending    Status = "pending"
	Running    Status = "running"
	Pausing    Status = "pausing"
	Paused     Status = "paused"
	Cancelling Status = "cancelling"
	Completed  Status = "completed"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Statuses lists every status, in the order of a job's life.
var Statuses = []Status{Pending, Running, Pausing, Paused, Cancelling, Completed, Failed, Cancelled}

// transitions is the job state machine; docs/job-states.md draws it. A job may complete although it was asked to pause or
// cancel: the request came too late.
var transitions = map[Status][]Status{
	Pending:    {Running, Pausing, Paused, Cancelling, Completed, Failed, Cancelled},
	Running:    {Pausing, Cancelling, Completed, Failed, Cancelled},
	Pausing:    {Paused, Running, Cancelling, Completed, Failed, Cancelled},
	Paused:     {Running, Cancelling, Failed, Cancelled},
	Cancelling: {Cancelled, Completed, Failed},
}

// Terminal reports whether a job with this status has ended for ever.
func (s Status) Terminal() bool { return s == Completed || s == Failed || s == Cancelled }

// CanBecome reports whether a job may go from s to next. No status changes to itself, and none leaves a terminal one.
func (s Status) CanBecome(next Status) bool {
	for _, t := range transitions[s] {
		if t == next {
			return true
		}
	}
	return false
}

// ParseStatus reads a status as spelt in system.jobs.
func ParseStatus(text string) (Status, error) {
	for _, s := range Statuses {
		if string(s) == text {
			return s, nil
		}
	}
	return "", fmt.Errorf("unknown job status %q", text)
}
