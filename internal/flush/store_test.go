package flush_test

import (
	"context"
	"fmt"
	"syscall"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// faultyOpen opens stores whose objects cannot be written while fail is set.
type faultyOpen struct{ fail bool }

func (o *faultyOpen) open(ctx context.Context, location string) (objstore.Store, error) {
	s, err := objstore.Open(ctx, location)
	return &faultyStore{s, o}, err
}

type faultyStore struct {
	objstore.Store
	o *faultyOpen
}

func (s *faultyStore) Create(ctx context.Context, key string) (objstore.Writer, error) {
	w, err := s.Store.Create(ctx, key)
	return &faultyWriter{w, s.o}, err
}

type faultyWriter struct {
	objstore.Writer
	o *faultyOpen
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if w.o.fail {
		return 0, fmt.Errorf("write: %w: %w", objstore.ErrFull, syscall.ENOSPC)
	}
	return w.Writer.Write(p)
}
