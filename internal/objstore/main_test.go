package objstore_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
)

func TestMain(m *testing.M) {
	if err := cloudtest.SetKeys(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
