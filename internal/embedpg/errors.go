package embedpg

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoBinaries is returned by Find and Start when no PostgreSQL server binaries of a usable version are on the machine.
var ErrNoBinaries = errors.New("PostgreSQL server binaries (initdb, postgres; version 14 or newer) not found: install them " +
	"(Debian, Ubuntu: apt-get install postgresql; Fedora, RHEL: dnf install postgresql-server; macOS: brew install postgresql) " +
	"or set " + BinEnv + " to the folder that holds them")

// ErrInUse is wrapped by the error of Start when another process uses the folder.
var ErrInUse = errors.New("folder is in use")

// ErrStopped is returned by operations that need a running server.
var ErrStopped = errors.New("server is stopped")

// InUseError is returned by Start when another process uses the folder. It wraps ErrInUse.
type InUseError struct {
	Dir string
	PID int // 0 if unknown
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("the PostgreSQL folder %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("the PostgreSQL folder %s is in use by process %d", e.Dir, e.PID)
}

func (e *InUseError) Unwrap() error { return ErrInUse }

// PortError is returned by Start and Restart when the server cannot listen on its address.
type PortError struct {
	Addr string
	Err  error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("cannot listen on %s for PostgreSQL: %v", e.Addr, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// UnreachableError is returned by Start under root when the account that runs the server cannot enter the folder.
type UnreachableError struct {
	Dir     string
	Blocked string // the folder above Dir that keeps the account out
	Account string
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("PostgreSQL does not run as root, and the account %q cannot reach %s because of the mode of %s: "+
		"choose a folder that others may enter, or run as an ordinary user", e.Account, e.Dir, e.Blocked)
}

// FolderError is returned by Start for a folder that is not ours to fill, or that has lost a part.
type FolderError struct {
	Dir string
	Msg string
}

func (e *FolderError) Error() string { return fmt.Sprintf("PostgreSQL folder %s: %s", e.Dir, e.Msg) }

// VersionError is returned by Start when the cluster was made by a major version that is not installed.
type VersionError struct {
	Dir   string
	Major string // of the cluster
	Found []Binaries
}

func (e *VersionError) Error() string {
	found := make([]string, len(e.Found))
	for i, b := range e.Found {
		found[i] = b.Version
	}
	return fmt.Sprintf("the cluster in %s was made by PostgreSQL %s, which is not installed (found: %s)",
		e.Dir, e.Major, strings.Join(found, ", "))
}

// ProcessError is returned when initdb or postgres ended before it had done its work.
type ProcessError struct {
	Program string
	Err     error  // how it ended
	Output  string // its last lines
}

func (e *ProcessError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Program, e.Err, e.Output)
}

func (e *ProcessError) Unwrap() error { return e.Err }
