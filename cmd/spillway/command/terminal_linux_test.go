package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// terminal is a program at a terminal of its own, as a person has it.
type terminal struct {
	t    *testing.T
	side *os.File // the person's
	seen syncBuffer
	at   int // what was looked at
	cmd  *exec.Cmd
}

// openTerminal runs a command line of spillway at a terminal with so many columns.
func openTerminal(t *testing.T, columns uint16, environ []string, args ...string) *terminal {
	t.Helper()
	side, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { side.Close() })
	fd := int(side.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: columns})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	other, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close() // the program has it too
	term := &terminal{t: t, side: side}
	term.cmd = exec.Command(os.Args[0], args...)
	term.cmd.Env = append(append(os.Environ(), asProgram+"=1"), environ...)
	term.cmd.Stdin, term.cmd.Stdout, term.cmd.Stderr = other, other, other
	term.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := term.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = term.cmd.Process.Kill() // it has ended, if the test went well
		_ = term.cmd.Wait()
	})
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := side.Read(buf)
			_, _ = term.seen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return term
}

// keys types.
func (term *terminal) keys(text string) {
	term.t.Helper()
	if _, err := term.side.WriteString(text); err != nil {
		term.t.Fatal(err)
	}
}

// expect waits until the screen shows text, behind what was expected before.
func (term *terminal) expect(text string) {
	term.t.Helper()
	await(term.t, func() error {
		all := term.seen.String()
		i := strings.Index(all[term.at:], text)
		if i < 0 {
			return fmt.Errorf("%q has not come; on the screen since the last:\n%q", text, all[term.at:])
		}
		term.at += i + len(text)
		return nil
	})
}

// end waits for the program's end and returns its exit code.
func (term *terminal) end() int {
	term.t.Helper()
	done := make(chan struct{})
	go func() { _ = term.cmd.Wait(); close(done) }() // the exit code says it
	await(term.t, func() error {
		select {
		case <-done:
			return nil
		default:
			return fmt.Errorf("it does not end; on the screen:\n%q", term.seen.String()[term.at:])
		}
	})
	return term.cmd.ProcessState.ExitCode()
}

const (
	ctrlC, ctrlD, up = "\x03", "\x04", "\x1b[A"
	ready            = "spillway=> "
)

// What a person does at the prompt: types, completes, stops a statement, leaves; and finds the history again.
func TestTerminal(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events (id int)", "CREATE TABLE app.exports (id int)", "INSERT INTO app.events VALUES (42)")
	state := t.TempDir()
	open := func() *terminal {
		return openTerminal(t, 80, []string{"XDG_STATE_HOME=" + state}, "sql", "--sql-url", db.OwnerURL)
	}
	term := open()
	term.expect(ready)
	term.keys("SELECT id FROM app.ev\t;\r")
	term.expect("app.events ;")
	term.expect(" 42 \r\n(1 row)\r\n")
	term.keys("TABLE app.e\t")
	term.expect("app.events   app.exports")
	term.expect("TABLE app.e")
	term.keys(ctrlC)
	term.expect("^C\r\n")
	term.expect(ready)

	term.keys("SELECT pg_sleep(1000);\r") // Ctrl-C stops the statement and not the program
	term.expect("\r\n")
	await(t, func() error {
		if pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(1000)%' AND state = 'active' AND datname = current_database()") == 0 {
			return fmt.Errorf("the statement does not run")
		}
		return nil
	})
	term.keys(ctrlC)
	term.expect("canceling statement due to user request (SQLSTATE 57014)")
	term.expect(ready)
	term.keys("SELECT 'tick' \\watch 0.01\r")
	term.expect(" tick\r\n")
	term.expect(" tick\r\n")
	term.keys(ctrlC)
	term.expect(ready)

	term.keys("BEGIN;\r")
	term.expect("spillway=*> ")
	term.keys("SELECT\r'" + ctrlC)
	term.expect("spillway-*> ")
	term.expect("'^C\r\nspillway=*> ")
	term.keys("SELECT 1/0;\r")
	term.expect("spillway=!> ")
	term.keys("ROLLBACK;\r")
	term.expect(ready)

	// A paste of several lines, tabs included, is no completion.
	term.keys("\x1b[200~SELECT\r\t'pa' || 'sted',\r\t2;\r\x1b[201~")
	term.expect(" pasted ")
	term.expect(ready)
	term.keys("CREATE TEMP TABLE t (a int, b text);\rCOPY t FROM STDIN;\r")
	term.expect(">> ")
	term.keys("1\tx\r\\.\r")
	term.expect("COPY 1")
	term.keys("SELECT 'it is'\r|| ' the PASSWORD';\r")
	term.expect("it is the PASSWORD\r\n(1 row)")
	term.keys("SELECT repeat('wide ', 20) AS a, 1 AS b;\r") // too wide for 80 columns
	term.expect("-[ 1 ]")
	term.expect(ready)
	term.keys(ctrlD)
	if code := term.end(); code != 0 {
		t.Errorf("Ctrl-D: exit code %d", code)
	}

	path := filepath.Join(state, "spillway", "history")
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "SELECT 'pa' || 'sted', 2;") && !strings.Contains(string(text), "SELECT \t'pa' || 'sted', \t2;") || strings.Contains(string(text), "PASSWORD") {
		t.Errorf("history: %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("history: %v, %v", info, err)
	}
	term = open()
	term.expect(ready)
	term.keys(up + "\r")
	term.expect("SELECT repeat(")
	term.expect("-[ 1 ]")
	term.expect(ready)
	term.keys("\\q\r")
	if code := term.end(); code != 0 {
		t.Errorf(`\q: exit code %d`, code)
	}
}

// A terminal that is told to go away does so at once, and leaves the terminal as it was.
func TestTerminalTerminated(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	term := openTerminal(t, 80, nil, "sql", "--history", "", "--sql-url", db.OwnerURL)
	term.expect(ready)
	term.keys("SELECT")
	term.expect("SELECT")
	if err := term.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := term.end(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	after, err := unix.IoctlGetTermios(int(term.side.Fd()), unix.TCGETS)
	if err != nil || after.Lflag&unix.ICANON == 0 || after.Lflag&unix.ECHO == 0 || after.Oflag&unix.OPOST == 0 {
		t.Errorf("the terminal is still raw: %+v, %v", after, err)
	}
}
