package product

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// Main is the TestMain of a package whose tests run the binary: it builds that, puts its path into binary, prepares the rest, runs
// the tests, and stops the PostgreSQL server that they shared. It ends the process.
func Main(m *testing.M, binary *string, prepare ...func() error) { os.Exit(run(m, binary, prepare)) }

func run(m *testing.M, binary *string, prepare []func() error) int {
	dir, err := os.MkdirTemp("", "spillway-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		*binary, err = Binary(dir)
	}
	for _, f := range prepare {
		err = errors.Join(err, f())
	}
	if err != nil {
		return told(err)
	}
	code := m.Run()
	if err := pgtest.Stop(); err != nil {
		code = max(code, told(err))
	}
	return code
}

func told(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
