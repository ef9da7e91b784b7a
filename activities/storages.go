package activities

import (
	"context"
	"errors"
)

// StorageChecker is the part of *coldstore.Checker that activities call.
type StorageChecker interface {
	CheckStorage(ctx context.Context, name string, adopt bool) error
}

// StorageInput names a storage of the ledger.
type StorageInput struct {
	Name  string
	Adopt bool // take it over, whoever's it was
}

// Storages are the steps of statements about storages. Register the struct with a worker; a nil *Storages names them in a
// workflow.
type Storages struct{ checker StorageChecker }

// NewStorages returns the activities of c.
func NewStorages(c StorageChecker) (*Storages, error) {
	if c == nil {
		return nil, errors.New("a storage checker is required")
	}
	return &Storages{checker: c}, nil
}

// CheckStorage tries a storage and marks it as ours. What it found stands in the ledger.
func (s *Storages) CheckStorage(ctx context.Context, in StorageInput) error {
	return report(ctx, s.checker.CheckStorage(ctx, in.Name, in.Adopt), noChunk)
}
