package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// probePrefix begins the keys that Probe writes and removes.
const probePrefix = ".spillway-probe-"

// Probe tries all that a store is used for: it writes an object, reads and lists it, sees that its key counts as taken, and
// deletes it with what unfinished uploads of its name there are. It leaves nothing behind.
func Probe(ctx context.Context, s Store) error {
	key := probePrefix + newToken()
	err := probe(ctx, s, key)
	n, deleteErr := s.DeletePrefix(ctx, key)
	switch {
	case err != nil:
		return errors.Join(err, deleteErr)
	case deleteErr != nil:
		return deleteErr
	case n != 1:
		return fmt.Errorf("storage %s lists %d objects where one had been written", s.URL(""), n)
	}
	if _, err := s.Stat(ctx, key); !errors.Is(err, ErrNotExist) {
		return fmt.Errorf("storage %s still has an object that was deleted: %w", s.URL(""), err)
	}
	return nil
}

func probe(ctx context.Context, s Store, key string) error {
	want := []byte("written by Spillway to try the storage\n")
	if err := s.PutIfAbsent(ctx, key, want); err != nil {
		return err
	}
	obj, err := s.Open(ctx, key)
	if err != nil {
		return err
	}
	defer obj.Close()
	got, err := io.ReadAll(io.NewSectionReader(obj, 0, obj.Size()))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("storage %s gave back other bytes than were written", s.URL(""))
	}
	switch err := s.PutIfAbsent(ctx, key, want); {
	case err == nil, errors.Is(err, ErrChanged):
		return fmt.Errorf("storage %s lets a write replace an object that it was told not to: its server does not keep If-None-Match; "+
			"the option put_if_absent = false does without", s.URL(""))
	case !errors.Is(err, ErrExists):
		return err
	}
	return nil
}
