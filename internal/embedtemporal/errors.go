package embedtemporal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
)

// ErrInUse is wrapped by the error of Start when another server has the data directory.
var ErrInUse = errors.New("data directory is in use")

// ErrStoreLost is wrapped by the error of a server whose store in PostgreSQL went to another process, or may have.
var ErrStoreLost = errors.New("this process no longer has the Temporal store")

// ErrAttributeType is wrapped by a SearchAttributesError when an attribute of the name has another type.
var ErrAttributeType = errors.New("an attribute of the name has another type")

// InUseError is returned by Start when another server has the data directory. It wraps ErrInUse.
type InUseError struct {
	Dir string
	PID int // 0 if unknown
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("the Temporal store in %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("the Temporal store in %s is in use by process %d", e.Dir, e.PID)
}

func (e *InUseError) Unwrap() error { return ErrInUse }

// PortError is returned by Start when an address is taken or cannot be listened on.
type PortError struct {
	Service string // "the Temporal server" or "the Temporal Web UI"
	Addr    string
	Err     error
}

func (e *PortError) Error() string {
	return fmt.Sprintf("cannot listen on %s for %s: %v", e.Addr, e.Service, e.Err)
}

func (e *PortError) Unwrap() error { return e.Err }

// StoreError is returned by Start when the store cannot be used as it is.
type StoreError struct {
	Path string
	Msg  string
	Err  error  // the cause, or nil
	Hint string // what to do, or ""
}

func (e *StoreError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("Temporal store %s: %s: %v", e.Path, e.Msg, e.Err)
	}
	return fmt.Sprintf("Temporal store %s: %s", e.Path, e.Msg)
}

func (e *StoreError) Unwrap() error { return e.Err }

// ServerError is a failure from which the server cannot go on: during Start, or later (see Server.Failed).
type ServerError struct {
	Msg string
	Err error // the cause, or nil
}

func (e *ServerError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("Temporal server: %s: %v", e.Msg, e.Err)
	}
	return "Temporal server: " + e.Msg
}

func (e *ServerError) Unwrap() error { return e.Err }

// SearchAttributesError is returned by EnsureSearchAttributes when attributes cannot be registered or used.
type SearchAttributesError struct {
	Namespace string
	Missing   map[string]enumspb.IndexedValueType
	Err       error
}

func (e *SearchAttributesError) Error() string {
	names := make([]string, 0, len(e.Missing))
	for _, name := range slices.Sorted(maps.Keys(e.Missing)) {
		names = append(names, fmt.Sprintf("%s (%s)", name, e.Missing[name]))
	}
	return fmt.Sprintf("search attributes missing in the Temporal namespace %q: %s: %v", e.Namespace, strings.Join(names, ", "), e.Err)
}

func (e *SearchAttributesError) Unwrap() error { return e.Err }

// CreateCommand is the command of Temporal's own tool that registers attributes in a namespace.
func CreateCommand(namespace string, attributes map[string]enumspb.IndexedValueType) string {
	var b strings.Builder
	b.WriteString("temporal operator search-attribute create --namespace " + namespace)
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		fmt.Fprintf(&b, " --name %s --type %s", name, attributes[name])
	}
	return b.String()
}
