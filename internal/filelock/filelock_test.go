package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/spillwaydb/spillway/internal/filelock"
)

func TestOneHolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := filelock.Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = filelock.Acquire(path)
	var held *filelock.HeldError
	if !errors.As(err, &held) {
		t.Fatalf("second Acquire: %v, want *HeldError", err)
	}
	if held.PID != os.Getpid() {
		t.Errorf("holder is %d, want %d", held.PID, os.Getpid())
	}
	for range 2 {
		if err := first.Release(); err != nil {
			t.Fatalf("Release: %v", err)
		}
	}
	second, err := filelock.Acquire(path)
	if err != nil {
		t.Fatalf("after Release: %v", err)
	}
	second.Release()
}

func TestMissingFolder(t *testing.T) {
	t.Parallel()
	_, err := filelock.Acquire(filepath.Join(t.TempDir(), "none", "lock"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v, want not exist", err)
	}
}
