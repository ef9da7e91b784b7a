package coldstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// Stores opens storages by name.
type Stores interface {
	// Store opens a storage that this installation owns; "" is the default one. It also returns the storage's name.
	Store(ctx context.Context, name string) (objstore.Store, string, error)
}

// LedgerStores opens the storages that the ledger names, each once, and only if this installation owns it.
type LedgerStores struct {
	ledger *ledger.Ledger
	open   func(ctx context.Context, location string) (objstore.Store, error)

	mu     sync.Mutex
	stores map[string]openStore // by name
}

type openStore struct {
	store objstore.Store
	row   ledger.StorageRow
}

var _ Stores = (*LedgerStores)(nil)

// NewLedgerStores makes a LedgerStores. A nil open means objstore.OpenWith, with the options that the ledger has.
func NewLedgerStores(l *ledger.Ledger, open func(ctx context.Context, location string) (objstore.Store, error)) *LedgerStores {
	return &LedgerStores{ledger: l, open: open, stores: map[string]openStore{}}
}

// Store implements Stores. The first call for a storage claims it; a storage of another installation is
// *objstore.ForeignOwnerError. The ledger is asked each time, for a name may be dropped and given to another place.
func (s *LedgerStores) Store(ctx context.Context, name string) (objstore.Store, string, error) {
	row, err := s.ledger.Storage(ctx, name)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && name != "":
		return nil, "", jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("storage %q does not exist", name))
	case err != nil:
		return nil, "", err
	case row.Pending:
		return nil, "", jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("storage %q is being created", name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.stores[row.Name]; ok && o.row.Location == row.Location && bytes.Equal(o.row.Options, row.Options) {
		return o.store, row.Name, nil
	}
	store, err := s.openRow(ctx, row)
	if err != nil {
		return nil, "", fmt.Errorf("open storage %s: %w", row.Name, err)
	}
	owner, err := OwnerOf(ctx, s.ledger)
	if err != nil {
		return nil, "", err
	}
	if err := objstore.ClaimOwner(ctx, store, owner); err != nil {
		return nil, "", fmt.Errorf("open storage %s: %w", row.Name, err)
	}
	s.stores[row.Name] = openStore{store, row}
	return store, row.Name, nil
}

func (s *LedgerStores) openRow(ctx context.Context, row ledger.StorageRow) (objstore.Store, error) {
	if s.open != nil {
		return s.open(ctx, row.Location)
	}
	options, err := row.OptionMap()
	if err != nil {
		return nil, err
	}
	return objstore.OpenWith(ctx, row.Location, options)
}

// OwnerOf is who the installation of a ledger is, by PostgreSQL's word of this moment.
func OwnerOf(ctx context.Context, l *ledger.Ledger) (objstore.Owner, error) {
	inst, err := l.Installation(ctx, "")
	if err != nil {
		return objstore.Owner{}, err
	}
	id, err := l.Identity(ctx)
	if err != nil {
		return objstore.Owner{}, err
	}
	return objstore.Owner{InstallationID: inst.ID.String(), SystemIdentifier: id.SystemIdentifier, DatabaseOID: id.DatabaseOID, Timeline: int64(id.Timeline)}, nil
}

// RequireOwner accepts only a storage that is marked as ours.
func RequireOwner(ctx context.Context, store objstore.Store, ours objstore.Owner) error {
	if _, err := objstore.ReadOwner(ctx, store); err != nil {
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("the owner's marker of storage %s cannot be read: is it mounted? %w", store.URL(""), err))
	}
	return objstore.CheckOwner(ctx, store, ours)
}

// PathOf is the template that a storage sets, or the default one.
func PathOf(row ledger.StorageRow) (string, error) {
	var o struct {
		Path string `json:"path"`
	}
	if len(row.Options) > 0 {
		if err := json.Unmarshal(row.Options, &o); err != nil {
			return "", fmt.Errorf("read the options of storage %s: %w", row.Name, err)
		}
	}
	if o.Path == "" {
		return layout.DefaultPath, nil
	}
	return o.Path, nil
}
