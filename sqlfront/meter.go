package sqlfront

import (
	"context"
	"log/slog"
	"time"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Meter hears of statements. Its methods may be called by many goroutines at once and must not block.
type Meter interface {
	// Statement is one of ours that was answered. kind is its command tag: FLUSH, KILL JOB, SHOW.
	Statement(kind string, took time.Duration, failed bool)
	// Relayed is a text that goes to PostgreSQL as it is.
	Relayed()
}

type noMeter struct{}

func (noMeter) Statement(string, time.Duration, bool) {}
func (noMeter) Relayed()                              {}

// measured begins a statement. The returned function ends it with its SQLSTATE, or "" if it went well. The statement itself is
// told to nobody: it may hold literals.
func (f *Front) measured(ctx context.Context, kind string) (context.Context, func(sqlstate string)) {
	began := time.Now()
	ctx, end := f.opt.Span(ctx, obs.SpanStatement, slog.String(obs.AttrKind, kind))
	return ctx, func(sqlstate string) {
		end(sqlstate)
		f.opt.Meter.Statement(kind, time.Since(began), sqlstate != "")
	}
}
