package jobstep

import (
	"context"
	"errors"
	"strings"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Class sorts an error by what to do about it. Its name is stable: it is an error type in workflow history and the column
// error_class of system.jobs.
type Class struct {
	Name      string
	Retryable bool
	SQLState  string // of PostgreSQL's error, if there was one
}

// The class names.
const (
	ClassInvalid         = "invalid"         // bad SQL, bad options, impossible request
	ClassPrivilege       = "privilege"       // a right is missing
	ClassRefused         = "refused"         // a table that cannot be flushed safely
	ClassData            = "data"            // PostgreSQL could not evaluate something over a row
	ClassUnrepresentable = "unrepresentable" // a value has no place in its Parquet type
	ClassMissingTable    = "missing_table"   // dropped, or never there
	ClassConnection      = "connection"      // PostgreSQL cannot be reached, or went away
	ClassLock            = "lock"            // others hold locks for too long
	ClassDeadlock        = "deadlock"        // deadlock or serialization failure
	ClassResources       = "resources"       // PostgreSQL lacks memory, disk or connections
	ClassStorage         = "storage"         // the storage failed
	ClassStorageDenied   = "storage_denied"  // a cloud refuses us, or has no such bucket: a right, a key or a name is wrong
	ClassStorageFull     = "storage_full"    // the storage is full
	ClassDamaged         = "damaged"         // a segment's object is not what the ledger says
	ClassShutdown        = "shutdown"        // a planned stop of PostgreSQL or of this process
	ClassReplan          = "replan"          // the table changed its shape or file since it was planned
	ClassConflict        = "conflict"        // it kept changing
	ClassBusy            = "busy"            // a living job of another manager has the table
	ClassInterrupted     = "interrupted"     // the job's process ended before it did, or its table was given to another job
	ClassCancelled       = "cancelled"       // the caller asked to stop
	ClassInternal        = "internal"        // a fault of ours
)

// retryable holds the classes that time can cure.
var retryable = map[string]bool{
	ClassConnection: true, ClassLock: true, ClassDeadlock: true, ClassResources: true,
	ClassStorage: true, ClassStorageFull: true, ClassShutdown: true,
	ClassBusy: true,
}

// Classes lists all classes by name, and whether time can cure them.
func Classes() map[string]bool {
	all := make(map[string]bool)
	for _, name := range []string{
		ClassInvalid, ClassPrivilege, ClassRefused, ClassData, ClassUnrepresentable, ClassMissingTable, ClassConnection, ClassLock, ClassDeadlock,
		ClassResources, ClassStorage, ClassStorageDenied, ClassStorageFull, ClassDamaged, ClassShutdown, ClassReplan, ClassConflict, ClassBusy,
		ClassInterrupted, ClassCancelled, ClassInternal,
	} {
		all[name] = retryable[name]
	}
	return all
}

// ClassifiedError carries its class. Error texts may name rows and values: they go to the ledger, never to workflow history.
type ClassifiedError struct {
	Class string
	Err   error
}

func (e *ClassifiedError) Error() string { return e.Err.Error() }
func (e *ClassifiedError) Unwrap() error { return e.Err }

// Classified wraps err in a class; nil stays nil.
func Classified(class string, err error) error {
	if err == nil {
		return nil
	}
	return &ClassifiedError{Class: class, Err: err}
}

// ClassOf sorts any error that leaves this package.
func ClassOf(err error) Class {
	name := className(err)
	return Class{Name: name, Retryable: retryable[name], SQLState: hot.SQLState(err)}
}

func className(err error) string {
	var ce *ClassifiedError
	if errors.As(err, &ce) {
		return ce.Class
	}
	var ue *segment.UnrepresentableError
	var oe *objstore.Error
	var foreign *objstore.ForeignOwnerError
	var location *objstore.LocationError
	var option *objstore.OptionError
	var held *ledger.HeldError
	var connect *hot.ConnectError // without an SQLSTATE: TLS, say, which one worker's certificates may fail and another's not
	switch {
	case errors.Is(err, ledger.ErrClaimLost):
		return ClassInterrupted
	case errors.As(err, &held):
		return ClassBusy
	case errors.As(err, &foreign):
		return ClassRefused
	case errors.Is(err, segment.ErrTypeChanged):
		return ClassReplan
	case errors.As(err, &location), errors.As(err, &option):
		return ClassInvalid
	case errors.As(err, &ue):
		return ClassUnrepresentable
	case errors.Is(err, objstore.ErrFull):
		return ClassStorageFull
	case errors.Is(err, objstore.ErrForbidden), errors.Is(err, objstore.ErrNoBucket):
		return ClassStorageDenied
	case errors.Is(err, objstore.ErrInvalidKey):
		return ClassInternal
	case errors.As(err, &oe), errors.Is(err, objstore.ErrDenied): // disks and networks fail in more ways than have names
		return ClassStorage
	case errors.Is(err, hot.ErrNoTable):
		return ClassMissingTable
	}
	if state := hot.SQLState(err); state != "" {
		return classOfState(state)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ClassCancelled
	case errors.Is(err, context.DeadlineExceeded), hot.IsConnectionError(err), errors.As(err, &connect):
		return ClassConnection
	}
	return ClassInternal
}

// classOfState sorts an SQLSTATE. Codes: PostgreSQL documentation, appendix A.
func classOfState(state string) string {
	switch state {
	case "40001", "40P01":
		return ClassDeadlock
	case "55P03", "55006":
		return ClassLock
	case "23503": // with skip_referenced only: a row was referred to while its chunk ran, and the next try leaves it
		return ClassLock
	case "42501":
		return ClassPrivilege
	case "42P01", "3F000":
		return ClassMissingTable
	case "57P01", "57P02", "57P03":
		return ClassShutdown
	case "57014": // whoever cancelled it was not our caller, or the context would say so
		return ClassLock
	case "25P03", "57P05": // idle timeouts
		return ClassConnection
	}
	switch {
	case strings.HasPrefix(state, "08"):
		return ClassConnection
	case strings.HasPrefix(state, "53"), strings.HasPrefix(state, "58"):
		return ClassResources
	case strings.HasPrefix(state, "22"), strings.HasPrefix(state, "23"), strings.HasPrefix(state, "P0"), strings.HasPrefix(state, "54"):
		return ClassData
	case strings.HasPrefix(state, "42"), strings.HasPrefix(state, "0A"), strings.HasPrefix(state, "28"), strings.HasPrefix(state, "3D"):
		return ClassInvalid
	case strings.HasPrefix(state, "40"):
		return ClassDeadlock
	}
	return ClassInternal
}
