package flush

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/manifest"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/sweep"
)

// Deps are what a Flusher works on. All but the last two are required.
type Deps struct {
	Hot    *hot.DB
	Ledger *ledger.Ledger
	Stores coldstore.Stores
	Log    *slog.Logger
	Meter  Meter         // nil: nobody counts
	Span   obs.StartSpan // nil: no traces
}

// Flusher holds the steps of a flush. Its methods may be called by many goroutines at once.
type Flusher struct {
	hot       *hot.DB
	ledger    *ledger.Ledger
	stores    coldstore.Stores
	log       *slog.Logger
	meter     Meter
	span      obs.StartSpan
	manifests *manifest.Publisher
	plans     planCache
	sweeper   *sweep.Sweeper
}

// New makes a Flusher.
func New(d Deps) (*Flusher, error) {
	if d.Hot == nil || d.Ledger == nil || d.Stores == nil || d.Log == nil {
		return nil, errors.New("flush: Hot, Ledger, Stores and Log are required")
	}
	if d.Meter == nil {
		d.Meter = noMeter{}
	}
	if d.Span == nil {
		d.Span = obs.NoSpan
	}
	return &Flusher{
		hot: d.Hot, ledger: d.Ledger, stores: d.Stores, log: d.Log, meter: d.Meter, span: d.Span,
		manifests: manifest.New(d.Ledger, d.Stores, d.Log), sweeper: sweep.New(d.Ledger, d.Stores, d.Log),
	}, nil
}

// jobUUID is the last part of a job id.
func jobUUID(jobID string) (uuid.UUID, error) {
	if len(jobID) < 36 {
		return uuid.UUID{}, fmt.Errorf("malformed job id %q", jobID)
	}
	return uuid.Parse(jobID[len(jobID)-36:])
}

// recordFailure keeps the full text of an error in the ledger.
func (f *Flusher) recordFailure(ctx context.Context, jobID string, chunk *int, attempt int, err error) {
	jobstep.NoteFailure(ctx, f.ledger, f.log, jobID, chunk, attempt, err)
}
