package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/product"
)

const (
	patience    = 3 * time.Minute
	loadTables  = 3
	loadRows    = 3000 // of about 200 bytes: some ten chunks
	loadRestart = 2    // of each worker
)

// loaded is a database whose tables are filled and flushed again and again.
type loaded struct {
	*pgtest.DB
	front   string // URL of the owner, through the front-end
	enough  chan struct{}
	clients sync.WaitGroup
}

func load(t *testing.T, db *pgtest.DB) *loaded {
	t.Helper()
	args := []string{"grants", "--database-url", db.SuperURL, "--role", db.Worker, "--reader", db.Owner, "--operators=false"}
	for i := range loadTables {
		db.Exec(t, fmt.Sprintf("CREATE TABLE app.load_%d (id bigint GENERATED ALWAYS AS IDENTITY, note text)", i), fmt.Sprintf("CREATE TABLE app.all_%d (id bigint, note text)", i))
		args = append(args, "--for", fmt.Sprintf("app.load_%d", i))
	}
	db.Super(t, product.MustRun(t, binary, nil, args...))
	return &loaded{DB: db, enough: make(chan struct{})}
}

// flush fills one table and flushes it, until it is enough and once more. Every flush has to end well.
func (l *loaded) flush(t *testing.T, n int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, l.front)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(ctx)
	for last := false; !last; {
		select {
		case <-l.enough:
			last = true
		default:
		}
		_, err := conn.Exec(ctx, fmt.Sprintf(`WITH new AS (INSERT INTO app.load_%[1]d (note) SELECT repeat(md5(i::text), 6) FROM generate_series(1, %[2]d) i RETURNING id, note)
			INSERT INTO app.all_%[1]d SELECT id, note FROM new`, n, loadRows))
		if err != nil {
			t.Errorf("insert: %v", err)
			return
		}
		if _, err := conn.Exec(ctx, fmt.Sprintf("FLUSH TABLE app.load_%d WITH (chunk_bytes = '64kB', parallelism = 2, wait = true)", n)); err != nil {
			t.Errorf("flush: %v", err)
			return
		}
	}
}

// awaitWork waits until some chunk is under way.
func (l *loaded) awaitWork(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	conn := l.Connect(t, l.SuperURL)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for deadline := time.Now().Add(patience); ; <-tick.C {
		var n int
		must(t, conn.QueryRow(t.Context(), "SELECT count(*)::int FROM spillway.attempts").Scan(&n))
		if n > 0 {
			return
		}
		if t.Failed() || time.Now().After(deadline) {
			t.Fatal("no chunk is under way")
		}
	}
}

// A38, A51: two workers are stopped and started one after the other, twice, while three tables are filled and flushed without
// a pause. No job fails, no chunk that runs is cut off (that would be a failure in the ledger), and each row is where it should
// be. Whether a chunk is ever at a second attempt is not asked: once, one was, without a failure on record, and why is not known.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	environ := []string{"TEMPORAL_ADDRESS=" + cluster(t)}
	l := load(t, database(t))
	storage := t.TempDir()
	front := product.Start(t, binary, environ, "front", "--database-url", l.WorkerURL, "--sql-listen", "127.0.0.1:0", "--metrics-listen", "")
	l.front = product.Through(t, l.OwnerURL, front.Ready())
	start := func() *product.Process {
		p := product.Start(t, binary, environ, "worker", "--database-url", l.WorkerURL, "--storage", storage, "--slots", "3", "--metrics-listen", "")
		p.Ready()
		return p
	}
	workers := []*product.Process{start(), start()}
	for n := range loadTables {
		l.clients.Go(func() { l.flush(t, n) })
	}
	for range loadRestart {
		for i, p := range workers {
			l.awaitWork(t)
			p.Terminate()
			workers[i] = start()
		}
	}
	close(l.enough)
	l.clients.Wait()

	if got := pgtest.Value[string](t, l.DB, "SELECT string_agg(DISTINCT status, ', ') FROM spillway.job_history"); got != "completed" {
		t.Errorf("jobs ended as %s", got)
	}
	t.Logf("%d jobs, %d chunks", pgtest.Value[int](t, l.DB, "SELECT count(*)::int FROM spillway.job_history"), pgtest.Value[int](t, l.DB, "SELECT count(*)::int FROM spillway.chunks"))
	for what, query := range map[string]string{
		"failures":            "SELECT count(*)::int FROM spillway.failures",
		"attempts left":       "SELECT count(*)::int FROM spillway.attempts",
		"chunks tried twice":  "SELECT count(*)::int FROM spillway.chunks WHERE attempt > 1",
		"claims left":         "SELECT count(*)::int FROM spillway.claims",
		"live jobs":           "SELECT count(*)::int FROM spillway.plans p WHERE NOT EXISTS (SELECT FROM spillway.job_history h WHERE h.job_id = p.job_id)",
		"rows that are hot 0": "SELECT count(*)::int FROM app.load_0",
	} {
		if n := pgtest.Value[int](t, l.DB, query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	for n := range loadTables {
		want := audit.Hot(t, l.SuperURL, "app", fmt.Sprintf("all_%d", n), "")
		audit.Check(t, l.SuperURL, "app", fmt.Sprintf("load_%d", n), want)
	}
	audit.Storage(t, l.SuperURL, storage)
	for _, p := range append(workers, front) {
		p.Terminate()
	}
}
