// Package temporaltest shares one Temporal server in memory among the tests of a process.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { temporaltest.Main(m) }
//
// and names its task queues and workflows after its tests, for all of them meet in one namespace.
//
// Warning: a test program that imports this package links the whole server, which takes seconds and 150 MB. Few should.
package temporaltest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"

	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

const patience = 2 * time.Minute

// The one piece of package state: tests of one process share a server, and TestMain has to find it.
var shared struct {
	mu     sync.Mutex
	server *embedtemporal.Server
	err    error
	done   bool
}

// Main runs the tests, stops the shared server and exits. It is the whole of a TestMain. A TestMain that has more to do
// calls Stop itself.
func Main(m *testing.M) {
	code := m.Run()
	if err := Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "temporaltest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Stop ends the shared server, if one was started. It may be called twice.
func Stop() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		return nil
	}
	return shared.server.Stop()
}

// Shared is the server that the tests of this process share, started by the first that asks. It has no Web UI.
func Shared(t testing.TB) *embedtemporal.Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.done {
		shared.done = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		shared.server, shared.err = embedtemporal.Start(ctx, &embedtemporal.Options{NoUI: true})
	}
	if shared.err != nil {
		t.Fatalf("shared Temporal server: %v", shared.err)
	}
	return shared.server
}

// Client is a client of the shared server, closed when the test ends.
func Client(t testing.TB) client.Client {
	t.Helper()
	srv := Shared(t)
	c, err := client.Dial(client.Options{
		HostPort:  srv.Address(),
		Namespace: srv.Namespace(),
		Logger:    sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatalf("connect to Temporal: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// SearchAttributes registers attributes on the shared server and waits until they can be used.
func SearchAttributes(t testing.TB, attributes map[string]enumspb.IndexedValueType) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := Client(t)
	if err := embedtemporal.EnsureSearchAttributes(ctx, c, Shared(t).Namespace(), attributes); err != nil {
		t.Fatal(err)
	}
}
