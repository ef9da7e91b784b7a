package command

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// A28: what a person does with the live view at a terminal, beside a real `up`: sees two jobs, pauses one, kills it, makes the
// window smaller, leaves; the other job goes on.
func TestTopAtATerminal(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events", "app.other"}, []string{
		"CREATE TABLE app.events (id int PRIMARY KEY, note text)", "INSERT INTO app.events SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i",
		"CREATE TABLE app.other AS SELECT * FROM app.events",
	})
	ids := map[string]string{}
	for _, table := range []string{"app.other", "app.events"} { // the newest job stands first
		r := s.spillway(t, "flush", table, "--with", "max_rows_per_second=100", "--with", "chunk_bytes=64kB", "-o", "json")
		if r.code != 0 {
			t.Fatal(r.errOut)
		}
		ids[table] = r.out[strings.Index(r.out, "flush:"):][:len("flush:"+table+":")+36]
	}
	status := func(table string) string {
		return strings.TrimSpace(s.spillway(t, "sql", "-c", "SELECT status FROM system.jobs WHERE job_id = "+sqlclient.Literal(ids[table]), "-o", "csv").out)
	}
	becomes := func(table, want string) {
		t.Helper()
		await(t, func() error {
			if got := status(table); got != "status\n"+want {
				return fmt.Errorf("the job of %s is %q, not %s", table, got, want)
			}
			return nil
		})
	}
	becomes("app.events", "running")

	term := openTerminal(t, 120, []string{"TERM=xterm-256color", "NO_COLOR=", "COLORTERM="}, "top", "--sql-url", s.url)
	term.expect("\x1b[?1049h")
	term.expect("flush app.events")
	term.expect("flush app.other")
	term.keys("p")
	term.expect("PAUSE")
	term.keys("y")
	becomes("app.events", "paused")
	term.keys("k")
	term.expect("KILL")
	term.keys("n")
	term.expect("left as it is")
	term.keys("k")
	term.expect("KILL")
	term.keys("y")
	becomes("app.events", "cancelled")
	if got := status("app.other"); got != "status\nrunning" {
		t.Errorf("the other job: %s", got)
	}
	if err := unix.IoctlSetWinsize(int(term.side.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 6, Col: 25}); err != nil {
		t.Fatal(err)
	}
	if err := term.cmd.Process.Signal(syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	term.expect("small")
	term.keys("q")
	if code := term.end(); code != 0 {
		t.Errorf("q: exit code %d", code)
	}
	term.leftInOrder(t)
	if !strings.Contains(term.seen.String(), "\x1b[32m") {
		t.Error("no colour on a terminal")
	}

	term = openTerminal(t, 120, []string{"TERM=xterm-256color", "NO_COLOR=1"}, "top", "--sql-url", s.url)
	term.expect("flush app.other")
	if err := term.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := term.end(); code != exitInterrupted {
		t.Errorf("SIGTERM: exit code %d", code)
	}
	term.leftInOrder(t)
	if got := term.seen.String(); strings.Contains(got, "\x1b[32m") || strings.Contains(got, "\x1b[33m") || strings.Contains(got, ";32m") {
		t.Errorf("colours in spite of NO_COLOR: %q", got)
	}

	term = openTerminal(t, 80, []string{"TERM=xterm"}, "top", "--sql-url", "postgres://nobody@127.0.0.1:1/x")
	term.expect("the SQL front-end cannot be reached")
	if code := term.end(); code != exitUnreachable {
		t.Errorf("no front-end: exit code %d", code)
	}
	if strings.Contains(term.seen.String(), "\x1b[?1049h") {
		t.Error("it took the screen before it had anything to show")
	}
}

// leftInOrder fails unless the terminal is as it was: the first screen, with a cursor, in line mode.
func (term *terminal) leftInOrder(t *testing.T) {
	t.Helper()
	await(t, func() error {
		if all := term.seen.String(); !strings.Contains(all, "\x1b[?1049l") || strings.LastIndex(all, "\x1b[?25h") < strings.LastIndex(all, "\x1b[?25l") {
			return fmt.Errorf("the screen was not given back: %q", all[max(0, len(all)-200):])
		}
		return nil
	})
	after, err := unix.IoctlGetTermios(int(term.side.Fd()), unix.TCGETS)
	if err != nil || after.Lflag&unix.ICANON == 0 || after.Lflag&unix.ECHO == 0 || after.Oflag&unix.OPOST == 0 {
		t.Errorf("the terminal is still raw: %+v, %v", after, err)
	}
}
