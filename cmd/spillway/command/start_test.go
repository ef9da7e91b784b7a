package command

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// An address on which nobody could listen is wrong usage, whichever listener it is for, before anything is started.
func TestListenAddresses(t *testing.T) {
	t.Parallel()
	none := []string{"--database-url", "postgres://u:p@127.0.0.1:1/d?sslmode=disable"} // what is started would fail here
	flags := map[string][]string{
		"up":     {"sql-listen", "metrics-listen", "temporal-listen", "ui-listen"},
		"front":  {"sql-listen", "metrics-listen"},
		"worker": {"metrics-listen"},
	}
	for command, names := range flags {
		for _, name := range names {
			for address, says := range map[string]string{
				"127.0.0.1:70000": "the port must be a number up to 65535",
				"127.0.0.1:-1":    "the port must be a number up to 65535",
				"127.0.0.1:http":  "the port must be a number up to 65535",
				"127.0.0.1:":      "the port must be a number up to 65535",
				"127.0.0.1":       "expected host:port",
				"::1:7432":        "expected host:port",
				"http://x:7432":   "expected host:port",
			} {
				r := invoke(t, append([]string{command, "--" + name, address}, none...))
				if r.code != exitUsage || !strings.HasPrefix(r.errOut, "spillway: --"+name+` "`+address+`": `+says+"\nhint: an address looks like") {
					t.Errorf("%s --%s %s: exit code %d: %s", command, name, address, r.code, r.errOut)
				}
			}
			if name == metricsFlag {
				continue // "" is none
			}
			if r := invoke(t, append([]string{command, "--" + name, ""}, none...)); r.code != exitUsage {
				t.Errorf("%s --%s '': exit code %d: %s", command, name, r.code, r.errOut)
			}
		}
	}
	if r := invoke(t, append([]string{"worker", "--metrics-listen", ""}, none...)); r.code != exitUnreachable {
		t.Errorf("worker without metrics: exit code %d: %s", r.code, r.errOut)
	}
	// The environment counts as the command line does.
	if r := invoke(t, append([]string{"worker"}, none...), "SPILLWAY_METRICS_LISTEN=127.0.0.1:70000"); r.code != exitUsage {
		t.Errorf("exit code %d: %s", r.code, r.errOut)
	}
}

// A worker whose default address of /metrics is taken takes another; one that was told where to listen does not.
func TestMetricsDefaultTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.t"}, []string{"CREATE TABLE app.t (id int)"})
	up, err := datadir.FindUp(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if ln, err := net.Listen("tcp", workerMetrics); err == nil { // else somebody has it already
		t.Cleanup(func() { ln.Close() })
	}
	remote := []string{"worker", "--database-url", s.db.WorkerURL, "--temporal-address", up.TemporalAddress}
	w := startServer(t, remote...)
	log := w.errOut.String()
	mustContain(t, log, "the default address of /metrics is taken; serving it elsewhere")
	_, address, _ := strings.Cut(log, "address=")
	address, _, _ = strings.Cut(address, "\n")
	if r := invoke(t, []string{"healthcheck", "--metrics-listen", address}); r.code != 0 {
		t.Errorf("healthcheck: exit code %d: %s", r.code, r.errOut)
	}
	if code := w.stop(t); code != 0 {
		t.Errorf("exit code %d: %s", code, w.errOut.String())
	}
	r := invoke(t, append(remote, "--metrics-listen", workerMetrics))
	if r.code != 1 || !strings.Contains(r.errOut, "--metrics-listen: listen tcp "+workerMetrics) {
		t.Errorf("exit code %d: %s", r.code, r.errOut)
	}
}

// A start that fails settles nothing: neither the ledger nor the folder remembers it.
func TestFailedStartSettlesNoStorage(t *testing.T) {
	t.Parallel()
	db := grantedDatabase(t, []string{"app.t"}, []string{"CREATE TABLE app.t AS SELECT i AS id FROM generate_series(1, 10) i"})
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
	for _, c := range [][]string{
		{"up", "--data-dir", t.TempDir(), "--sql-listen", "127.0.0.1:0"},
		{"worker"},
	} {
		r := invoke(t, append(c, "--database-url", db.WorkerURL, "--storage", first, "--temporal-address", "127.0.0.1:1", "--metrics-listen", ""))
		if r.code != exitUnreachable {
			t.Fatalf("exit code %d: %s", r.code, r.errOut)
		}
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM spillway.storages"); n != 0 {
		t.Errorf("%d storages are settled", n)
	}
	if _, err := os.Stat(filepath.Join(first, ".spillway-owner.json")); err == nil {
		t.Error("the folder is marked")
	}
	dir := t.TempDir()
	s := startServer(t, append([]string{"up", "--database-url", db.WorkerURL, "--data-dir", dir, "--storage", second}, anyPorts...)...)
	if r := invoke(t, []string{"flush", "app.t", "--wait", "--sql-url", throughFront(t, dir, db.OwnerURL)}); r.code != 0 {
		t.Errorf("%s%s", r.errOut, s.errOut.String())
	}
	if got := pgtest.Value[string](t, db, "SELECT location FROM spillway.storages"); !strings.Contains(got, "/second") {
		t.Errorf("settled %s", got)
	}
}

// An outage is told once when it begins and once when it ends, however often is asked meanwhile.
func TestWatch(t *testing.T) {
	t.Parallel()
	answers := make(chan error)
	var log syncBuffer
	w := databaseWatch(slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context) error {
		select {
		case err := <-answers:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	done := make(chan struct{})
	go func() { w.run(ctx, tick); close(done) }()
	gone := errors.New("gone")
	for _, c := range []struct {
		answer       error
		down         bool
		began, ended int
	}{{nil, false, 0, 0}, {gone, true, 1, 0}, {gone, true, 1, 0}, {nil, false, 1, 1}, {nil, false, 1, 1}, {gone, true, 2, 1}, {nil, false, 2, 2}} {
		answers <- c.answer
		tick <- time.Time{} // it has been dealt with
		text := log.String()
		if b, e := strings.Count(text, "PostgreSQL does not answer"), strings.Count(text, "PostgreSQL answers again"); w.isDown() != c.down || b != c.began || e != c.ended {
			t.Errorf("after %v: down %v, %d began, %d ended, want %+v\n%s", c.answer, w.isDown(), b, e, c, text)
		}
	}
	cancel() // in the middle of a question: no outage
	<-done
	if strings.Count(log.String(), "does not answer") != 2 {
		t.Errorf("the stop counts as an outage:\n%s", log.String())
	}
}

// wire leads to a server and can be cut.
type wire struct {
	address string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: ln.Addr().String()}
	t.Cleanup(func() { ln.Close(); w.set(true) })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil || !w.add(conn, there) {
				conn.Close()
				continue
			}
			go func() { _, _ = io.Copy(there, conn); there.Close() }()
			go func() { _, _ = io.Copy(conn, there); conn.Close() }()
		}
	}()
	return w
}

// add reports whether the wire is whole.
func (w *wire) add(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conns...)
	return !w.cut
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// PostgreSQL goes away and comes back: the log says so, once each, and /readyz follows without asking anybody.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	db := grantedDatabase(t, []string{"app.t"}, []string{"CREATE TABLE app.t (id int)"})
	u, err := url.Parse(db.WorkerURL)
	if err != nil {
		t.Fatal(err)
	}
	wire := newWire(t, u.Host)
	u.Host = wire.address
	dir := t.TempDir()
	s := startServer(t, append([]string{"up", "--database-url", u.String(), "--data-dir", dir}, anyPorts...)...)
	up, err := datadir.FindUp(dir)
	if err != nil {
		t.Fatal(err)
	}
	ready := func(want int) func() error {
		return func() error {
			began := time.Now()
			resp, err := http.Get(strings.TrimSuffix(up.MetricsURL, "metrics") + "readyz")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if took := time.Since(began); took > probeTimeout {
				t.Errorf("/readyz took %s", took)
			}
			if resp.StatusCode != want {
				return errors.New("/readyz says " + resp.Status)
			}
			return nil
		}
	}
	await(t, ready(http.StatusOK))
	wire.set(true)
	await(t, ready(http.StatusServiceUnavailable))
	wire.set(false)
	await(t, ready(http.StatusOK))
	s.stop(t)
	log := s.errOut.String()
	if b, e := strings.Count(log, "PostgreSQL does not answer"), strings.Count(log, "PostgreSQL answers again"); b != 1 || e != 1 {
		t.Errorf("%d outages began and %d ended:\n%s", b, e, log)
	}
}
