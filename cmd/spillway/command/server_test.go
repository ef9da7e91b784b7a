package command

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/datadir"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

const patience = 90 * time.Second

// asProgram makes this test program behave as spillway itself, for tests that need a process of their own.
const asProgram = "SPILLWAY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// syncBuffer may be written and read at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// server is a command that runs until it is stopped: up, worker or front, in this process.
type server struct {
	line   string // the line that it printed when it was ready
	errOut *syncBuffer
	cancel context.CancelCauseFunc
	done   chan int
}

// startServer runs a command line until it says that it is ready. The test ends it, or its end does.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	out, in := io.Pipe()
	s := &server{errOut: &syncBuffer{}, cancel: cancel, done: make(chan int, 1)}
	env := testEnv(nil, nil)
	env.Stdout, env.Stderr = in, s.errOut
	go func() {
		s.done <- Run(ctx, env, args)
		in.Close()
	}()
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- line
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case s.line = <-ready:
	case <-time.After(patience):
	}
	if s.line == "" {
		cancel(fail.ErrInterrupted)
		t.Fatalf("%q did not get ready:\n%s", args, s.errOut.String())
	}
	t.Cleanup(func() { s.stop(t) })
	return s
}

// stop asks for a graceful stop and returns the exit code. Calling it again is harmless.
func (s *server) stop(t *testing.T) int {
	t.Helper()
	s.cancel(fail.ErrInterrupted)
	select {
	case code := <-s.done:
		s.done <- code
		return code
	case <-time.After(patience):
		t.Fatalf("did not stop:\n%s", s.errOut.String())
	}
	return -1
}

// site is a database with an application's tables, the worker's rights in it, and a running `spillway up`.
type site struct {
	*server
	db  *pgtest.DB
	dir string
	url string // of the front-end, as the owner of the tables
}

// anyPorts are flags that let several servers run on one machine.
var anyPorts = []string{
	"--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
}

// newSite makes a database, runs statements in it, gives the worker what `spillway grants` says and starts `spillway up`.
func newSite(t *testing.T, tables []string, statements []string, flags ...string) *site {
	t.Helper()
	s := &site{db: grantedDatabase(t, tables, statements), dir: t.TempDir()}
	s.server = startServer(t, append(append([]string{"up", "--database-url", s.db.WorkerURL, "--data-dir", s.dir}, anyPorts...), flags...)...)
	s.url = throughFront(t, s.dir, s.db.OwnerURL)
	return s
}

func grantedDatabase(t *testing.T, tables, statements []string) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t)
	db.Exec(t, statements...)
	db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker) // grants makes the schemas instead
	args := []string{"grants", "--database-url", db.OwnerURL, "--role", db.Worker, "--reader", db.Owner, "--operators=false"}
	for _, table := range tables {
		args = append(args, "--for", table)
	}
	r := invoke(t, args)
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	must(t, db.Connect(t, db.SuperURL), r.out)
	return db
}

// throughFront returns the URL of a direct connection, led through the front-end of a running `spillway up`.
func throughFront(t *testing.T, dir, direct string) string {
	t.Helper()
	up, err := datadir.FindUp(dir)
	if err != nil {
		t.Fatal(err)
	}
	front, err := url.Parse(up.SQLURL)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = front.Host
	return u.String()
}

// spillway runs a client command against the site.
func (s *site) spillway(t *testing.T, args ...string) result {
	t.Helper()
	return invoke(t, append(args, "--sql-url", s.url))
}

// Up, and what a person does with it: flush, look, read, examine; then a graceful stop.
func TestUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events", "app.other"}, []string{
		"CREATE TABLE app.events (id int PRIMARY KEY, note text, doc jsonb)",
		`INSERT INTO app.events SELECT i, CASE WHEN i % 7 > 0 THEN 'note "' || i || '"' END, '{"a": [1, 2]}' FROM generate_series(1, 5000) i`,
		"CREATE TABLE app.other AS SELECT 1 AS id",
	})
	mustContain(t, s.line, "spillway is ready: psql -h 127.0.0.1 -p ", s.db.Name, " ; web ui http://127.0.0.1:")
	if info, err := os.Stat(datadir.UpPath(s.dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("up.json: %v, %v", info, err)
	}

	r := s.spillway(t, "flush", "app.events", "--where", "id <= 4000", "--with", "chunk_bytes=64kB", "--wait", "-o", "json")
	if r.code != 0 {
		t.Fatalf("flush --wait: exit code %d: %s", r.code, r.errOut)
	}
	mustContain(t, r.out, `"status":"completed"`, `"rows_flushed":4000`)
	mustContain(t, r.errOut, "completed  100 %  4 000 of 4 000 rows")
	id := r.out[strings.Index(r.out, "flush:"):][:len("flush:app.events:")+36]

	for _, c := range []struct {
		args []string
		code int
		out  []string
		err  []string
	}{
		{[]string{"jobs", "list", "--all"}, 0, []string{id, "completed", "(1 row)"}, nil},
		{[]string{"jobs", "list"}, 0, []string{"(0 rows)"}, nil},
		{[]string{"jobs", "list", "--all", "--table", "app.nothing"}, 0, []string{"(0 rows)"}, nil},
		{[]string{"jobs", "show", id, "-o", "json"}, 0, []string{`"requested_by":"` + s.db.Owner + `"`, `"location":"file:///`}, nil},
		{[]string{"jobs", "wait", id}, 0, []string{"completed"}, nil},
		{[]string{"jobs", "kill", id}, 1, nil, []string{"has already finished with status completed"}},
		{[]string{"jobs", "kill", "--where", "target = 'app.events'"}, 0, []string{"(0 rows)"}, nil},
		{[]string{"jobs", "kill", "--where", "true", "--dry-run"}, 0, []string{"requested_by", "(0 rows)"}, nil},
		{[]string{"jobs", "kill", "--where", "nonsense"}, 1, nil, []string{`column "nonsense" does not exist (SQLSTATE 42703)`}},
		{[]string{"sql", "-c", "SELECT status, pid FROM system.workers", "-o", "json"}, 0, []string{`"status":"running"`}, nil},
		{[]string{"jobs", "pause", id}, 1, nil, []string{"has already finished with status completed"}},
		{[]string{"jobs", "resume", id}, 1, nil, []string{"has already finished with status completed"}},
		{[]string{"jobs", "pause", "nonsense"}, 1, nil, []string{"malformed job id", "hint: "}},
		{[]string{"sql", "-c", "SELECT count(*) AS n FROM app.events; SHOW JOBS", "-o", "json"}, 0, []string{`{"n":1000}`}, nil},
		{[]string{"sql", "-c", "DO $$ BEGIN RAISE NOTICE 'a; b'; END $$"}, 0, []string{"DO\n"}, []string{"NOTICE:  a; b\n"}},
		{[]string{"sql", "-c", "SELECT 1;\nSELECT nope"}, 1, []string{"(1 row)"}, []string{`column "nope" does not exist (SQLSTATE 42703)`, "  SELECT nope\n         ^\n"}},
		{[]string{"tables"}, 0, []string{"bytes_saved", "app.events", "4000", "(1 row)"}, nil},
		{[]string{"tables", "-o", "json"}, 0, []string{`"table":"app.events"`, `"rows_cold":4000`, `"bytes_saved":`}, nil},
		{[]string{"tables", "app.events", "-o", "json"}, 0, []string{`"rows_cold":4000`, `"flush":"ready"`, `"flush_chunks":`, `"why_not":null`}, nil},
		{[]string{"tables", "app.other"}, 0, []string{"app.other", "8192 bytes", "ready", "(1 row)"}, nil},
		{[]string{"tables", "app.events", "--older-than", "1 day"}, 1, nil, []string{"SQLSTATE"}},
		{[]string{"tables", "app.events", "--where", "nonsense = 1"}, 1, nil, []string{`column "nonsense" does not exist`}},
		{[]string{"tables", "app.nothing"}, 1, nil, []string{`SQLSTATE 42P01`}},
		{[]string{"tables", "--where", "id = 1"}, 2, nil, []string{"are about the flush of one table"}},
		{[]string{"tables", "a", "b"}, 2, nil, []string{`unexpected argument "b"`}},
		{[]string{"flush", "--all", "--in", "app", "--wait"}, 0, []string{"completed"}, nil},
		{[]string{"cat", "app.other"}, 0, nil, nil},
	} {
		r := s.spillway(t, c.args...)
		if r.code != c.code {
			t.Errorf("%q: exit code %d, want %d: %s", c.args, r.code, c.code, r.errOut)
		}
		mustContain(t, r.out, c.out...)
		mustContain(t, r.errOut, c.err...)
	}
	s.checkCat(t)
	s.checkDoctor(t)
	s.checkReady(t)
	if code := s.stop(t); code != 0 {
		t.Errorf("graceful stop: exit code %d", code)
	}
	mustContain(t, s.errOut.String(), "stopping: waiting for running chunks", "stopped\n")
	if r := invoke(t, []string{"jobs", "list", "--data-dir", s.dir}); r.code != 3 {
		t.Errorf("after the stop: exit code %d, want 3", r.code)
	}
}

// checkCat reads back what was flushed: all rows by now. A53
func (s *site) checkCat(t *testing.T) {
	t.Helper()
	csv := s.spillway(t, "cat", "app.events")
	lines := strings.Split(strings.TrimSuffix(csv.out, "\n"), "\n")
	if csv.code != 0 || len(lines) != 5001 || lines[0] != "id,note,doc" {
		t.Errorf("cat: exit code %d, %d lines, first %q; %s", csv.code, len(lines), lines[0], csv.errOut)
	}
	seen := map[string]bool{}
	for _, l := range lines[1:] {
		seen[l] = true
	}
	for _, want := range []string{`1,"note ""1""","{""a"": [1, 2]}"`, `7,,"{""a"": [1, 2]}"`, `5000,"note ""5000""","{""a"": [1, 2]}"`} {
		if !seen[want] {
			t.Errorf("cat: no line %s", want)
		}
	}
	if len(seen) != 5000 {
		t.Errorf("cat: %d different lines, want 5000", len(seen))
	}
	json := s.spillway(t, "cat", "app.events", "-o", "json")
	mustContain(t, json.out, `{"id":7,"note":null,"doc":{"a":[1,2]}}`+"\n", `{"id":8,"note":"note \"8\"","doc":{"a":[1,2]}}`+"\n")
}

func (s *site) checkDoctor(t *testing.T) {
	t.Helper()
	r := invoke(t, []string{"doctor", "--database-url", s.db.WorkerURL, "--data-dir", filepath.Join(s.dir, "none")})
	if r.code != 0 {
		t.Errorf("doctor: exit code %d: %s", r.code, r.errOut)
	}
	for _, check := range []string{"database", "encoding", "role", "settings", "clocks", "ledger", "table app.events", "storage", "storage owner", "Temporal"} {
		mustContain(t, r.out, "\n "+check+" ")
	}
	for _, line := range strings.Split(r.out, "\n")[2:] {
		if strings.Contains(line, "| fail") || strings.Contains(line, "| warn") && !strings.Contains(line, "fsync = off") { // as tests run it
			t.Errorf("doctor: %s", line)
		}
	}
}

func (s *site) checkReady(t *testing.T) {
	t.Helper()
	up, err := datadir.FindUp(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(strings.TrimSuffix(up.MetricsURL, "metrics") + "readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("/readyz: %s", resp.Status)
	}
}

// A worker and a front-end apart, on the Temporal of a running `spillway up`: what each does, the others see.
func TestWorkerAndFront(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events"}, []string{"CREATE TABLE app.events AS SELECT i AS id FROM generate_series(1, 1000) i"})
	up, err := datadir.FindUp(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	remote := []string{"--database-url", s.db.WorkerURL, "--temporal-address", up.TemporalAddress, "--metrics-listen", ""}
	front := startServer(t, append([]string{"front", "--sql-listen", "127.0.0.1:0"}, remote...)...)
	worker := startServer(t, append([]string{"worker", "--slots", "2"}, remote...)...)
	mustContain(t, worker.line, "spillway worker is ready: 2 slots for "+s.db.Name)
	u, err := url.Parse(strings.TrimSpace(strings.TrimPrefix(front.line, "spillway front is ready: psql ")))
	if err != nil {
		t.Fatal(err)
	}
	owner, err := url.Parse(s.db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	owner.Host = u.Host
	r := invoke(t, []string{"flush", "app.events", "--wait", "--sql-url", owner.String()})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	mustContain(t, s.spillway(t, "jobs", "list", "--all", "-o", "json").out, `"rows_flushed":1000`)
	for _, one := range []*server{worker, front} {
		if code := one.stop(t); code != 0 {
			t.Errorf("exit code %d: %s", code, one.errOut.String())
		}
	}
}

// The line that a newcomer copies works as it is.
func TestReadyLineOfPrivatePostgres(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("the line is one for psql, which is not on this machine; .ci/run installs it")
	}
	dir := filepath.Join(sharedDir(t), "with space")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, append([]string{"up", "--data-dir", dir}, anyPorts...)...)
	line, _, _ := strings.Cut(strings.TrimPrefix(s.line, "spillway is ready: "), " ; web ui ")
	psql := func(sql string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line+` -w -X -At -v ON_ERROR_STOP=1 -c "$1"`, "sh", sql)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", sql, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	psql("CREATE TABLE events AS SELECT i AS id FROM generate_series(1, 10) i")
	mustContain(t, psql("FLUSH TABLE app.events WITH (wait = true)"), "flush:app.events:", "completed")
	if got := psql("SELECT status, rows_flushed FROM system.jobs"); got != "completed|10" {
		t.Errorf("system.jobs: %s", got)
	}
	// Client commands need no address: up.json has it.
	if r := invoke(t, []string{"cat", "app.events", "--data-dir", dir}); r.code != 0 || !strings.HasPrefix(r.out, "id\n1\n2\n") {
		t.Errorf("cat: %d %q %s", r.code, r.out, r.errOut)
	}
	if r := invoke(t, []string{"doctor", "--data-dir", dir}); r.code != 0 || strings.Contains(r.out, "| fail") {
		t.Errorf("doctor: %s%s", r.out, r.errOut)
	}
}

// A second Ctrl-C ends everything at once, the private PostgreSQL too, and the next start goes on.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	dir := sharedDir(t)
	up := func() (*exec.Cmd, *syncBuffer) {
		t.Helper()
		cmd := exec.Command(os.Args[0], append([]string{"up", "--data-dir", dir, "--heartbeat-timeout", "2s"}, anyPorts...)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		errOut := &syncBuffer{}
		cmd.Stderr = errOut
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended by then, unless the test failed
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("%v: %s%s", err, line, errOut.String())
		}
		return cmd, errOut
	}
	cmd, errOut := up()
	for _, s := range []string{
		"CREATE TABLE app.held (id int)", "INSERT INTO app.held SELECT generate_series(1, 1000)",
	} {
		if r := invoke(t, []string{"sql", "-c", s, "--data-dir", dir}); r.code != 0 {
			t.Fatal(r.errOut)
		}
	}
	// A chunk that cannot end: the table is locked, so that the graceful stop waits.
	info, err := datadir.FindUp(dir)
	if err != nil {
		t.Fatal(err)
	}
	holder := dialPG(t, info.SQLURL)
	must(t, holder, "BEGIN; LOCK TABLE app.held IN ACCESS EXCLUSIVE MODE")
	if r := invoke(t, []string{"flush", "app.held", "--data-dir", dir}); r.code != 0 {
		t.Fatal(r.errOut)
	}
	await(t, func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return nil // it has ended
		}
		if strings.Contains(errOut.String(), "stopping: ") {
			return nil
		}
		return errors.New("no word of stopping")
	})
	_ = cmd.Process.Signal(os.Interrupt) // where the stop took no time, there is nobody to hear it
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130: %s", code, errOut.String())
	}
	pid, err := os.ReadFile(filepath.Join(dir, "postgres", "pgdata", "postmaster.pid"))
	if err == nil {
		first, _, _ := strings.Cut(string(pid), "\n")
		var n int
		fmt.Sscan(first, &n)
		await(t, func() error {
			if datadir.Alive(n) {
				return fmt.Errorf("PostgreSQL %d outlived it", n)
			}
			return nil
		})
	}
	cmd, errOut = up()
	r := invoke(t, []string{"flush", "app.held", "--wait", "--data-dir", dir}) // the job that lives, or a new one
	if r.code != 0 {
		t.Errorf("after the restart: %s%s", r.errOut, errOut.String())
	}
	if r := invoke(t, []string{"sql", "-c", "SELECT sum(rows_flushed)::int AS n FROM system.jobs", "-o", "json", "--data-dir", dir}); r.out != `{"n":1000}`+"\n" {
		t.Errorf("after the restart: %s%s", r.out, r.errOut)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("graceful stop: %v: %s", err, errOut.String())
	}
}

// await calls check until it is content.
func await(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}
