package embedtemporal_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

// TestLookingForAttributesLeavesNoConnection holds us to calls that do not make a server grow: each start of a worker looks.
func TestLookingForAttributesLeavesNoConnection(t *testing.T) {
	t.Parallel()
	srv := start(t, &embedtemporal.Options{NoUI: true})
	c := dial(t, srv)
	look := func() {
		if _, err := embedtemporal.MissingSearchAttributes(t.Context(), c, srv.Namespace(), nil); err != nil {
			t.Fatal(err)
		}
	}
	look()
	before := connectionsTo(t, srv.Address())
	const times = 40
	for range times {
		look()
	}
	if now := connectionsTo(t, srv.Address()); now >= before+times/2 {
		t.Errorf("%d connections to the server after %d looks, %d before", now, times, before)
	}
}

// connectionsTo counts the established connections of this machine to an address.
func connectionsTo(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		// sl, local address, remote address, state; 01 is established
		if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", number)) && f[3] == "01" {
			n++
		}
	}
	return n
}
