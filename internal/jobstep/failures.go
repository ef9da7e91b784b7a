package jobstep

import (
	"context"
	"log/slog"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// settleTimeout bounds the work that follows a failure or a stop: ending a backend, condemning, deleting objects.
const settleTimeout = 30 * time.Second

// SettleContext outlives ctx, for work that must be done although the caller has gone.
func SettleContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// NoteFailure keeps the full text of an error in the ledger, the only place where it may name rows and values. A stop is
// not a failure.
func NoteFailure(ctx context.Context, l *ledger.Ledger, log *slog.Logger, jobID string, chunk *int, attempt int, err error) {
	class := ClassOf(err)
	if class.Name == ClassCancelled || class.Name == ClassReplan {
		return
	}
	ctx, cancel := SettleContext(ctx)
	defer cancel()
	recErr := l.RecordFailure(ctx, ledger.Failure{
		JobID: jobID, Chunk: chunk, Attempt: max(attempt, 1), Class: class.Name, SQLState: class.SQLState, Message: errorText(err),
	})
	if recErr != nil {
		log.Warn("could not record a failure in the ledger", obs.KeyJob, jobID, obs.KeyClass, class.Name, obs.KeyErr, recErr)
	}
}

// errorText is the whole text for the operator, with what PostgreSQL adds below its message.
func errorText(err error) string {
	text := err.Error()
	if d := hot.ErrorDetail(err); d != "" {
		text += " (" + d + ")"
	}
	return text
}
