package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// binary is the spillway that all tests run. It is made once, before the first of them.
var binary string

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "spillway-e2e-bin-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if binary, err = product.Binary(dir); err != nil {
		return fail(err)
	}
	if err := cloudtest.SetKeys(); err != nil {
		return fail(err)
	}
	code := m.Run()
	if commonUp.end() {
		code = max(code, 1)
	}
	if err := pgtest.Stop(); err != nil {
		code = max(code, fail(err))
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "e2e:", err)
	return 1
}

// lifetime is a testing.TB that lives as long as the test process, for what tests share.
type lifetime struct {
	testing.TB // nil: only the methods below may be called

	mu       sync.Mutex
	cleanups []func()
	failed   bool
	folders  int
	root     string
}

func (l *lifetime) Helper()      {}
func (l *lifetime) Name() string { return "shared" }
func (l *lifetime) Failed() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.failed }

func (l *lifetime) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", args...)
}
func (l *lifetime) Errorf(format string, args ...any) {
	l.mu.Lock()
	l.failed = true
	l.mu.Unlock()
	l.Logf(format, args...)
}
func (l *lifetime) Error(args ...any) { l.Errorf("%s", fmt.Sprint(args...)) }

// Fatalf ends the goroutine of the test that happens to be the first to need what is shared.
func (l *lifetime) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (l *lifetime) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }

func (l *lifetime) Cleanup(f func()) { l.mu.Lock(); l.cleanups = append(l.cleanups, f); l.mu.Unlock() }

func (l *lifetime) TempDir() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == "" {
		root, err := os.MkdirTemp("", "spillway-e2e-shared-")
		if err != nil {
			panic(err)
		}
		l.root = root
		l.cleanups = append([]func(){func() { os.RemoveAll(root) }}, l.cleanups...)
	}
	l.folders++
	dir := filepath.Join(l.root, fmt.Sprint(l.folders))
	if err := os.Mkdir(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
}

// common is the `up` that most tests share.
type common struct {
	once sync.Once
	life *lifetime
	up   *up
}

var commonUp common

// shared returns the shared `up`, started by the first test that asks.
func shared(t testing.TB) *up {
	t.Helper()
	c := &commonUp
	c.once.Do(func() {
		c.life = &lifetime{}
		u := startUp(c.life, pgtest.Database(c.life), "--slots", "16")
		u.furnish()
		c.up = u
	})
	if c.up == nil {
		t.Fatal("the shared spillway could not be started")
	}
	return c.up
}

// end stops the shared `up` and reports whether something was wrong.
func (c *common) end() (failed bool) {
	if c.up != nil {
		c.up.Terminate()
	}
	if c.life == nil {
		return false
	}
	for i := len(c.life.cleanups) - 1; i >= 0; i-- {
		c.life.cleanups[i]()
	}
	return c.life.Failed()
}
