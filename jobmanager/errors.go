package jobmanager

import (
	"errors"
	"fmt"
)

// ErrJobNotFound is returned when no job, alive or remembered, has the id.
var ErrJobNotFound = errors.New("job not found")

// ErrUnavailable is wrapped by errors that mean: the manager's back end cannot be reached; trying later may help.
var ErrUnavailable = errors.New("job manager unavailable")

// FinishedError is returned when a job that has ended is asked to change.
type FinishedError struct {
	ID     JobID
	Status Status // terminal
}

func (e *FinishedError) Error() string {
	return fmt.Sprintf("job %q has already finished with status %s", e.ID, e.Status)
}

// BusyError is returned by StartJob when another job with a different spec changes the same table, or a job of another
// manager, whatever its spec.
type BusyError struct {
	Table   Table
	Running JobID
	Manager string // the other manager: "local", "temporal"; "" if it is the one that was asked
}

func (e *BusyError) Error() string {
	if e.Table.IsZero() {
		return fmt.Sprintf("job %q is running, which was asked for something else", e.Running)
	}
	if e.Manager != "" {
		return fmt.Sprintf("table %s is busy with job %q of the %s job manager", e.Table, e.Running, e.Manager)
	}
	return fmt.Sprintf("table %s is busy with job %q, which was asked for something else", e.Table, e.Running)
}

// SpecError is returned by StartJob for a spec that can never run: unknown type, missing table, unknown or impossible
// parameter.
type SpecError struct {
	Param string // the parameter at fault, if one is
	Item  string // the item of the parameter's list at fault, if one is
	Msg   string
	Hint  string // what to do, or ""
}

func (e *SpecError) Error() string { return e.Msg }

// IDError is returned by ParseJobID for text that is no job id.
type IDError struct {
	Text string
	Msg  string
}

func (e *IDError) Error() string { return fmt.Sprintf("malformed job id %q: %s", e.Text, e.Msg) }
