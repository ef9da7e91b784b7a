package sqlfront_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// jobs is a job manager that starts nothing: jobs stay as the test sets them.
type jobs struct {
	mu    sync.Mutex
	all   []jobmanager.JobInfo
	specs []jobmanager.JobSpec
	fail  error
	asked []jobmanager.JobFilter // by ListJobs
}

var created = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func (m *jobs) StartJob(_ context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return jobmanager.Started{}, m.fail
	}
	for i, j := range m.all {
		if j.ID.Table == spec.Table && !j.Status.Terminal() {
			if m.specs[i].Canonical() != spec.Canonical() {
				return jobmanager.Started{}, &jobmanager.BusyError{Table: spec.Table, Running: j.ID}
			}
			return jobmanager.Started{ID: j.ID, Existing: true}, nil
		}
	}
	id := jobmanager.JobID{Type: spec.Type, Table: spec.Table, UUID: uuid.New()}
	m.specs = append(m.specs, spec)
	m.all = append(m.all, jobmanager.JobInfo{ID: id, Status: jobmanager.Pending, RequestedBy: spec.RequestedBy, Trigger: spec.Trigger,
		Statement: spec.Statement, CreatedAt: created})
	return jobmanager.Started{ID: id}, nil
}

func (m *jobs) find(id jobmanager.JobID) *jobmanager.JobInfo {
	for i := range m.all {
		if m.all[i].ID == id {
			return &m.all[i]
		}
	}
	return nil
}

func (m *jobs) CancelJob(_ context.Context, id jobmanager.JobID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.find(id)
	switch {
	case m.fail != nil:
		return m.fail
	case j == nil:
		return jobmanager.ErrJobNotFound
	case j.Status.Terminal():
		return &jobmanager.FinishedError{ID: id, Status: j.Status}
	}
	j.Status = jobmanager.Cancelling
	return nil
}

func (m *jobs) JobStatus(_ context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.find(id); j != nil {
		return *j, nil
	}
	return jobmanager.JobInfo{}, jobmanager.ErrJobNotFound
}

func (m *jobs) ListJobs(_ context.Context, f jobmanager.JobFilter) iter.Seq2[jobmanager.JobInfo, error] {
	m.mu.Lock()
	m.asked = append(m.asked, f)
	all := slices.Clone(m.all)
	m.mu.Unlock()
	return func(yield func(jobmanager.JobInfo, error) bool) {
		for _, j := range slices.Backward(all) {
			if f.Match(j) && !yield(j, nil) {
				return
			}
		}
	}
}

// questions returns the filters that ListJobs was called with, and forgets them.
func (m *jobs) questions() []jobmanager.JobFilter {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return asked
}

// set changes the newest job.
func (m *jobs) set(f func(*jobmanager.JobInfo)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.all[len(m.all)-1])
}

// endAll completes all jobs, so that their tables are free.
func (m *jobs) endAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.all {
		if !m.all[i].Status.Terminal() {
			m.all[i].Status = jobmanager.Completed
		}
	}
}

func (m *jobs) last() jobmanager.JobSpec {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.specs) == 0 {
		return jobmanager.JobSpec{}
	}
	return m.specs[len(m.specs)-1]
}

func (m *jobs) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.specs)
}

// catalog is a catalog in memory.
type catalog struct {
	mu       sync.Mutex
	tables   []jobmanager.Table
	segments []sqlfront.Segment
	entries  []sqlfront.AuditEntry
	space    map[string]sqlfront.Space // by the table's name
	findings sqlfront.Findings
}

func (c *catalog) RegisteredTables(_ context.Context, ns string) (out []jobmanager.Table, err error) {
	for _, t := range c.tables {
		if ns == "" || t.Namespace == ns {
			out = append(out, t)
		}
	}
	return out, nil
}

func (c *catalog) LiveSegments(context.Context, jobmanager.Table) ([]sqlfront.Segment, error) {
	return c.segments, nil
}

func (c *catalog) WroteSegments(_ context.Context, job jobmanager.JobID) (bool, error) {
	return slices.ContainsFunc(c.segments, func(s sqlfront.Segment) bool { return s.JobID == job.String() }), nil
}

func (c *catalog) Space(_ context.Context, job jobmanager.JobID) (sqlfront.Space, bool, error) {
	s, ok := c.space[job.Table.Name]
	return s, ok, nil
}

func (c *catalog) Findings(context.Context, jobmanager.JobID) (sqlfront.Findings, error) {
	return c.findings, nil
}

func (c *catalog) Audit(_ context.Context, e sqlfront.AuditEntry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e)
	return nil
}

func (c *catalog) lastAudit() sqlfront.AuditEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) == 0 {
		return sqlfront.AuditEntry{}
	}
	return c.entries[len(c.entries)-1]
}

// world is a front-end over a database of its own. The owner's role owns the schema app.
type world struct {
	*pgtest.DB
	jobs    *jobs
	catalog *catalog
	address string
}

func newWorld(t testing.TB, opt *sqlfront.Options) *world {
	t.Helper()
	return newWorldOf(t, opt, func(j *jobs) jobmanager.JobManager { return j })
}

// newWorldOf is newWorld with a job manager around the world's jobs.
func newWorldOf(t testing.TB, opt *sqlfront.Options, manager func(*jobs) jobmanager.JobManager) *world {
	t.Helper()
	w := &world{DB: pgtest.Database(t), jobs: &jobs{}, catalog: &catalog{}}
	if opt == nil {
		opt = &sqlfront.Options{PollEvery: 5 * time.Millisecond}
	}
	opt.Operator = "operator_" + w.Name
	front, err := sqlfront.New(manager(w.jobs), w.catalog, opt)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(w.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := pgwire.New(front, pgwire.Target{Network: "tcp", Address: u.Host}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Close(ctx)
		if err := <-served; !errors.Is(err, pgwire.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return w
}

// user makes a role that may log in with the password "x".
func (w *world) user(t testing.TB, prefix string, grants ...string) (name, direct string) {
	t.Helper()
	name = prefix + "_" + w.Name
	w.Super(t, "CREATE ROLE "+name+" LOGIN PASSWORD 'x'")
	t.Cleanup(func() { w.Super(t, "DROP OWNED BY "+name, "DROP ROLE "+name) })
	for _, g := range grants {
		w.Super(t, strings.ReplaceAll(g, "USER", name))
	}
	u, err := url.Parse(w.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "x")
	return name, u.String()
}

// through connects to the front-end.
func (w *world) through(t testing.TB, direct string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(w.address)
	cfg.Host = host
	fmt.Sscan(port, &cfg.Port)
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// answer is one row of a statement that starts jobs.
type answer struct {
	JobID    *string
	Status   *string
	Existing *bool
	Target   string
	Error    *string
}

func start(ctx context.Context, conn *pgx.Conn, sql string) ([]answer, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[answer])
}

func pgError(t testing.TB, err error) *pgconn.PgError {
	t.Helper()
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		t.Fatalf("no error of the server: %v", err)
	}
	return pe
}

var bothProtocols = map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeCacheStatement}
