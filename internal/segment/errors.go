package segment

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotSegment is returned for a file that is not Parquet, or is Parquet without the footer of a segment.
	ErrNotSegment = errors.New("not a segment")

	// ErrCorrupt is returned for a segment whose bytes contradict themselves: a checksum, a count or a type is wrong.
	ErrCorrupt = errors.New("segment is corrupt")

	// ErrVersion is returned for a segment written in a later format than this program knows.
	ErrVersion = errors.New("segment has a later format")

	// ErrClosed is returned by a Writer that was closed or aborted before.
	ErrClosed = errors.New("segment writer is closed")

	// ErrTypeChanged is returned by a Writer when a composite in the stream has other attributes than its Schema knows: the type
	// was changed meanwhile.
	ErrTypeChanged = errors.New("the composite has other attributes than when the table was looked at")

	// ErrIncomplete is returned by Close when the COPY stream did not end with its trailer.
	ErrIncomplete = errors.New("the COPY stream ended before its trailer")
)

// KeyValue is one column of a row's primary key, as PostgreSQL prints it.
type KeyValue struct {
	Column string
	Value  string
}

// UnrepresentableError says that a value has no counterpart in the Parquet type of its column.
type UnrepresentableError struct {
	Column   string
	Path     string // names of the attributes that lead to the value inside of the column, joined by dots, or ""
	Declared string // the column's type, as declared
	Reason   string
	Row      int64      // which row of the stream, from 1
	RowID    string     // its ctid, "(12,3)", or "" when the stream carried none
	Key      []KeyValue // its primary key, if it has one
}

func (e *UnrepresentableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "column %q (%s)", e.Column, e.Declared)
	if e.Path != "" {
		fmt.Fprintf(&b, ", attribute %q", e.Path)
	}
	fmt.Fprintf(&b, ", row %d", e.Row)
	if e.RowID != "" {
		fmt.Fprintf(&b, ", ctid %s", e.RowID)
	}
	for i, kv := range e.Key {
		sep := ", "
		if i == 0 {
			sep = ", key "
		}
		fmt.Fprintf(&b, "%s%s=%s", sep, kv.Column, kv.Value)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	return b.String()
}

// FormatError says that the bytes given to a Writer are not a binary COPY stream of its schema.
type FormatError struct {
	Offset int64  // where in the stream
	Row    int64  // which row, from 1; 0 outside of rows
	Column string // which column, if known
	Reason string
}

func (e *FormatError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "malformed COPY stream at byte %d", e.Offset)
	if e.Row > 0 {
		fmt.Fprintf(&b, ", row %d", e.Row)
	}
	if e.Column != "" {
		fmt.Fprintf(&b, ", column %q", e.Column)
	}
	fmt.Fprintf(&b, ": %s", e.Reason)
	return b.String()
}

// SchemaError says why a table's columns cannot be written.
type SchemaError struct {
	Column string
	Reason string
}

func (e *SchemaError) Error() string {
	if e.Column == "" {
		return "schema: " + e.Reason
	}
	return fmt.Sprintf("schema: column %q: %s", e.Column, e.Reason)
}

// guard turns a panic of the Parquet library, which some corrupt files cause, into an error.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: parquet: %v", ErrCorrupt, r)
	}
}
