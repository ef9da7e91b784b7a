package command

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// localSite is a database for flushes that need no server.
type localSite struct {
	db    *pgtest.DB
	cold  string
	flags []string
	want  audit.Rows
}

func newLocalSite(t *testing.T, rows string) *localSite {
	t.Helper()
	s := &localSite{cold: t.TempDir()}
	s.db = grantedDatabase(t, []string{"app.events"}, []string{
		"CREATE TABLE app.events (id int PRIMARY KEY, note text)",
		"INSERT INTO app.events SELECT i, repeat('note ' || i, 20) FROM generate_series(1, " + rows + ") i",
	})
	s.flags = []string{"--local", "--database-url", s.db.WorkerURL, "--storage", s.cold}
	s.want = audit.Hot(t, s.db.SuperURL, "app", "events", "")
	t.Cleanup(func() {
		audit.Check(t, s.db.SuperURL, "app", "events", s.want)
		audit.Storage(t, s.db.SuperURL, s.cold)
	})
	return s
}

func (s *localSite) flush(t *testing.T, args ...string) result {
	t.Helper()
	return invoke(t, append(append([]string{"flush", "app.events"}, s.flags...), args...))
}

// A flush without a server: what it says, what it refuses, and its exit codes.
func TestFlushLocal(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, "5000")
	r := s.flush(t, "--where", "id <= 4000 AND note LIKE 'note%'", "--with", "chunk_bytes=64kB", "-o", "json")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.errOut)
	}
	mustContain(t, r.out, `"status":"completed"`, `"rows_flushed":4000`, `"progress":1`, `"job_id":"flush:app.events:`)
	mustContain(t, r.errOut, "completed  100 %  4 000 of 4 000 rows")
	for _, c := range []struct {
		args []string
		code int
		err  []string
	}{
		{[]string{"--where", "nope = 1"}, 1, []string{`column "nope" does not exist`, "^"}},
		{[]string{"--where", "id IN (SELECT 1)"}, 1, []string{"subqueries", "hint: "}},
		{[]string{"--with", "speed=1"}, 1, []string{`unknown option "speed"`}},
		{[]string{"--with", "storage=elsewhere"}, 1, []string{`storage "elsewhere" does not exist`}},
		{[]string{"--storage", t.TempDir()}, 1, []string{"the storage of this database is file://"}},
		{[]string{"--slots", "0"}, 2, []string{"--slots 0"}},
		{[]string{"--older-than", "7 days"}, 1, nil},
	} {
		r := s.flush(t, c.args...)
		if r.code != c.code {
			t.Errorf("%q: exit code %d, want %d: %s", c.args, r.code, c.code, r.errOut)
		}
		mustContain(t, r.errOut, c.err...)
	}
	for _, args := range [][]string{
		{"flush", "app.events", "--local"}, {"flush", "--all", "--local", "--database-url", s.db.WorkerURL}, {"flush", "app.events", "--take-over"},
	} {
		if r := invoke(t, args); r.code != 2 {
			t.Errorf("%q: exit code %d, want 2: %s", args, r.code, r.errOut)
		}
	}
	if r := invoke(t, []string{"flush", "app.nothing", "--local", "--database-url", s.db.WorkerURL}); r.code != 1 || !strings.Contains(r.errOut, `relation "app.nothing" does not exist`) {
		t.Errorf("exit code %d: %s", r.code, r.errOut)
	}
	s.db.Exec(t, "CREATE RULE keep AS ON DELETE TO app.events DO INSTEAD NOTHING")
	r = s.flush(t)
	if r.code != 1 {
		t.Errorf("a table that cannot be flushed: exit code %d", r.code)
	}
	mustContain(t, r.errOut, "failed (refused)", `its rule "keep" rewrites DELETE`)
	if n := pgtest.Value[int](t, s.db, "SELECT count(*) FROM app.events"); n != 1000 {
		t.Errorf("%d rows are hot, want 1000", n)
	}
}

// slowly makes every row take its time to leave, so that a flush can be met in the middle.
func (s *localSite) slowly(t *testing.T) {
	t.Helper()
	s.db.Exec(t,
		"CREATE FUNCTION app.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN OLD; END'",
		"CREATE TRIGGER slow BEFORE DELETE ON app.events FOR EACH ROW EXECUTE FUNCTION app.slow()")
}

// start runs a flush in a process of its own, until a chunk of it is committed and the next one is at work.
func (s *localSite) start(t *testing.T) (*exec.Cmd, *syncBuffer) {
	t.Helper()
	before := s.chunks(t)
	cmd := exec.Command(os.Args[0], append([]string{"flush", "app.events", "--with", "triggers=fire", "--with", "chunk_bytes=64kB", "--with", "parallelism=2"}, s.flags...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	errOut := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = errOut, errOut
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended by then, unless the test failed
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); s.chunks(t) < before+2; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("no chunk was committed:\n%s", errOut.String())
		}
	}
	return cmd, errOut
}

func (s *localSite) chunks(t *testing.T) int {
	t.Helper()
	if !pgtest.Value[bool](t, s.db, "SELECT to_regclass('spillway.chunks') IS NOT NULL") {
		return 0
	}
	return pgtest.Value[int](t, s.db, "SELECT count(*) FROM spillway.chunks WHERE row_count > 0")
}

// A34, for jobs of this process: kill -9 in the middle loses no row; the next flush closes the job that was cut off, says so,
// and goes on.
func TestFlushLocalKilled(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, "4000")
	s.slowly(t)
	for range 2 {
		cmd, _ := s.start(t)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		audit.Check(t, s.db.SuperURL, "app", "events", s.want)
	}
	s.db.Exec(t, "DROP TRIGGER slow ON app.events")
	r := s.flush(t)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.errOut)
	}
	mustContain(t, r.errOut, "was cut off with its process, and is closed as failed")
	if n := pgtest.Value[int](t, s.db, "SELECT count(*) FROM app.events"); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
	if got := pgtest.Value[string](t, s.db, "SELECT string_agg(status || coalesce(' ' || error_class, ''), ', ' ORDER BY created_at) FROM spillway.job_history"); got != "failed interrupted, failed interrupted, completed" {
		t.Errorf("history: %s", got)
	}
	if n := pgtest.Value[int](t, s.db, "SELECT (SELECT count(*) FROM spillway.claims) + (SELECT count(*) FROM spillway.attempts WHERE condemned_at IS NULL)"); n != 0 {
		t.Errorf("%d claims and attempts are left", n)
	}
}

// A26, for jobs of this process: an interrupt cancels the flush; what was moved is cold, the rest is hot and unlocked.
func TestFlushLocalInterrupted(t *testing.T) {
	t.Parallel()
	s := newLocalSite(t, "4000")
	s.slowly(t)
	cmd, errOut := s.start(t)
	other := s.flush(t, "--where", "id = 1")
	if other.code != 1 {
		t.Errorf("another flush of the busy table: exit code %d", other.code)
	}
	mustContain(t, other.errOut, "table app.events is busy with job", "hint: wait for it, or stop the process that runs it")
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	mustContain(t, errOut.String(), "cancelling: rows that were moved stay cold", "cancelled", "spillway: interrupted", "hint: rows that were not moved are still in the table")
	if got := pgtest.Value[string](t, s.db, "SELECT status FROM spillway.job_history WHERE cancelled_at IS NOT NULL"); got != "cancelled" {
		t.Errorf("status %s", got)
	}
	if n := pgtest.Value[int](t, s.db, "SELECT count(*) FROM pg_locks WHERE relation = 'app.events'::regclass AND mode = 'RowExclusiveLock'"); n != 0 {
		t.Errorf("%d locks on the table are left", n)
	}
}
