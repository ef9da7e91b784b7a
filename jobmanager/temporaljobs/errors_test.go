package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spillwaydb/spillway/jobmanager"
)

// TestUnavailable has one row per error of Temporal that may pass by itself, and some that do not.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want bool
	}{
		"unavailable":        {t.Context(), serviceerror.NewUnavailable("x"), true},
		"deadline":           {t.Context(), serviceerror.NewDeadlineExceeded("x"), true},
		"busy":               {t.Context(), &serviceerror.ResourceExhausted{Message: "x"}, true},
		"failover":           {t.Context(), serviceerror.NewNamespaceNotActive("ns", "a", "b"), true},
		"grpc unavailable":   {t.Context(), status.Error(codes.Unavailable, "x"), true},
		"grpc deadline":      {t.Context(), status.Error(codes.DeadlineExceeded, "x"), true},
		"wrapped deadline":   {t.Context(), fmt.Errorf("x: %w", context.DeadlineExceeded), true},
		"invalid":            {t.Context(), serviceerror.NewInvalidArgument("x"), false},
		"permission":         {t.Context(), serviceerror.NewPermissionDenied("x", ""), false},
		"namespace":          {t.Context(), serviceerror.NewNamespaceNotFound("x"), false},
		"the caller's ended": {ended, serviceerror.NewUnavailable("x"), false},
	} {
		err := failed(c.ctx, "step", c.err)
		if got := errors.Is(err, jobmanager.ErrUnavailable); got != c.want {
			t.Errorf("%s: %v: unavailable = %v, want %v", name, err, got, c.want)
		}
	}
	if err := failed(ended, "step", serviceerror.NewUnavailable("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
