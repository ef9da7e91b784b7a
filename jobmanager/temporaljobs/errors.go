package temporaljobs

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spillwaydb/spillway/jobmanager"
)

// The error classes of jobs that ended without a word in the ledger.
const (
	classTerminated = "terminated" // ended by force, in the Temporal Web UI or by its command line
	classTimeout    = "timeout"
)

// failed wraps an error of Temporal with the step it happened in. An error that may pass by itself is also
// jobmanager.ErrUnavailable; the end of ctx is not, for it says nothing about the server.
func failed(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", step, context.Cause(ctx))
	}
	if unreachable(err) {
		return fmt.Errorf("%s: %w: %w", step, jobmanager.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// unreachable reports whether err means that Temporal does not answer, or not now.
func unreachable(err error) bool {
	var (
		gone     *serviceerror.Unavailable
		busy     *serviceerror.ResourceExhausted
		inactive *serviceerror.NamespaceNotActive
	)
	return errors.As(err, &gone) || errors.As(err, &busy) || errors.As(err, &inactive) ||
		status.Code(err) == codes.Unavailable || late(err)
}

// late reports whether a deadline ended a call, on our side or on the server's.
func late(err error) bool {
	var late *serviceerror.DeadlineExceeded
	return errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// notFound reports whether Temporal knows no such workflow, or none that is open.
func notFound(err error) bool {
	var nf *serviceerror.NotFound
	return errors.As(err, &nf)
}
