package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// durable starts an `up` whose Temporal keeps its state in a PostgreSQL database of its own.
func durable(t *testing.T, args ...string) (u *up, store *pgtest.DB) {
	t.Helper()
	store = pgtest.Database(t)
	u = startUp(t, pgtest.Database(t), append([]string{"--temporal-store", store.WorkerURL, "--heartbeat-timeout", "2s"}, args...)...)
	u.furnish()
	return u, store
}

// standby is an `up` that waits for another.
type standby struct {
	*up
	sql, metrics string // its addresses
}

// standbyOf starts an `up` beside another, on another data directory, and waits until it says that it is a standby.
func standbyOf(t *testing.T, u *up, store *pgtest.DB, args ...string) *standby {
	t.Helper()
	s := &standby{up: &up{t: t, db: u.db, dir: folder(t), storage: u.storage}, sql: freeAddress(t), metrics: freeAddress(t)}
	s.args = append([]string{"up", "--data-dir", s.dir, "--log-format", "json", "--database-url", u.db.WorkerURL, "--temporal-store", store.WorkerURL,
		"--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--heartbeat-timeout", "2s"}, args...)
	s.args = append(s.args, "--sql-listen", s.sql, "--metrics-listen", s.metrics)
	s.Process = product.Start(t, binary, nil, s.args...)
	await.Until(t, "the standby says so", func() bool { return s.waits() })
	return s
}

func (s *standby) waits() bool {
	return len(s.Err.Lines("spillway is a standby: the active one is ")) == 1
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}

// asked returns the status and the text of an answer.
func (s *standby) asked(path string) (int, string) {
	s.t.Helper()
	r, err := http.Get("http://" + s.metrics + path)
	must(s.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(s.t, err)
	return r.StatusCode, string(text)
}

// A35: kill -9 of the active process during flushes: the one that waits finishes them, each under its own id, within seconds.
// Until then it says what it is to everybody who asks.
func TestStandbyTakesOver(t *testing.T) {
	t.Parallel()
	u, store := durable(t)
	s := standbyOf(t, u, store)
	m := reachMiddle(t, u, "taken_over")
	other := u.table(t, "waiting", 2000)
	second := u.super(t).flush(other, "WITH ("+small+")").id

	if code, text := s.asked("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "standby: the active spillway is ") ||
		!strings.Contains(text, fmt.Sprintf("process %d", u.info.PID)) {
		t.Errorf("readyz: %d %s", code, text)
	}
	if code, _ := s.asked("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	direct, err := url.Parse(u.db.OwnerURL)
	must(t, err)
	direct.Host = s.sql
	_, err = dial(direct.String())
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "57P03" || refused.Message != "this spillway is a standby" {
		t.Errorf("a client of the standby: %v", err)
	}

	begun := time.Now()
	u.Kill()
	s.serves()
	t.Logf("the standby serves %v after kill -9", time.Since(begun))
	// Both hosts are known to the client; the first is gone.
	direct.Host = strings.TrimPrefix(u.info.SQLURL[strings.Index(u.info.SQLURL, "@")+1:], "postgres://")
	direct.Host, _, _ = strings.Cut(direct.Host, "/")
	direct.Host += "," + s.sql
	c, err := dial(direct.String())
	must(t, err)
	must(t, c.Close(t.Context()))
	m.gate.open()
	m.completes(s.super(t))
	if j := s.super(t).wait(second, "completed"); j.Rows != 2000 {
		t.Errorf("%+v", j)
	}
	if code := s.readyz(); code != http.StatusOK {
		t.Errorf("readyz: %d", code)
	}
	t.Logf("all is done %v after kill -9", time.Since(begun))
	s.Terminate()
	for _, p := range []*product.Process{u.Process, s.Process} {
		password := secretOf(t, store.WorkerURL)
		if strings.Contains(p.Out.String()+p.Err.String(), password) {
			t.Error("the store's password is in the log")
		}
	}
}

func secretOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	password, ok := u.User.Password()
	if !ok {
		t.Fatal("the URL has no password")
	}
	return password
}

// A37: an active process that is frozen loses the store; when it wakes up, it has nothing to say any more.
func TestStandbyTakesOverFromFrozen(t *testing.T) {
	t.Parallel()
	u, store := durable(t)
	s := standbyOf(t, u, store)
	m := reachMiddle(t, u, "frozen")
	begun := time.Now()
	u.Signal(syscall.SIGSTOP)
	s.serves()
	t.Logf("the standby serves %v after the other froze", time.Since(begun))
	m.gate.open()
	m.completes(s.super(t))
	u.Signal(syscall.SIGCONT)
	if code := u.Exit(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if len(u.Err.Lines("spillway: the embedded Temporal has ended", "no longer has the Temporal store")) != 1 || len(u.Err.Lines("hint: start it again")) != 1 {
		t.Errorf("it says\n%s", u.Err.Tail(2000))
	}
	// The storage and both databases are as the one that is active now left them, and that still works.
	more := s.table(t, "after_frozen", 500)
	c := s.super(t)
	if j := c.wait(c.flush(more, "").id, "completed"); j.Rows != 500 {
		t.Errorf("%+v", j)
	}
	s.Terminate()
}

// An orderly stop hands the store over at once; who waits can be stopped too; and the next start of the first is a standby.
func TestStandbyOrderly(t *testing.T) {
	t.Parallel()
	u, store := durable(t)
	s := standbyOf(t, u, store)
	s.Terminate()
	if lines := s.Err.Lines("stopped"); len(lines) != 1 {
		t.Errorf("it says %q", lines)
	}
	s = standbyOf(t, u, store)
	u.Terminate()
	begun := time.Now()
	s.serves()
	t.Logf("the standby serves %v after the end of the other", time.Since(begun))
	back := standbyOf(t, s.up, store)
	if !slices.Contains(back.args, store.WorkerURL) || !back.Running() {
		t.Error("the first is no standby")
	}
	back.Terminate()
	s.Terminate()
}
