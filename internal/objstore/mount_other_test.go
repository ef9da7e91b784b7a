//go:build !linux

package objstore_test

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

const noMount = "small and read-only file systems are mounted on Linux only"

func mountTmpfs(*testing.T, string) (dir, cannot string) { return "", noMount }

func readOnlyMount(*testing.T) (objstore.Store, string) { return nil, noMount }
