package command

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/jobmanager"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitInterrupted = 130
)

// exits maps errors to exit codes; the first row that fits counts. It is one of the three edges of the product.
var exits = []struct {
	code  int
	means string
	fits  func(error) bool
}{
	{exitDone, "done", func(err error) bool { return err == nil }},
	{exitInterrupted, "interrupted", func(err error) bool { return errors.Is(err, fail.ErrInterrupted) }},
	{exitUsage, "wrong usage", func(err error) bool { return is[*fail.Usage](err) || connectClass(err) == hot.ConnectURL }},
	{exitUnreachable, "cannot reach a server", func(err error) bool {
		switch connectClass(err) {
		case hot.ConnectUnreachable, hot.ConnectTLS, hot.ConnectAuth, hot.ConnectDatabase:
			return true
		}
		return is[*fail.Unreachable](err) || is[*pgconn.ConnectError](err) || errors.Is(err, jobmanager.ErrUnavailable)
	}},
	{exitFailed, "the job or command failed", func(error) bool { return true }},
}

func is[T error](err error) bool {
	var t T
	return errors.As(err, &t)
}

// connectClass is the class of a *hot.ConnectError, or "".
func connectClass(err error) string {
	var e *hot.ConnectError
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// ExitCode says how a process ends whose command returned err.
func ExitCode(err error) int {
	for _, e := range exits {
		if e.fits(err) {
			return e.code
		}
	}
	return exitFailed
}

// interruptedError is the error of a command that the user stopped. What the command itself returned is kept for those who
// ask with errors.As, and not printed: it only says that something was cut off.
type interruptedError struct{ err error }

func (e *interruptedError) Error() string   { return "interrupted" }
func (e *interruptedError) Unwrap() []error { return []error{fail.ErrInterrupted, e.err} }

// report prints err for people: what happened, where, and what to do about it.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "spillway: %s\n", strings.TrimRight(err.Error(), "\n"))
	if is[*interruptedError](err) {
		if h := hintOf(err); h != "" {
			fmt.Fprintf(w, "hint: %s\n", h)
		}
		return
	}
	var detailed interface{ Detail() string }
	if errors.As(err, &detailed) {
		fmt.Fprint(w, detailed.Detail())
	}
	if h := hintOf(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// hintOf returns the first hint in err's chain that is not empty.
func hintOf(err error) string {
	for err != nil {
		if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
			return h.Hint()
		}
		if h := roomHint(err); h != "" {
			return h
		}
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			err = u.Unwrap()
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				if h := hintOf(e); h != "" {
					return h
				}
			}
			return ""
		default:
			return ""
		}
	}
	return ""
}

// roomHint returns what to do about an error that another room made, itself and not what it wraps.
func roomHint(err error) string {
	switch e := err.(type) {
	case *hot.ConnectError:
		return e.Hint
	case *ledger.PrivilegeError:
		return e.Hint
	case *ledger.ForeignSchemaError:
		return e.Hint
	case *ledger.InUseError:
		return "stop every `spillway up`, worker and front of this database, then run this again"
	case *ledger.LiveJobsError:
		return "start `spillway up` and wait for their end, or stop them with KILL JOB; if Temporal has forgotten them: --abandon-jobs"
	case *ledger.DependentError:
		return dependentHint(e)
	case *embedtemporal.PortError:
		return "stop what listens there, or choose another address with --temporal-listen and --ui-listen"
	case *embedtemporal.StoreError:
		return e.Hint
	case *objstore.ForeignOwnerError:
		return "give this database a storage of its own with --storage; if the other database is gone for good, take its storage over with " +
			"`spillway storage adopt NAME --database-url …`"
	case *objstore.OptionError:
		return e.Hint
	}
	switch err {
	case objstore.ErrForbidden, objstore.ErrNoBucket:
		return "look at the bucket's name and region, at the keys, and at what they allow: docs/storages.md"
	case embedtemporal.ErrStoreLost:
		return "start it again: it is a standby while another process has the store, and goes on where that stops; see the log of PostgreSQL for the end of the session"
	case objstore.ErrDenied:
		return "let this user write to the storage, or choose another with --storage"
	case objstore.ErrFull:
		return "free some space in the storage; jobs that wait for it go on by themselves"
	case syscall.EADDRINUSE:
		return "stop what listens there, or choose another address"
	}
	return ""
}

func dependentHint(e *ledger.DependentError) string {
	switch {
	case e.Outside:
		return "drop them first, or give --cascade to drop them too; where they are Spillway's own views, name their schema with --system-schema"
	case len(e.Objects) > 0:
		return "move them to another schema first: ALTER … SET SCHEMA"
	}
	return "run this without --cascade: it names them; drop them yourself"
}
