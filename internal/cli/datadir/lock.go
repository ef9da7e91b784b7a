package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/filelock"
)

// Lock makes sure that one process at a time runs on a data directory. The lock goes with the process, however
// that ends.
func Lock(dataDir string) (*filelock.Lock, error) {
	advice := "choose a directory that you may write to with --data-dir"
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, fail.Hint(fmt.Errorf("data directory: %w", err), "%s", advice)
	}
	lock, err := filelock.Acquire(filepath.Join(dataDir, "up.lock"))
	var held *filelock.HeldError
	switch {
	case errors.As(err, &held):
		return nil, fail.Hint(fmt.Errorf("another spillway (process %d) is running on the data directory %s", held.PID, dataDir),
			"stop it first, or give this one its own --data-dir")
	case err != nil:
		return nil, fail.Hint(fmt.Errorf("data directory: %w", err), "%s", advice)
	}
	return lock, nil
}
