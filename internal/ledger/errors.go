package ledger

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNotFound is returned when the row asked for is not in the ledger.
var ErrNotFound = errors.New("not in the ledger")

// ErrForeignSchema is what every *ForeignSchemaError is: a schema of our name exists and is not ours.
var ErrForeignSchema = errors.New("schema belongs to somebody else")

// ErrNoLedger is returned by reads before the first Migrate.
var ErrNoLedger = errors.New("no ledger in this database")

// ErrClaimLost is returned to a job whose table was given to another one, or whose end is recorded.
var ErrClaimLost = errors.New("the table is no longer held by this job")

// HeldError is returned to a job whose table a living job of another manager holds.
type HeldError struct {
	Claim Claim // the other job's; its JobID is "" for a moment while that job starts or ends
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("table %s.%s is held by job %q of the %s manager", e.Claim.Schema, e.Claim.Table, e.Claim.JobID, e.Claim.Manager)
}

// ForeignSchemaError is returned by Migrate and Uninstall for a schema that this installation must not touch.
type ForeignSchemaError struct {
	Schema string
	Owner  string
	Reason string
	Hint   string
}

func (e *ForeignSchemaError) Error() string {
	return fmt.Sprintf("schema %q cannot be used: %s", e.Schema, e.Reason)
}

// Is makes errors.Is(err, ErrForeignSchema) true.
func (e *ForeignSchemaError) Is(target error) bool { return target == ErrForeignSchema }

// InUseError is returned by Uninstall while processes of ours are connected to the database.
type InUseError struct {
	Processes []Process
}

func (e *InUseError) Error() string {
	var list []string
	for _, p := range e.Processes {
		list = append(list, fmt.Sprintf("%s from %s (backend %d, since %s)", p.Name, p.Client, p.Backend, p.Since.Format(time.DateTime)))
	}
	return "the ledger is in use: " + strings.Join(list, ", ")
}

// LiveJobsError is returned by Uninstall while the ledger has jobs that have not ended.
type LiveJobsError struct {
	Jobs []string
}

func (e *LiveJobsError) Error() string {
	return fmt.Sprintf("jobs have not ended: %s", strings.Join(e.Jobs, ", "))
}

// DependentError is returned by Uninstall when others have built upon what is ours, or put something into our schemas.
type DependentError struct {
	Reason  string
	Objects []string // as PostgreSQL names them: "view app.mine depends on view system.jobs"
	Outside bool     // they depend on our objects, so that Cascade would drop them
	Err     error    // PostgreSQL's own; may be nil
}

func (e *DependentError) Error() string {
	if len(e.Objects) == 0 {
		return e.Reason
	}
	return e.Reason + ": " + strings.Join(e.Objects, ", ")
}
func (e *DependentError) Unwrap() error { return e.Err }

// VersionError is returned by Migrate and Uninstall when the ledger was made by a newer build.
type VersionError struct {
	Found, Known int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the ledger has version %d, this build knows versions up to %d: use a newer build", e.Found, e.Known)
}

// ChecksumError is returned by Migrate when a migration was applied with another text than this build has.
type ChecksumError struct {
	Version int
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("version %d of the ledger was made by a different build: its text is not the one that this build has", e.Version)
}

// PrivilegeError is returned by Migrate when the role may not do what is needed. SQLState is 42501.
type PrivilegeError struct {
	SQLState string
	Msg      string
	Hint     string
	Err      error // PostgreSQL's own, if it came to that
}

func (e *PrivilegeError) Error() string { return e.Msg }
func (e *PrivilegeError) Unwrap() error { return e.Err }
