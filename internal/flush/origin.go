package flush

import (
	"context"
	"fmt"
	"sync"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
)

// origins remembers which database a process serves, as its attempts say it. It is asked once: where the database is promoted
// under a running process, that process's attempts count as another's, and their objects stay.
type origins struct {
	mu   sync.Mutex
	ours string
}

func (f *Flusher) origin(ctx context.Context) (string, error) {
	f.origins.mu.Lock()
	defer f.origins.mu.Unlock()
	if f.origins.ours != "" {
		return f.origins.ours, nil
	}
	id, err := f.ledger.Identity(ctx)
	if err != nil {
		return "", err
	}
	f.origins.ours = id.Origin()
	return f.origins.ours, nil
}

// foreignAttempt reports whether an attempt was made by another database than this one. A clone, and a copy restored to a point in
// time, have the rows of the original's attempts; that they can never commit here says nothing about there.
func (f *Flusher) foreignAttempt(ctx context.Context, a ledger.Attempt) (bool, error) {
	if a.Origin == "" {
		return false, nil
	}
	id, err := f.ledger.Identity(ctx)
	return err == nil && a.Origin != id.Origin(), err
}

// deleteAttempt removes the objects of a condemned attempt of this database, unfinished ones too, and counts them.
func (f *Flusher) deleteAttempt(ctx context.Context, store objstore.Store, a ledger.Attempt) (int, error) {
	foreign, err := f.foreignAttempt(ctx, a)
	if err != nil {
		return 0, err
	}
	if foreign {
		f.log.Warn("the objects of an attempt stay: it was made by another database, or by this one before it was restored or promoted",
			obs.KeyJob, a.JobID, obs.KeyChunk, a.Chunk, obs.KeyAttempt, a.ID)
		return 0, nil
	}
	registered, err := f.ledger.AttemptRegistered(ctx, a)
	if err != nil {
		return 0, err
	}
	if registered { // the ledger contradicts itself, and cold rows are at stake
		return 0, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("attempt %s is condemned and has a segment: nothing of it is deleted", a.ID))
	}
	n, err := f.deleteObjects(ctx, store, a.ID, a.ObjectPrefix)
	if err != nil {
		return n, fmt.Errorf("delete objects of a condemned attempt: %w", err)
	}
	return n, nil
}
