package fail

import (
	"context"
	"errors"
)

// ErrInterrupted is the cause of a context that ended because the user asked the process to stop.
var ErrInterrupted = errors.New("interrupted")

// Interrupted reports whether ctx ended because the user asked to stop.
func Interrupted(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrInterrupted) }
