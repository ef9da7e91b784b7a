package embedpg

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spillwaydb/spillway/internal/filelock"
)

// A folder younger than this may be between its making and its lock.
const sweepAge = time.Minute

// sweepTemp removes temporary folders whose process was killed. It is a courtesy: what it cannot remove it leaves. The
// free lock, not the age, proves that nobody uses a folder.
func sweepTemp(parent string, acct account) {
	dirs, err := filepath.Glob(filepath.Join(parent, tempPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if left(dir, acct) {
			removeLeft(dir)
		}
	}
}

// left reports whether dir looks like a forgotten folder of the account that we would use ourselves.
func left(dir string, acct account) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || time.Since(info.ModTime()) < sweepAge {
		return false
	}
	if _, err := os.Lstat(filepath.Join(dir, lockFile)); err != nil {
		return false
	}
	owner, ok := ownerOf(dir)
	if !ok {
		return false
	}
	if acct.other {
		return owner.uid == acct.uid
	}
	return int64(owner.uid) == int64(os.Geteuid())
}

func removeLeft(dir string) {
	lock, err := filelock.Acquire(filepath.Join(dir, lockFile))
	if err != nil {
		return
	}
	defer lock.Release()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if settle(ctx, filepath.Join(dir, clusterDir)) == nil {
		os.RemoveAll(dir)
	}
}
