package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// ErrStopping is the cause with which a worker that gives up its running activities ends their contexts.
var ErrStopping = errors.New("the worker is stopping")

// The error types that workflows decide by. They are the class names of internal/jobstep.
const (
	ClassShutdown = jobstep.ClassShutdown
	ClassReplan   = jobstep.ClassReplan
	ClassConflict = jobstep.ClassConflict
	ClassInternal = jobstep.ClassInternal
)

// The policy that workflows retry by: every manager's.
const (
	DefaultAttempts = jobstep.DefaultAttempts
	DefaultReplans  = jobstep.DefaultReplans
	FirstBackoff    = jobstep.FirstBackoff
	MaxBackoff      = jobstep.MaxBackoff
)

const noChunk = -1

// ErrorDetails is all that an activity's error says besides its class.
type ErrorDetails struct {
	SQLState  string
	Chunk     int       // -1: none
	Stopped   bool      // this process stopped; the work itself did not fail
	StartedAt time.Time // of the attempt
}

// report turns an error of a flush step into what Temporal may know of it: a type, retryable or not, and ErrorDetails.
// Whether the context has ended is asked first, for then the error is only an echo of that.
func report(ctx context.Context, err error, chunk int) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return interrupted(ctx, chunk)
	}
	class := jobstep.ClassOf(err)
	return temporal.NewApplicationErrorWithOptions(message(class.Name, chunk), class.Name, temporal.ApplicationErrorOptions{
		// A new plan comes from the workflow, not from trying the old one again.
		NonRetryable: !class.Retryable,
		Details:      []any{ErrorDetails{SQLState: class.SQLState, Chunk: chunk, StartedAt: startedAt(ctx)}},
	})
}

// interrupted says why ctx ended: the job was cancelled, or this process stops, or it lost touch with the server. Only
// the first is the end of the work.
func interrupted(ctx context.Context, chunk int) error {
	if temporal.IsCanceledError(context.Cause(ctx)) {
		// Benign, so that a KILL is not in the log as an error; the cause is what Temporal records.
		return temporal.NewApplicationErrorWithOptions(message(jobstep.ClassCancelled, chunk), jobstep.ClassCancelled, temporal.ApplicationErrorOptions{
			Cause:    temporal.NewCanceledError(ErrorDetails{Chunk: chunk, StartedAt: startedAt(ctx)}),
			Category: temporal.ApplicationErrorCategoryBenign,
		})
	}
	return temporal.NewApplicationErrorWithOptions(message(ClassShutdown, chunk), ClassShutdown, temporal.ApplicationErrorOptions{
		NextRetryDelay: time.Millisecond, // at once: another worker may be waiting
		Details:        []any{ErrorDetails{Chunk: chunk, Stopped: true, StartedAt: startedAt(ctx)}},
		Category:       temporal.ApplicationErrorCategoryBenign,
	})
}

// startedAt returns when the attempt started; jobs that never finish a chunk have no other word of it.
func startedAt(ctx context.Context) time.Time {
	if !activity.IsActivity(ctx) {
		return time.Time{}
	}
	return activity.GetInfo(ctx).StartedTime
}

// message is generic on purpose: the full text may hold values of rows, and is in the ledger.
func message(class string, chunk int) string {
	if chunk == noChunk {
		return fmt.Sprintf("error of class %s; see the job's error in system.jobs", class)
	}
	return fmt.Sprintf("chunk %d: error of class %s; see the job's error in system.jobs", chunk, class)
}
