package coldstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Checker looks at storages before they are used. It runs where jobs run: there, and perhaps only there, are the
// credentials, and the way to the bucket.
type Checker struct {
	ledger *ledger.Ledger
	log    *slog.Logger
}

// NewChecker makes a Checker.
func NewChecker(l *ledger.Ledger, log *slog.Logger) (*Checker, error) {
	if l == nil || log == nil {
		return nil, errors.New("coldstore: a ledger and a log are required")
	}
	return &Checker{ledger: l, log: log}, nil
}

// CheckStorage writes, reads and deletes an object in a storage of the ledger, and marks the storage as ours. One that
// belongs to another is *objstore.ForeignOwnerError, unless adopt says to take it over. What was found, the text of an error
// too, goes into the ledger.
func (c *Checker) CheckStorage(ctx context.Context, name string, adopt bool) error {
	row, err := c.ledger.Storage(ctx, name)
	if errors.Is(err, ledger.ErrNotFound) {
		return jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("storage %q does not exist", name))
	}
	if err != nil {
		return err
	}
	err = c.check(ctx, row, adopt)
	class, message := "", ""
	if err != nil {
		class, message = jobstep.ClassOf(err).Name, err.Error()
	}
	settled, cancel := jobstep.SettleContext(ctx)
	defer cancel()
	return errors.Join(err, c.ledger.SetStorageChecked(settled, name, row.Location, class, message))
}

func (c *Checker) check(ctx context.Context, row ledger.StorageRow, adopt bool) error {
	options, err := row.OptionMap()
	if err != nil {
		return err
	}
	store, err := objstore.OpenWith(ctx, row.Location, options)
	if err != nil {
		return err
	}
	if err := objstore.Probe(ctx, store); err != nil {
		return err
	}
	ours, err := OwnerOf(ctx, c.ledger)
	if err != nil {
		return err
	}
	if !adopt {
		return objstore.ClaimOwner(ctx, store, ours)
	}
	if found, err := objstore.ReadOwner(ctx, store); err == nil && found != ours {
		c.log.Warn("adopting a storage", obs.KeyStorage, row.Name, obs.KeyPrevious, found.String())
	}
	return objstore.AdoptOwner(ctx, store, ours)
}
