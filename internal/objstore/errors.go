package objstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Errors to test for with errors.Is. They are wrapped together with the system's own error.
var (
	// ErrExists is returned by Writer.Commit and PutIfAbsent when the key is taken.
	ErrExists = errors.New("object exists")
	// ErrNotExist is returned by Open and Stat when there is no object under the key.
	ErrNotExist = errors.New("object does not exist")
	// ErrFull is returned when the storage or a quota is exhausted. Trying later may help.
	ErrFull = errors.New("storage is full")
	// ErrDenied is returned when the storage may not be written or read by us.
	ErrDenied = errors.New("storage access denied")
	// ErrForbidden is ErrDenied by a cloud that knows who we are, or has been told by nobody: no later try will be let in.
	ErrForbidden = fmt.Errorf("%w for good", ErrDenied)
	// ErrNoBucket is returned when there is no such bucket or container.
	ErrNoBucket = errors.New("bucket does not exist")
	// ErrChanged is returned by reads of an object that was replaced or deleted after it was opened, and by Commit when the
	// object is another's after its upload was acknowledged.
	ErrChanged = errors.New("object was changed by another")
	// ErrUnanswered is returned by Commit of a bucket's writer when the upload was sent and what came of it is not known: the object may
	// still appear, even after DeletePrefix has found nothing.
	ErrUnanswered = errors.New("the upload was not answered")
	// ErrInvalidKey is returned by every method for a key that breaks the rules of CheckKey.
	ErrInvalidKey = errors.New("invalid object key")
	// ErrReplaced is returned by Writer.Commit when the store's folder is not the one that the write began in: renamed,
	// or another file system was mounted over it.
	ErrReplaced = errors.New("storage was replaced during the write")
)

// Error says what was tried on which object. errors.Is finds both the kind and the cause.
type Error struct {
	Op   string // "create", "commit", …
	URL  string
	Kind error // one of the errors above, or nil
	Err  error // the cause
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.URL, e.Err) }

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// KeyError says why a key was refused. It wraps ErrInvalidKey.
type KeyError struct {
	Key string
	Msg string
}

func (e *KeyError) Error() string { return fmt.Sprintf("object key %q: %s", e.Key, e.Msg) }

func (e *KeyError) Unwrap() error { return ErrInvalidKey }

// LocationError is returned by Open for a location that no store understands.
type LocationError struct {
	Location string
	Msg      string
}

func (e *LocationError) Error() string {
	return fmt.Sprintf("storage location %q: %s", e.Location, e.Msg)
}

// ForeignOwnerError is returned by ClaimOwner when the storage belongs to another database, or to this one before it was
// restored, cloned or promoted.
type ForeignOwnerError struct {
	Location    string
	Found, Ours Owner
}

func (e *ForeignOwnerError) Error() string {
	return fmt.Sprintf("storage %s belongs to another database (found: %s; ours: %s)", e.Location, e.Found, e.Ours)
}

// kindOf finds the sentinel for an error of the operating system.
func kindOf(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ErrFull
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return ErrDenied
	case errors.Is(err, fs.ErrExist):
		return ErrExists
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return ErrNotExist
	default:
		return nil
	}
}
