package guides

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/tests/product"
	"github.com/spillwaydb/spillway/tests/transcript"
)

var (
	show   = flag.Bool("show", false, "print what the commands answer, for writing a page")
	record = flag.String("record", "", "file to write down what is typed and answered, with times; for one page")
)

// patience is how long one command may take.
const patience = 90 * time.Second

// brokenPipe is the exit code of a shell whose command wrote to a reader that had gone.
const brokenPipe = 128 + int(syscall.SIGPIPE)

// Every page of docs/guides does what it says, for a reader who types it.
func TestGuides(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("psql is not installed, and the guides type it")
	}
	dir := t.TempDir()
	binary, err := product.Binary(dir)
	must(t, err)
	pages, err := filepath.Glob(filepath.Join(product.Root(), "docs", "guides", "*.md"))
	must(t, err)
	if len(pages) == 0 {
		t.Fatal("there are no guides")
	}
	for _, path := range pages {
		p := read(t, path)
		if len(p.commands) == 0 {
			continue // nothing to type
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".md"), func(t *testing.T) { newSite(t, binary, p).follow(t, p) })
	}
}

// site is the machine of a reader: a database server, the product's binary, and folders of its own.
type site struct {
	pg      *embedpg.Server
	dir     string // where commands are typed
	environ []string
	exports string            // what was exported so far
	begun   []*exec.Cmd       // what was started with & and lives
	ended   []chan struct{}   // closed when it has ended
	names   *strings.Replacer // what a page says → what is here
	back    *strings.Replacer
}

// Passwords and places that pages use.
const (
	adminPassword  = "admin-password"
	readerPassword = "app-password"
)

// newSite makes a server with a database "app", whose tables belong to the role "app". The pages call it db.example.com.
func newSite(t *testing.T, binary string, p *page) *site {
	t.Helper()
	s := &site{pg: pgtest.Own(t, nil)}
	var more []string
	if p.bucket {
		server := cloudtest.Start(t)
		more = []string{"https://s3.example.com", server.Endpoint, "company-cold", server.Bucket(t), "AKIAEXAMPLE", cloudtest.AccessKey, "EXAMPLESECRET", cloudtest.SecretKey}
	}
	var err error
	s.dir, err = os.MkdirTemp("", "spillway-guide-") // t.TempDir is closed to PostgreSQL's account
	must(t, err)
	must(t, os.Chmod(s.dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	must(t, os.MkdirAll(filepath.Join(s.dir, "bin"), 0o755))
	must(t, os.Symlink(binary, filepath.Join(s.dir, "bin", "spillway")))
	s.sql(t, "postgres", "CREATE ROLE admin SUPERUSER LOGIN PASSWORD '"+adminPassword+"'", "CREATE ROLE app LOGIN PASSWORD '"+readerPassword+"'", "CREATE DATABASE app OWNER app",
		"ALTER DATABASE app SET timezone TO 'UTC'")
	s.sql(t, "app", "CREATE SCHEMA app AUTHORIZATION app")

	var ports [5]int
	for i := range ports {
		ports[i], err = freeport.Pick("127.0.0.1")
		must(t, err)
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	pgpass := filepath.Join(s.dir, ".pgpass")
	lines := fmt.Sprintf("127.0.0.1:*:*:admin:%s\n127.0.0.1:*:*:app:%s\n", adminPassword, readerPassword)
	must(t, os.WriteFile(pgpass, []byte(lines), 0o600))
	s.environ = append(os.Environ(), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"), "PGPASSFILE="+pgpass, "PAGER=cat", "HOME="+s.dir, "PSQLRC=/nonexistent", "LC_ALL=C.UTF-8",
		"SPILLWAY_SQL_LISTEN="+at(0), "SPILLWAY_TEMPORAL_LISTEN="+at(1), "SPILLWAY_UI_LISTEN="+at(2), "SPILLWAY_METRICS_LISTEN="+at(3), "PGCONNECT_TIMEOUT=30")
	pairs := []string{
		"db.example.com", s.pg.Address(), "/srv/cold", filepath.Join(s.dir, "cold"), "make build", "true", "localhost:7432", at(0),
		"-h 127.0.0.1 -p 7432", "-h 127.0.0.1 -p " + strconv.Itoa(ports[0]), "http://127.0.0.1:8233", "http://" + at(2), "127.0.0.1:9464", at(3), "127.0.0.1:7233", at(1), "127.0.0.1:7442", at(4),
	}
	pairs = append(pairs, more...)
	s.names = strings.NewReplacer(pairs...)
	for i := 0; i < len(pairs); i += 2 {
		pairs[i], pairs[i+1] = pairs[i+1], pairs[i]
	}
	pairs = append(pairs, s.dir, "~")
	s.back = strings.NewReplacer(without(pairs, "true")...)
	return s
}

// without leaves a pair out.
func without(pairs []string, from string) []string {
	var out []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != from {
			out = append(out, pairs[i], pairs[i+1])
		}
	}
	return out
}

func (s *site) sql(t *testing.T, database string, statements ...string) {
	t.Helper()
	for _, text := range statements {
		cmd := exec.CommandContext(t.Context(), "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", s.pg.SuperURL(database), "-c", text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", text, err, out)
		}
	}
}

// follow types a page.
func (s *site) follow(t *testing.T, p *page) {
	s.sql(t, "app", p.prepare...)
	began := time.Now()
	defer func() {
		t.Logf("%s: %d commands in %s", filepath.Base(p.path), len(p.commands), time.Since(began).Round(100*time.Millisecond))
	}()
	known := transcript.Book{}
	var tape strings.Builder
	for _, c := range p.commands {
		at := fmt.Sprintf("%s:%d", filepath.Base(p.path), c.line)
		typed := s.names.Replace(known.Translate(c.text))
		var got string
		var err error
		typedAt := time.Now()
		if text, background := strings.CutSuffix(typed, " &"); background {
			got = s.begin(t, text)
		} else if strings.HasPrefix(typed, "export ") {
			s.exports += typed + "\n"
		} else if typed == "kill -9 %1" {
			must(t, s.begun[0].Process.Kill())
			<-s.ended[0]
			s.begun, s.ended = s.begun[1:], s.ended[1:]
		} else {
			got, err = s.run(t, typed)
		}
		got = s.back.Replace(got)
		if *show {
			fmt.Printf("%s\n$ %s\n%s\n", at, c.text, got)
		}
		if c.text != "make build" { // the binary is there; scripts/record times the build
			fmt.Fprintf(&tape, "$ %s\n%s# %.1f s\n\n", c.text, lines(got), time.Since(typedAt).Seconds())
		}
		if (err != nil) != c.fails {
			t.Errorf("%s: $ %s\n%s%v", at, typed, got, err)
		} else if err := known.Compare(strings.Join(c.answer, "\n"), got); err != nil {
			t.Errorf("%s: $ %s\n%v\nall of it:\n%s", at, c.text, err, got)
		}
		if t.Failed() && !*show {
			t.FailNow() // what follows builds on it
		}
	}
	if *record != "" {
		must(t, os.WriteFile(*record, []byte(tape.String()), 0o644))
	}
}

// lines ends text with a newline, unless it is empty.
func lines(text string) string {
	if text == "" {
		return ""
	}
	return text + "\n"
}

// run types a command and waits for its end.
func (s *site) run(t *testing.T, text string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", s.exports+text)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.dir, s.environ, time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	} else if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == brokenPipe {
		err = nil // head has seen enough
	}
	return strings.TrimRight(string(out), "\n"), err
}

// begin starts a command that goes on, and waits for the line that says that it is ready.
func (s *site) begin(t *testing.T, text string) string {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command("bash", "-c", s.exports+"exec "+text)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.WaitDelay = s.dir, s.environ, &log, 5*time.Second
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	ready, done := make(chan string, 1), make(chan struct{})
	s.begun, s.ended = append(s.begun, cmd), append(s.ended, done)
	go func() {
		buf := make([]byte, 4096)
		n, _ := out.Read(buf)
		ready <- strings.TrimRight(string(buf[:n]), "\n")
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-done
		}
		if t.Failed() {
			t.Logf("%s\n%s", text, log.String())
		}
	})
	select {
	case line := <-ready:
		return line
	case <-time.After(patience):
		t.Fatalf("%s: not ready", text)
		return ""
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
