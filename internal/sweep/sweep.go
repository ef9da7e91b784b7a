package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Sweeper removes what attempts left behind that can never commit.
type Sweeper struct {
	ledger *ledger.Ledger
	stores coldstore.Stores
	log    *slog.Logger

	// ours is which database this process serves, as its attempts say it. It is asked once: where the database is promoted
	// under a running process, that process's attempts count as another's, and their objects stay.
	mu   sync.Mutex
	ours string
}

// New makes a sweeper.
func New(l *ledger.Ledger, stores coldstore.Stores, log *slog.Logger) *Sweeper {
	return &Sweeper{ledger: l, stores: stores, log: log}
}

// Settle condemns an attempt and, if it can never commit, deletes what it wrote. It reports how many objects.
func (s *Sweeper) Settle(ctx context.Context, a ledger.Attempt) (deleted int, err error) {
	if a.CondemnedAt == nil {
		verdict, err := s.ledger.Condemn(ctx, a.ID)
		if err != nil || verdict != ledger.VerdictCondemned {
			return 0, err
		}
		s.log.Info("condemned an attempt", obs.KeyJob, a.JobID, obs.KeyChunk, a.Chunk, obs.KeyAttempt, a.ID)
	}
	store, _, err := s.stores.Store(ctx, a.Storage)
	if err != nil {
		return 0, err
	}
	if deleted, err = s.DeleteAttempt(ctx, store, a); err != nil {
		return deleted, err
	}
	if deleted == 0 {
		return 0, s.MarkSwept(ctx, a.ID)
	}
	return deleted, nil
}

// MarkSwept notes that nothing of an attempt was found.
func (s *Sweeper) MarkSwept(ctx context.Context, id uuid.UUID) error {
	return fault.Do(ctx, fault.MarkSwept, func() error { return s.ledger.MarkSwept(ctx, id) })
}

// DeleteObjects deletes what a condemned attempt may have written: what begins with its prefix, and what it recorded.
func (s *Sweeper) DeleteObjects(ctx context.Context, store objstore.Store, id uuid.UUID, prefix string) (deleted int, err error) {
	err = fault.Do(ctx, fault.Delete, func() (err error) { deleted, err = s.deleteKeys(ctx, store, id, prefix); return err })
	return deleted, err
}

func (s *Sweeper) deleteKeys(ctx context.Context, store objstore.Store, id uuid.UUID, prefix string) (deleted int, err error) {
	if deleted, err = store.DeletePrefix(ctx, prefix); err != nil {
		return deleted, err
	}
	keys, err := s.ledger.StagedKeys(ctx, id)
	if err != nil {
		return deleted, err
	}
	var n atomic.Int64
	err = coldstore.InParallel(ctx, coldstore.Lanes, keys, func(ctx context.Context, key string) error {
		k, err := store.DeletePrefix(ctx, key) // and not Delete: it finds what an unfinished write left, too
		n.Add(int64(k))
		return err
	})
	return deleted + int(n.Load()), err
}

// SettleAll settles attempts. One that cannot be settled does not keep the others.
func (s *Sweeper) SettleAll(ctx context.Context, attempts []ledger.Attempt) (res jobstep.SweepResult, err error) {
	var errs []error
	for _, a := range attempts {
		n, err := s.Settle(ctx, a)
		res.Deleted += n
		if err != nil {
			errs = append(errs, err)
			continue
		}
		res.Condemned++
	}
	return res, errors.Join(errs...)
}

// Origin is which database this process serves.
func (s *Sweeper) Origin(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ours != "" {
		return s.ours, nil
	}
	id, err := s.ledger.Identity(ctx)
	if err != nil {
		return "", err
	}
	s.ours = id.Origin()
	return s.ours, nil
}

// Foreign reports whether an attempt was made by another database than this one. A clone, and a copy restored to a point in
// time, have the rows of the original's attempts; that they can never commit here says nothing about there.
func (s *Sweeper) Foreign(ctx context.Context, a ledger.Attempt) (bool, error) {
	if a.Origin == "" {
		return false, nil
	}
	id, err := s.ledger.Identity(ctx)
	return err == nil && a.Origin != id.Origin(), err
}

// DeleteAttempt removes the objects of a condemned attempt of this database, unfinished ones too, and counts them.
func (s *Sweeper) DeleteAttempt(ctx context.Context, store objstore.Store, a ledger.Attempt) (int, error) {
	foreign, err := s.Foreign(ctx, a)
	if err != nil {
		return 0, err
	}
	if foreign {
		s.log.Warn("the objects of an attempt stay: it was made by another database, or by this one before it was restored or promoted",
			obs.KeyJob, a.JobID, obs.KeyChunk, a.Chunk, obs.KeyAttempt, a.ID)
		return 0, nil
	}
	registered, err := s.ledger.AttemptRegistered(ctx, a)
	if err != nil {
		return 0, err
	}
	if registered { // the ledger contradicts itself, and cold rows are at stake
		return 0, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("attempt %s is condemned and has a segment: nothing of it is deleted", a.ID))
	}
	n, err := s.DeleteObjects(ctx, store, a.ID, a.ObjectPrefix)
	if err != nil {
		return n, fmt.Errorf("delete objects of a condemned attempt: %w", err)
	}
	return n, nil
}
