package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
)

const patience = 2 * time.Minute

// The one piece of package state: tests of one process share a server, and TestMain has to find it.
var shared struct {
	mu     sync.Mutex
	server *embedpg.Server
	err    error
	done   bool
}

// Main runs the tests, stops the shared server and exits. It is the whole of a TestMain. A TestMain that has more to do
// calls Stop itself.
func Main(m *testing.M) {
	code := m.Run()
	if err := Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return shared.server.Stop(ctx)
}

// Server is the server that the tests of this process share, started by the first that asks.
func Server(t testing.TB) *embedpg.Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.done {
		shared.done = true
		shared.server, shared.err = start(map[string]string{
			"fsync":            "off",
			"full_page_writes": "off",
			"max_connections":  "200",
		})
	}
	if shared.err != nil {
		t.Fatalf("shared PostgreSQL server: %v", shared.err)
	}
	return shared.server
}

// Own starts a private server with full durability, stopped when the test ends. settings may be nil.
func Own(t testing.TB, settings map[string]string) *embedpg.Server {
	t.Helper()
	srv, err := start(settings)
	if err != nil {
		t.Fatalf("private PostgreSQL server: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return srv
}

func start(settings map[string]string) (*embedpg.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return embedpg.Start(ctx, &embedpg.Options{Settings: settings})
}
