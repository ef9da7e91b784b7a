package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// up is a `spillway up` on a database of its own, as a role that has only what `spillway grants` prints.
type up struct {
	*product.Process
	t    testing.TB
	db   *pgtest.DB
	dir  string // --data-dir
	args []string

	storage string // folder of segments
	info    product.Up
}

// freePorts lets every listener choose its port.
var freePorts = []string{"--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"}

// startUp runs `up` against db, which may be nil for a private PostgreSQL. It is stopped with the test.
func startUp(t testing.TB, db *pgtest.DB, args ...string) *up {
	t.Helper()
	u := &up{t: t, db: db, dir: folder(t)}
	u.storage = filepath.Join(u.dir, "segments")
	u.args = append([]string{"up", "--data-dir", u.dir, "--log-format", "json"}, freePorts...)
	if db != nil {
		u.grant()
		u.args = append(u.args, "--database-url", db.WorkerURL)
	}
	u.args = append(u.args, args...)
	u.start()
	return u
}

// folder makes a folder that PostgreSQL's account may enter too.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spillway-e2e-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	return dir
}

// start runs the process, again if need be, and waits until it is ready.
func (u *up) start() {
	u.t.Helper()
	u.Process = product.Start(u.t, binary, nil, u.args...)
	u.serves()
}

// serves waits until the process is ready, and reads where it is.
func (u *up) serves() {
	u.t.Helper()
	u.Ready()
	u.info = product.ReadUp(u.t, u.dir)
	if u.info.PID != u.PID() {
		u.t.Fatalf("up.json names process %d, but %d runs", u.info.PID, u.PID())
	}
}

// granting keeps tests from changing the same rows of the catalog at once, and roles belong to all databases.
var granting sync.Mutex

// grant runs, as the superuser, the script that `spillway grants` prints. The role may do nothing before.
func (u *up) grant(tables ...string) {
	u.t.Helper()
	grantTo(u.t, u.db, tables...)
}

func grantTo(t testing.TB, db *pgtest.DB, tables ...string) {
	t.Helper()
	if len(tables) == 0 {
		db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker, "CREATE TABLE IF NOT EXISTS app.none (id int)")
		tables = []string{"app.none"}
	}
	args := []string{"grants", "--database-url", db.SuperURL, "--role", db.Worker, "--reader", db.Owner}
	for _, name := range tables {
		args = append(args, "--for", name)
	}
	script := product.MustRun(t, binary, nil, args...)
	granting.Lock()
	defer granting.Unlock()
	db.Super(t, script)
}

// furnish makes what tables with gates need. See gate.
func (u *up) furnish() {
	u.t.Helper()
	u.db.Super(u.t, gateFunctions,
		"CREATE TRIGGER e2e_uploaded BEFORE INSERT ON spillway.segments FOR EACH ROW WHEN (NEW.table_name LIKE '%_uploaded') EXECUTE FUNCTION app.gate_of_segment()",
		"CREATE TRIGGER e2e_registered AFTER INSERT ON spillway.segments FOR EACH ROW WHEN (NEW.table_name LIKE '%_registered') EXECUTE FUNCTION app.gate_of_segment()")
}

// through returns a URL of the database, changed so that it leads through the front-end.
func (u *up) through(direct string) string {
	u.t.Helper()
	return product.Through(u.t, direct, u.info.SQLURL)
}

// session is a connection through the front-end.
type session struct {
	*pgx.Conn
	t       testing.TB
	notices *[]string
}

// owner and super connect through the front-end.
func (u *up) owner(t testing.TB) session { t.Helper(); return u.connect(t, u.db.OwnerURL) }
func (u *up) super(t testing.TB) session { t.Helper(); return u.connect(t, u.db.SuperURL) }

func (u *up) connect(t testing.TB, direct string) session {
	t.Helper()
	s, err := dial(u.through(direct))
	must(t, err)
	s.t = t
	t.Cleanup(func() { _ = s.Close(context.Background()) }) // the front-end may be gone
	return s
}

// dial speaks the simple protocol, as psql does.
func dial(address string) (session, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return session{}, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	notices := new([]string)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { *notices = append(*notices, n.Message) }
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	return session{Conn: conn, notices: notices}, err
}

// rows returns the rows of a statement, values by column.
func (s session) rows(sql string, args ...any) []map[string]any {
	s.t.Helper()
	found, err := s.tryRows(sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return found
}

func (s session) tryRows(sql string, args ...any) ([]map[string]any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	r, err := s.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(r, pgx.RowToMap)
}

// refused runs a statement that must fail, and returns the error.
func (s session) refused(sql string) *pgconn.PgError {
	s.t.Helper()
	found, err := s.tryRows(sql)
	e, ok := err.(*pgconn.PgError)
	if !ok {
		s.t.Fatalf("%s: %v %v, want an error", sql, found, err)
	}
	return e
}

// startWorker runs `spillway worker` beside an up.
func (u *up) startWorker(args ...string) *product.Process {
	u.t.Helper()
	base := []string{"worker", "--database-url", u.db.WorkerURL, "--temporal-address", u.info.TemporalAddress,
		"--metrics-listen", "127.0.0.1:0", "--log-format", "json"}
	p := product.Start(u.t, binary, nil, append(base, args...)...)
	p.Ready()
	return p
}

// logged returns the log lines with this message that name the job.
func logged(p *product.Process, message, job string) []map[string]any {
	var found []map[string]any
	for _, line := range p.Err.Lines(message, job) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message && entry["job"] == job {
			found = append(found, entry)
		}
	}
	return found
}

// ownUp starts an up for one test, on a database of its own.
func ownUp(t testing.TB, args ...string) *up {
	t.Helper()
	u := startUp(t, pgtest.Database(t), args...)
	u.furnish()
	return u
}

// readyz asks for the process's readiness.
func (u *up) readyz() int {
	u.t.Helper()
	r, err := http.Get(strings.TrimSuffix(u.info.MetricsURL, "/metrics") + "/readyz")
	must(u.t, err)
	must(u.t, r.Body.Close())
	return r.StatusCode
}

// withUser changes who logs in.
func withUser(t testing.TB, address, user, password string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	u.User = url.UserPassword(user, password)
	return u.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
