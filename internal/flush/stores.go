package flush

import (
	"context"
	"fmt"
	"sync"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// LedgerStores opens the storages that the ledger names, each once, and only if this installation owns it.
type LedgerStores struct {
	ledger *ledger.Ledger
	open   func(ctx context.Context, location string) (objstore.Store, error)

	mu     sync.Mutex
	stores map[string]openStore // by name; "" is the default one
}

type openStore struct {
	store objstore.Store
	name  string
}

var _ Stores = (*LedgerStores)(nil)

// NewLedgerStores makes a LedgerStores. A nil open means objstore.Open.
func NewLedgerStores(l *ledger.Ledger, open func(ctx context.Context, location string) (objstore.Store, error)) *LedgerStores {
	if open == nil {
		open = objstore.Open
	}
	return &LedgerStores{ledger: l, open: open, stores: map[string]openStore{}}
}

// Store implements Stores. The first call for a storage claims it; a storage of another installation is
// *objstore.ForeignOwnerError.
func (s *LedgerStores) Store(ctx context.Context, name string) (objstore.Store, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.stores[name]; ok {
		return o.store, o.name, nil
	}
	row, err := s.ledger.Storage(ctx, name)
	if err != nil {
		return nil, "", err
	}
	store, err := s.open(ctx, row.Location)
	if err != nil {
		return nil, "", fmt.Errorf("open storage %s: %w", row.Name, err)
	}
	owner, err := s.owner(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := objstore.ClaimOwner(ctx, store, owner); err != nil {
		return nil, "", fmt.Errorf("open storage %s: %w", row.Name, err)
	}
	s.stores[name] = openStore{store, row.Name}
	return store, row.Name, nil
}

// owner is who this installation is, as its storages' markers say.
func (s *LedgerStores) owner(ctx context.Context) (objstore.Owner, error) {
	return ownerOf(ctx, s.ledger)
}

// ownerOf is who the installation of a ledger is, by PostgreSQL's word of this moment.
func ownerOf(ctx context.Context, l *ledger.Ledger) (objstore.Owner, error) {
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
