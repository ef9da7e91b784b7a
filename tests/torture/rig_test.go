package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/netfault"
	"github.com/spillwaydb/spillway/tests/product"
)

// patience is how long anything may take to come back before it counts as stuck.
const patience = 3 * time.Minute

// rig is everything that a run needs: a PostgreSQL of its own, a Temporal server, two workers and a front-end as processes, a
// storage, and proxies between them.
type rig struct {
	tally
	t    testing.TB
	seed uint64
	srv  *embedpg.Server
	db   *pgtest.DB

	temporal, door *unit
	workers        []*unit
	sql            string // address of the front-end

	pg, rpc, s3 *netfault.Proxy // of the workers; s3 is nil where the storage is a folder
	pgDoor      *netfault.Proxy // of the front-end, to PostgreSQL
	storage     string          // folder that holds the objects
	disk        string          // mount point of the storage's own small disk; "" if none could be mounted

	tables   []*table
	breath   time.Duration // between two operations of a client
	failMu   sync.Mutex
	failures []string
	known    map[string]growth
}

// fail notes that something must not be. The run goes on: one failure must not hide another.
func (g *rig) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	g.failMu.Lock()
	g.failures = append(g.failures, text)
	n := len(g.failures)
	g.failMu.Unlock()
	if n <= 30 {
		g.t.Errorf("%s seed %d: %s", time.Now().Format(time.TimeOnly), g.seed, text)
	}
}

func (g *rig) failed() int {
	g.failMu.Lock()
	defer g.failMu.Unlock()
	return len(g.failures)
}

func address(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}

// folder is a folder that PostgreSQL's account may enter too.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spillway-torture-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("SPILLWAY_TORTURE_KEEP") != "" {
			t.Logf("kept: %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// options say how a rig is set up.
type options struct {
	seed     uint64
	s3       bool
	workers  int
	settings map[string]string // of PostgreSQL
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	g := &rig{t: t, seed: o.seed, known: map[string]growth{}, breath: *breath}
	settings := map[string]string{"shared_buffers": "32MB", "max_wal_size": "256MB", "autovacuum_naptime": "5s"}
	for k, v := range o.settings {
		settings[k] = v
	}
	g.srv = pgtest.Own(t, settings)
	g.db = pgtest.DatabaseOn(t, g.srv)
	g.db.Super(t, "CREATE TABLE app.acks (op bigint PRIMARY KEY, tbl int NOT NULL, delta bigint NOT NULL, ids bigint[] NOT NULL)",
		"GRANT SELECT, INSERT ON app.acks TO "+g.db.Owner, "CREATE TABLE app.none (id int)")
	var err error
	g.pg, err = netfault.New(g.srv.Address())
	must(t, err)
	t.Cleanup(g.pg.Close)
	g.pgDoor, err = netfault.New(g.srv.Address())
	must(t, err)
	t.Cleanup(g.pgDoor.Close)
	location := g.newStorage(t, o.s3)
	g.grant("app.none")
	g.startTemporal(t, folder(t))
	g.startOthers(t, folder(t), location, max(o.workers, 1))
	g.db.Super(t, "GRANT USAGE ON SCHEMA spillway TO "+g.db.Owner, "GRANT SELECT ON spillway.segments TO "+g.db.Owner) // for sums
	return g
}

// startTemporal runs a Temporal server: that of an `up` on a database that nobody else uses.
func (g *rig) startTemporal(t testing.TB, logs string) {
	t.Helper()
	other := pgtest.Database(t)
	at, metrics := address(t), address(t)
	g.temporal = supervise(t, "temporal", logs, metrics, "up", "--data-dir", folder(t), "--database-url", other.SuperURL, "--temporal-listen", at,
		"--ui-listen", "127.0.0.1:0", "--sql-listen", "127.0.0.1:0", "--metrics-listen", metrics, "--pprof")
	var err error
	g.rpc, err = netfault.New(at)
	must(t, err)
	t.Cleanup(g.rpc.Close)
	g.await("the Temporal server is ready", g.temporal.ready)
}

func (g *rig) startOthers(t testing.TB, logs, location string, workers int) {
	t.Helper()
	worker, err := url.Parse(g.db.WorkerURL)
	must(t, err)
	door := *worker
	worker.Host, door.Host = g.pg.Address(), g.pgDoor.Address()
	metrics := address(t)
	g.sql = address(t)
	g.door = supervise(t, "front", logs, metrics, "front", "--database-url", door.String(), "--temporal-address", g.rpc.Address(), "--sql-listen", g.sql,
		"--metrics-listen", metrics, "--attempts", "200", "--heartbeat-timeout", "2s", "--log-format", "json")
	for i := range workers {
		metrics := address(t)
		g.workers = append(g.workers, supervise(t, fmt.Sprintf("worker-%d", i), logs, metrics, "worker", "--database-url", worker.String(),
			"--temporal-address", g.rpc.Address(), "--storage", location, "--metrics-listen", metrics, "--log-format", "json"))
		g.await("the worker is ready", g.workers[i].ready) // the first one makes the storage
	}
	g.await("the front-end is ready", g.door.ready)
}

// newStorage makes the storage and returns what --storage says.
func (g *rig) newStorage(t testing.TB, s3 bool) string {
	t.Helper()
	if s3 {
		server := cloudtest.Start(t)
		bucket := server.Bucket(t)
		audit.Bucket(t, "s3://"+bucket, server.Path(bucket))
		var err error
		g.s3, err = netfault.New(strings.TrimPrefix(server.Endpoint, "http://"))
		must(t, err)
		t.Cleanup(g.s3.Close)
		q := url.Values{}
		for k, v := range cloudtest.Options("http://" + g.s3.Address()) {
			q.Set(k, v)
		}
		g.storage = filepath.Join(server.Path(bucket), "cold")
		return "s3://" + bucket + "/cold?" + q.Encode()
	}
	dir := folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=96m,mode=755"); err != nil {
		t.Logf("no small disk for the storage, so it is never full: %v", err)
	} else {
		g.disk = dir
		t.Cleanup(func() {
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
	}
	g.storage = filepath.Join(dir, "segments")
	must(t, os.Mkdir(g.storage, 0o755))
	return g.storage
}

// front leads a direct URL through the front-end.
func (g *rig) front(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		return direct
	}
	u.Host = g.sql
	return u.String()
}

// grant gives the worker its rights on tables.
func (g *rig) grant(tables ...string) {
	g.t.Helper()
	args := []string{"grants", "--restore", "--database-url", g.db.SuperURL, "--role", g.db.Worker, "--reader", g.db.Owner}
	for _, name := range tables {
		args = append(args, "--for", name)
	}
	g.db.Super(g.t, product.MustRun(g.t, binary, nil, args...))
}

// addTables makes random tables.
func (g *rig) addTables(n int) {
	g.t.Helper()
	r := rand.New(rand.NewPCG(g.seed, 1<<40))
	var granted []string
	for range n {
		tb := randomTable(r, len(g.tables)+1)
		g.db.Exec(g.t, tb.create()...)
		g.tables = append(g.tables, tb)
		granted = append(granted, tb.String())
	}
	g.grant(granted...)
}

// await polls until cond holds.
func (g *rig) await(what string, cond func() bool) {
	g.t.Helper()
	if !await.Within(patience, cond) {
		g.t.Fatalf("seed %d: waited in vain: %s", g.seed, what)
	}
}

// revive starts PostgreSQL again. After kill -9 of its first process the others may need a moment to notice.
func (g *rig) revive() {
	g.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := g.srv.Restart(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("seed %d: PostgreSQL does not come back: %v", g.seed, err)
		}
	}
}
