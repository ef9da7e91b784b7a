package localjobs_test

import (
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/jobmanager/localjobs"
)

// What cannot be opened says so without the password. How it goes well, tests/library shows.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:geheim@127.0.0.1:1/d?sslmode=disable", "postgres://u:geheim@127.0.0.1:port/d"} {
		m, _, err := localjobs.Open(t.Context(), url, nil)
		if err == nil || m != nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
