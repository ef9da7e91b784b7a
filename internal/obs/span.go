package obs

import (
	"context"
	"log/slog"
)

// StartSpan begins a timed step of a trace, below the one in ctx. The returned function ends it: "" means that it went
// well, anything else is the class of its error. Attributes are ids and numbers, never values of rows, predicates or
// full error texts: a trace leaves this system.
type StartSpan func(ctx context.Context, name string, attrs ...slog.Attr) (context.Context, func(class string))

// NoSpan is the StartSpan of a process that is not traced.
func NoSpan(ctx context.Context, _ string, _ ...slog.Attr) (context.Context, func(string)) {
	return ctx, func(string) {}
}

// Names of spans. Those of workflows and activities are the Temporal SDK's.
const (
	SpanStatement = "statement" // a statement of ours, at the SQL front-end
	SpanStartJob  = "StartJob"
	SpanMove      = "T1"     // the transaction that moves a chunk, from its first statement to the answer to COMMIT
	SpanUpload    = "upload" // an object is made durable
	SpanCommit    = "commit"
)

// AttrKind is an attribute of spans, besides the log keys: the kind of a statement, FLUSH, KILL, …
const AttrKind = "kind"
