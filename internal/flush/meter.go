package flush

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Meter hears what steps of jobs did in this process. Its methods may be called by many goroutines at once and must not block.
type Meter interface {
	Chunk(jobType, outcome string, took time.Duration) // an attempt at a chunk ended
	Moved(jobType string, rows, bytes int64)           // a chunk is committed
	Committed(jobType string, took time.Duration)      // PostgreSQL answered to a COMMIT
	Uploaded(jobType string, took time.Duration)       // an object is durable
	Ended(jobType, status, class string)               // the end of a job is recorded, by this process
}

// The outcomes of attempts at chunks.
const (
	OutcomeCommitted = "committed"
	OutcomeFailed    = "failed"
	OutcomeStopped   = "stopped" // its job was cancelled, or this process stops
)

// noMeter is the Meter of a process that nobody asks.
type noMeter struct{}

func (noMeter) Chunk(string, string, time.Duration)    {}
func (noMeter) Moved(string, int64, int64)             {}
func (noMeter) Committed(string, time.Duration)        {}
func (noMeter) Uploaded(string, time.Duration)         {}
func (noMeter) Ended(jobType, status, errClass string) {}

// jobType is the first part of a job id.
func jobType(jobID string) string {
	typ, _, _ := strings.Cut(jobID, ":")
	return typ
}

// measured tells the meter of an attempt at a chunk that began at a time.
func (f *Flusher) measured(in jobstep.ChunkInput, began time.Time, res jobstep.ChunkResult, err error) {
	typ := jobType(in.JobID)
	switch {
	case err == nil && res.Earlier: // counted by whoever committed it
	case err == nil:
		f.meter.Chunk(typ, OutcomeCommitted, time.Since(began))
		f.meter.Moved(typ, res.Rows, res.Bytes)
	case jobstep.ClassOf(err).Name == jobstep.ClassCancelled:
		f.meter.Chunk(typ, OutcomeStopped, time.Since(began))
	default:
		f.meter.Chunk(typ, OutcomeFailed, time.Since(began))
	}
}

// span begins a step of an attempt in the trace of its job. The returned function ends it.
func (a *attempt) span(ctx context.Context, name string) (context.Context, func(error)) {
	ctx, end := a.f.span(ctx, name, slog.String(obs.KeyJob, a.in.JobID), slog.Int(obs.KeyChunk, a.in.Chunk), slog.String(obs.KeyAttempt, a.id.String()))
	return ctx, func(err error) {
		if err != nil {
			end(jobstep.ClassOf(err).Name)
			return
		}
		end("")
	}
}

// durable makes an object durable.
func (a *attempt) durable(ctx context.Context, object objstore.Writer) error {
	return a.uploading(ctx, func(ctx context.Context) error { return a.heed(upload(ctx, object)) })
}

// uploading measures how long it takes to make one object durable, or a batch of small ones.
func (a *attempt) uploading(ctx context.Context, put func(context.Context) error) error {
	ctx, end := a.span(ctx, obs.SpanUpload)
	began := time.Now()
	err := put(ctx)
	end(err)
	if err == nil {
		a.f.meter.Uploaded(jobType(a.in.JobID), time.Since(began))
	}
	return err
}
