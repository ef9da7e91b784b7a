package upkeep

import (
	"context"
	"log/slog"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/manifest"
	"github.com/spillwaydb/spillway/internal/sweep"
)

// Keeper looks after what is cold. Its methods may be called by many goroutines at once.
type Keeper struct {
	ledger    *ledger.Ledger
	stores    coldstore.Stores
	log       *slog.Logger
	manifests *manifest.Publisher
	sweeper   *sweep.Sweeper
}

// New makes a keeper.
func New(l *ledger.Ledger, stores coldstore.Stores, log *slog.Logger) *Keeper {
	return &Keeper{ledger: l, stores: stores, log: log, manifests: manifest.New(l, stores, log), sweeper: sweep.New(l, stores, log)}
}

// recordFailure keeps the full text of an error in the ledger.
func (k *Keeper) recordFailure(ctx context.Context, jobID string, chunk *int, attempt int, err error) {
	jobstep.NoteFailure(ctx, k.ledger, k.log, jobID, chunk, attempt, err)
}
