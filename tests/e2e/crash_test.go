package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// middle is a flush that was stopped in its middle: some segments are registered, some rows are hot, and two chunks are
// held at a gate.
type middle struct {
	tb       *table
	gate     *gate
	id       string
	pids     []int32
	segments []segmentRow
}

const middleRows = 4000

// reachMiddle starts a flush and proves that it is in its middle.
func reachMiddle(t testing.TB, u *up, name string) *middle {
	t.Helper()
	m := &middle{tb: u.table(t, name, middleRows)}
	m.gate = m.tb.gate("OLD.id >= 2000")
	s := u.super(t)
	m.id = s.flush(m.tb, fire(small, "parallelism = 2")).id
	m.pids = m.gate.held(m.id, 2)
	m.segments = m.tb.segments()
	if hot := m.tb.hot(); len(m.segments) < 2 || hot < middleRows-2000 || hot >= middleRows {
		t.Fatalf("not the middle: %d segments, %d rows hot", len(m.segments), hot)
	}
	return m
}

// completes waits for the job's end under its own id, and checks that what was registered before is as it was.
func (m *middle) completes(s session) {
	t := m.tb.t
	t.Helper()
	j := s.wait(m.id, "completed")
	if j.Rows != middleRows || m.tb.hot() != 0 {
		t.Errorf("%+v, %d rows hot", j, m.tb.hot())
	}
	m.unchanged()
	if stray := len(m.tb.objects()) - len(m.tb.segments()); stray != 0 {
		t.Errorf("%d stray objects after the job's end", stray)
	}
	if n := len(s.jobs("WHERE target = '" + m.tb.String() + "'")); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

// unchanged checks that the earlier segments are as they were: id, place, checksum; the audit reads the files.
func (m *middle) unchanged() {
	m.tb.t.Helper()
	after := m.tb.segments()
	for _, before := range m.segments {
		if !slices.Contains(after, before) {
			m.tb.t.Errorf("segment %+v is not there any more", before)
		}
	}
}

// orphans counts objects that nobody registered. Attempts under way have at most one each.
func (m *middle) orphans() int { return len(m.tb.objects()) - len(m.tb.segments()) }

// A34: kill -9 of the process in mid-flush, and a restart on the same data directory.
func TestKillNineAndRestart(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	m := reachMiddle(t, u, "crashed")
	u.Kill()
	if n := m.orphans(); n > 2 {
		t.Errorf("%d orphans with parallelism 2: %v", n, m.tb.objects())
	}
	if gone(t, u.db, m.pids) {
		t.Error("the backends noticed the death of their client before they were ended; this test wants them stuck")
	}
	u.start()
	m.gate.open()
	s := u.super(t)
	m.completes(s)
	if !gone(t, u.db, m.pids) {
		t.Error("a backend of the dead process is still there")
	}
	u.Terminate()
}

// A34 again, while all segments are written and none of the last is committed: the objects are whole, and orphans.
func TestKillNineBeforeCommit(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	tb := u.table(t, "torn_registered", 1000)
	gate := tb.close()
	s := u.super(t)
	a := s.flush(tb, "WITH ("+small+", parallelism = 2)")
	gate.held(a.id, 2)
	u.Kill()
	orphans := tb.objects()
	if len(orphans) != 2 || len(tb.segments()) != 0 || tb.hot() != 1000 {
		t.Errorf("%d orphans, %d segments, %d rows hot", len(orphans), len(tb.segments()), tb.hot())
	}
	u.start()
	gate.open()
	s = u.super(t)
	if j := s.wait(a.id, "completed"); j.Rows != 1000 {
		t.Errorf("%+v", j)
	}
	for _, name := range tb.objects() {
		if slices.Contains(orphans, name) {
			t.Errorf("%s was written by the dead process and is still there", name)
		}
	}
	u.Terminate()
}

// A35: kill -9 takes the embedded Temporal and the private PostgreSQL along. PostgreSQL outlives its parent and is found.
func TestKillNineOfEverything(t *testing.T) {
	t.Parallel()
	u := startUp(t, nil, "--heartbeat-timeout", "2s")
	t.Cleanup(func() { endPostgres(filepath.Join(u.dir, "postgres")) })
	s, err := dial(u.info.SQLURL)
	must(t, err)
	s.t = t
	s.rows("CREATE TABLE app.events (id bigint PRIMARY KEY, note text)")
	s.rows("INSERT INTO app.events SELECT i, repeat(md5(i::text), 6) FROM generate_series(1, 20000) i")
	flush := "FLUSH TABLE app.events WITH (chunk_bytes = '64kB', parallelism = 1)"
	a := s.startedBy(flush)
	segments := "SELECT segment_id::text, location, sha256 FROM spillway.segments"
	super := func() session { // the ledger is not for everybody
		t.Helper()
		s, err := dial(workerURL(t, u))
		must(t, err)
		s.t = t
		return s
	}
	direct := super()
	await.Until(t, "some chunks have committed", func() bool { return len(direct.rows(segments)) >= 3 })
	u.Kill()
	u.start()
	direct = super()
	before := direct.rows(segments + " WHERE chunk < 3")
	s, err = dial(u.info.SQLURL)
	must(t, err)
	s.t = t
	j := s.wait(a.id, "completed")
	if j.Rows != 20000 {
		t.Errorf("%+v", j)
	}
	if after := direct.rows(segments + " WHERE chunk < 3"); len(before) != 3 || len(after) != 3 {
		t.Errorf("%d segments of the first chunks, then %d", len(before), len(after))
	}
	if n := s.rows("SELECT count(*) AS n FROM app.events")[0]["n"]; n != int64(0) {
		t.Errorf("%v rows are hot", n)
	}
	out := product.MustRun(t, binary, nil, "cat", "app.events", "--data-dir", u.dir)
	ids := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
		id, _, _ := strings.Cut(line, ",")
		if ids[id] {
			t.Fatalf("row %s is there twice", id)
		}
		ids[id] = true
	}
	if len(ids) != 20000 {
		t.Errorf("%d rows are cold", len(ids))
	}
	u.Terminate()
}

// workerURL leads to the private PostgreSQL of an up, past its front-end, as the worker.
func workerURL(t testing.TB, u *up) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(u.dir, "pgpass"))
	must(t, err)
	port := strings.Split(string(readFirst(t, filepath.Join(u.dir, "postgres"), "postmaster.pid")), "\n")[3]
	for line := range strings.Lines(string(text)) {
		if parts := strings.Split(strings.TrimSpace(line), ":"); len(parts) == 5 && parts[3] == "spillway" {
			return fmt.Sprintf("postgres://spillway:%s@127.0.0.1:%s/app?sslmode=disable", parts[4], port)
		}
	}
	t.Fatal("no password of the worker")
	return ""
}

// readFirst reads the first file of that name below dir.
func readFirst(t testing.TB, dir, name string) []byte {
	t.Helper()
	var found []byte
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != name {
			return err
		}
		if found, err = os.ReadFile(path); err != nil {
			return err
		}
		return filepath.SkipAll
	}))
	return found
}

// endPostgres ends a private PostgreSQL that a test which failed has left behind.
func endPostgres(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "postmaster.pid" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if pid, err := strconv.Atoi(strings.Split(string(text), "\n")[0]); err == nil {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
		}
		return filepath.SkipAll
	})
}

// A35: immediate shutdown of PostgreSQL in mid-flush, with all durability it has.
func TestPostgresCrash(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	u := startUp(t, pgtest.DatabaseOn(t, srv))
	u.furnish()
	m := reachMiddle(t, u, "crash_of_postgres")
	must(t, srv.Kill())
	await.Until(t, "the process is not ready any more", func() bool { return u.readyz() == http.StatusServiceUnavailable })
	if !u.Running() {
		t.Fatal("the process has ended with its database")
	}
	must(t, srv.Restart(context.Background())) // nobody holds the gate any more
	await.Until(t, "the process is ready again", func() bool { return u.readyz() == http.StatusOK })
	m.completes(u.super(t))
	u.Terminate()
}

// A54: Temporal's store is lost in mid-flush. Its job is forgotten; no row is.
func TestTemporalStoreLost(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	m := reachMiddle(t, u, "forgotten")
	u.Kill()
	must(t, os.RemoveAll(filepath.Join(u.dir, "temporal")))
	u.start()
	s := u.super(t)
	if found := s.jobs("WHERE job_id = '" + m.id + "' AND finished_at IS NULL"); len(found) != 0 {
		t.Errorf("Temporal has forgotten the job, and it is shown as %s", found[0].Status)
	}
	audit.Check(t, u.db.SuperURL, "app", m.tb.name, m.tb.want)
	next := s.flush(m.tb, fire(small, "parallelism = 2"))
	if next.existing || next.id == m.id {
		t.Errorf("the next flush: %+v", next)
	}
	m.gate.open()
	j := s.wait(next.id, "completed")
	if m.tb.hot() != 0 {
		t.Errorf("%+v, %d rows hot", j, m.tb.hot())
	}
	m.unchanged()
	if !gone(t, u.db, m.pids) {
		t.Error("a backend of the forgotten job is still there")
	}
	u.Terminate()
}

// A38: SIGTERM waits for running chunks, and nothing new begins.
func TestShutdownWaitsForChunks(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	m := reachMiddle(t, u, "patient")
	u.Signal(syscall.SIGTERM)
	await.Until(t, "the process says that it waits", func() bool { return len(u.Err.Lines("waiting for running chunks")) == 1 })
	await.Until(t, "the process names what it waits for", func() bool {
		lines := u.Err.Lines("still waiting before the stop", `"chunks":2`, m.id+" chunk ")
		return len(lines) > 0 && rowsNamed.MatchString(lines[0])
	})
	// It goes on only when the gate opens: what it says next and its end come after that.
	if held := m.gate.held(m.id, 2); !slices.Equal(held, m.pids) || !u.Running() {
		t.Errorf("backends %v, before %v", held, m.pids)
	}
	m.gate.open()
	if code := u.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := m.orphans(); n != 0 {
		t.Errorf("%d orphans after an orderly stop", n)
	}
	after := m.tb.segments()
	if len(after) < len(m.segments)+2 {
		t.Errorf("%d segments, %d before: the running chunks did not commit", len(after), len(m.segments))
	}
	m.segments = after
	u.start()
	m.completes(u.super(t))
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.failures"); n != 0 {
		t.Errorf("%d failures recorded for a planned stop", n)
	}
	u.Terminate()
}

// rowsNamed finds how many rows a chunk has moved so far.
var rowsNamed = regexp.MustCompile(`chunk \d+: \d+ rows in \d+s; `)

// A38: after --shutdown-timeout, running chunks are given up cleanly.
func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--shutdown-timeout", "500ms")
	m := reachMiddle(t, u, "given_up")
	u.Terminate()
	if !gone(t, u.db, m.pids) {
		t.Error("a backend was left behind")
	}
	if n := m.orphans(); n != 0 || !slices.Equal(m.tb.segments(), m.segments) {
		t.Errorf("%d orphans, segments %v, before %v", n, m.tb.segments(), m.segments)
	}
	conn := u.db.Connect(t, u.db.OwnerURL)
	if _, err := conn.Exec(context.Background(), "SELECT FROM "+m.tb.String()+" FOR UPDATE NOWAIT"); err != nil {
		t.Errorf("rows are not free: %v", err)
	}
	must(t, conn.Close(context.Background()))
	m.gate.open()
	u.start()
	m.completes(u.super(t))
	u.Terminate()
}

// A second signal ends the process at once; the rows are as safe as after kill -9.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	m := reachMiddle(t, u, "twice")
	u.Signal(syscall.SIGINT)
	await.Until(t, "the process says that it waits", func() bool { return len(u.Err.Lines("waiting for running chunks")) == 1 })
	u.Signal(syscall.SIGINT)
	if code := u.Exit(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	m.gate.open()
	u.start()
	m.completes(u.super(t))
	u.Terminate()
}

// A58: a clone of the database, ledger and all, must not touch the segments of its original.
func TestCloneOfTheDatabase(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "cloned", 500)
	s := u.owner(t)
	s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	must(t, s.Close(t.Context()))
	u.Terminate()
	clone := u.db.Name + "_clone"
	must(t, copyDatabase(u.db, clone))
	t.Cleanup(func() { u.db.Super(t, "DROP DATABASE "+clone+" WITH (FORCE)") })
	before := tb.objects()
	address := strings.Replace(u.db.WorkerURL, "/"+u.db.Name, "/"+clone, 1)
	for _, args := range [][]string{nil, {"--storage", u.storage}} {
		r := product.Run(t, binary, nil, append(append([]string{"up", "--data-dir", folder(t), "--database-url", address}, freePorts...), args...)...)
		if r.Code != 1 || !strings.Contains(r.Err, "belongs to another database") || !strings.Contains(r.Err, "hint: ") {
			t.Errorf("exit code %d\n%s", r.Code, r.Err)
		}
	}
	if after := tb.objects(); !slices.Equal(before, after) {
		t.Errorf("the storage holds %v, before %v", after, before)
	}
	u.start() // the original goes on
	tb.insert(501, 600)
	s = u.owner(t)
	if j := s.wait(s.flush(tb, "").id, "completed"); j.Rows != 100 {
		t.Errorf("%+v", j)
	}
	u.Terminate()
}

// copyDatabase ends the connections to the original, which the audit keeps open, and copies it.
func copyDatabase(db *pgtest.DB, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.Server.SuperURL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", db.Name); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+db.Name)
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || pgErr.Code != "55006" { // somebody is still there
			return err
		}
	}
}
