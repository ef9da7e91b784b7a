package pgwire_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// handler is a small front-end: FLUSH TABLE asks PostgreSQL, FLUSH ALL blocks, SHOW JOBS answers one row of each type,
// KILL JOB $1 echoes, and texts that mention system.jobs find a setting.
type handler struct {
	started chan struct{}
	fills   atomic.Int32
	texts   []string // that Fill was told; read it when the client has its answer
}

type session struct{ h *handler }

type statement struct {
	h    *handler
	tree parse.Statement
}

func (h *handler) Session(pgwire.Info) pgwire.Session { return &session{h} }

func (s *session) Prepare(text string, r pgwire.Reading) (pgwire.Statement, error) {
	if !parse.Classify(text) {
		return nil, nil
	}
	tree, err := parse.Parse(text, &parse.Options{BackslashQuotes: r.BackslashQuotes})
	var pe *parse.Error
	if errors.As(err, &pe) {
		return nil, &pgwire.Error{Code: pe.SQLState, Message: pe.Msg, Hint: pe.Hint, Position: pe.Pos}
	}
	if tree == nil {
		return nil, err
	}
	return &statement{s.h, tree}, nil
}

func (s *session) Mentions(text string) bool { return strings.Contains(text, "system.jobs") }

func (s *session) Fill(ctx context.Context, up pgwire.Upstream, text string) error {
	s.h.texts = append(s.h.texts, text)
	s.h.fills.Add(1)
	_, err := up.Query(ctx, "SELECT set_config('test.filled', 'yes' || $1, true), 1/(position('!' in $1)-1)", "?")
	return err
}

func (s *session) NearMiss(text string) string {
	if m := parse.NearMiss(text); m != "" {
		return "did you mean " + m + "?"
	}
	return ""
}

func (s *statement) Params() int { return parse.Params(s.tree) }

func (s *statement) Columns() []pgwire.Column {
	if _, ok := s.tree.(*parse.ShowJobs); ok {
		return []pgwire.Column{{Name: "t", Type: pgwire.Text}, {Name: "n", Type: pgwire.Int8}, {Name: "f", Type: pgwire.Float8},
			{Name: "b", Type: pgwire.Bool}, {Name: "z", Type: pgwire.Timestamptz}, {Name: "nothing", Type: pgwire.Int8}}
	}
	return []pgwire.Column{{Name: "answer", Type: pgwire.Text}}
}

var aTime = time.Date(2026, 2, 3, 4, 5, 6, 789000, time.UTC)

func (s *statement) Run(ctx context.Context, up pgwire.Upstream, args []*string, notice func(pgwire.Notice)) (*pgwire.Result, error) {
	one := func(v any) *pgwire.Result { return &pgwire.Result{Rows: [][]any{{v}}, Tag: s.tree.Tag()} }
	switch tree := s.tree.(type) {
	case *parse.ShowJobs:
		return &pgwire.Result{Rows: [][]any{{"é", int64(-7), 0.25, true, aTime, nil}, {"", int64(1 << 40), -1.5, false, aTime, nil}}, Tag: "SHOW"}, nil
	case *parse.KillJob:
		if len(args) > 0 {
			return one(*args[0]), nil
		}
		return one(tree.Job.ID), nil
	case *parse.FlushAll:
		notice(pgwire.Notice{Message: "blocking"})
		s.h.started <- struct{}{}
		<-ctx.Done()
		s.h.started <- struct{}{}
		return nil, ctx.Err()
	case *parse.FlushTable:
		if tree.Table.Schema == "panic" {
			panic("as asked")
		}
		sql := "SELECT current_user || $1"
		if tree.Where != nil {
			sql = "SELECT (" + tree.Where.Text + ")::text || left($1, 0)"
		}
		rows, err := up.Query(ctx, sql, " "+string(up.Block()))
		if err != nil {
			return nil, err
		}
		return one(*rows[0][0]), nil
	}
	return nil, &pgwire.Error{Code: "22023", Message: "cannot", Position: 3}
}

// proxy starts a proxy in front of the test server.
func proxy(t testing.TB, db *pgtest.DB, opt *pgwire.Options) (*handler, func(string) string, *pgwire.Server) {
	t.Helper()
	u, err := url.Parse(db.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{started: make(chan struct{}, 10)}
	srv, through := start(t, h, pgwire.Target{Network: "tcp", Address: u.Host}, opt)
	return h, through, srv
}

// serve starts a proxy and returns what turns a direct URL into one through it.
func serve(t testing.TB, h pgwire.Handler, target pgwire.Target, opt *pgwire.Options) func(string) string {
	t.Helper()
	_, through := start(t, h, target, opt)
	return through
}

// listen starts a server, which the caller closes. served tells how it ended.
func listen(t testing.TB, h pgwire.Handler, target pgwire.Target, opt *pgwire.Options) (srv *pgwire.Server, address string, served <-chan error) {
	t.Helper()
	srv, err := pgwire.New(h, target, opt)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() { end <- srv.Serve(ln) }()
	return srv, ln.Addr().String(), end
}

func start(t testing.TB, h pgwire.Handler, target pgwire.Target, opt *pgwire.Options) (*pgwire.Server, func(string) string) {
	t.Helper()
	srv, address, served := listen(t, h, target, opt)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Close(ctx)
		if err := <-served; !errors.Is(err, pgwire.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return srv, func(direct string) string {
		u, err := url.Parse(direct)
		if err != nil {
			t.Fatal(err)
		}
		u.Host = address
		return u.String()
	}
}

func psql(t *testing.T, url, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", append([]string{"-X", "-A", "-d", url}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("psql hangs:\n%s", out)
	}
	return string(out)
}

// script runs the same through the proxy and without it.
const script = `
\set VERBOSITY verbose
\set SHOW_CONTEXT never
CREATE TABLE app.t (id int PRIMARY KEY, note text);
\d app.t
COPY app.t FROM STDIN;
1	one
2	two
\.
COPY app.t TO STDOUT;
COPY app.t FROM STDIN;
x	bad
\.
SELECT * FROM app.t ORDER BY id;
SELECT nonsense;
SELECT 1 / 0;
SELEC 1;
BEGIN;
INSERT INTO app.t VALUES (3, 'ü');
SELECT broken;
SELECT 1;
COMMIT;
BEGIN \; SELECT 1 \; SELECT 2 \; COMMIT;
DO $$BEGIN RAISE NOTICE 'hello'; END$$;
PREPARE p AS SELECT $1::int + 1;
EXECUTE p(41);
DISCARD ALL;
EXECUTE p(41);
SELECT generate_series(1, 3) \gset x_
SET standard_conforming_strings = off;
SELECT 'a\'b';
LISTEN c;
NOTIFY c, 'payload';
SELECT repeat('x', 100000)::text = repeat('x', 100000);
SELECT length(string_agg(g::text, ',')) FROM generate_series(1, 100000) g;
SELECT g, repeat('y', 10000) FROM generate_series(1, 300) g;
DROP TABLE app.t;
\dt app.*
\q
`

func TestPsqlIsUnchanged(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	cut := func(s string) string { // the process id of a notification differs
		i := strings.Index(s, "from server process with PID")
		if i < 0 {
			return s
		}
		j := strings.Index(s[i:], "\n")
		return s[:i] + s[i+j:]
	}
	direct := cut(psql(t, db.OwnerURL, script))
	proxied := cut(psql(t, through(db.OwnerURL), script))
	if direct != proxied {
		t.Errorf("direct:\n%.4000s\nthrough the proxy:\n%.4000s", direct, proxied)
	}
	if !strings.Contains(direct, "hello") || !strings.Contains(direct, "payload") {
		t.Errorf("the script did not run: %.2000s", direct)
	}
}

func TestPsqlOwnStatements(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	got := psql(t, through(db.OwnerURL), `
FLUSH TABLE a.b;
SHOW JOBS;
flush tables a.b;
FLSH TABLE a.b;
BEGIN;
FLUSH TABLE a.b WHERE 1/0 = 1;
FLUSH TABLE a.b;
ROLLBACK;
BEGIN;
FLUSH TABLE a.b;
SHOW JOB 'x';
SELECT 1;
ROLLBACK;
KILL JOB 'é' \; SHOW JOB 'x' \; KILL JOB 'never';
KILL JOB 'a' \; KILL JOB 'b';
SELECT 1 \; KILL JOB 'b';
SELECT current_setting('test.filled') /* system.jobs */;
SELECT current_setting('test.filled', true) IS NULL OR current_setting('test.filled', true) = '';
KILL JOB $1;
`)
	want := strings.ReplaceAll(`answer
USER I
(1 row)
t|n|f|b|z|nothing
é|-7|0.25|t|2026-02-03 04:05:06.000789+00|
|1099511627776|-1.5|f|2026-02-03 04:05:06.000789+00|
(2 rows)
ERROR:  syntax error at or near "tables": expected TABLE or ALL
LINE 1: flush tables a.b;
              ^
HINT:  did you mean FLUSH TABLE schema.table?
ERROR:  syntax error at or near "FLSH"
LINE 1: FLSH TABLE a.b;
        ^
HINT:  did you mean FLUSH TABLE?
BEGIN
ERROR:  division by zero
ERROR:  current transaction is aborted, commands ignored until end of transaction block
ROLLBACK
BEGIN
answer
USER T
(1 row)
ERROR:  cannot
LINE 1: SHOW JOB 'x';
          ^
ERROR:  current transaction is aborted, commands ignored until end of transaction block
ROLLBACK
answer
é
(1 row)
ERROR:  cannot
LINE 1: KILL JOB 'é' ; SHOW JOB 'x' ; KILL JOB 'never';
                         ^
answer
a
(1 row)
answer
b
(1 row)
?column?
1
(1 row)
answer
b
(1 row)
current_setting
yes?
(1 row)
?column?
t
(1 row)
ERROR:  there is no parameter $1
HINT:  parameters need the extended protocol
`, "USER", db.Owner)
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func connect(t testing.TB, url string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

var modes = map[string]pgx.QueryExecMode{
	"statement": pgx.QueryExecModeCacheStatement, "describe": pgx.QueryExecModeCacheDescribe,
	"describe exec": pgx.QueryExecModeDescribeExec, "exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
}

func TestPgxModes(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			conn := connect(t, through(db.OwnerURL), mode)
			for range 3 {
				checkPgx(t, conn)
			}
		})
	}
}

func checkPgx(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	var (
		text    string
		n       int64
		f       float64
		b       bool
		z       time.Time
		nothing *int64
	)
	if err := conn.QueryRow(ctx, "SHOW JOBS").Scan(&text, &n, &f, &b, &z, &nothing); err != nil {
		t.Fatal(err)
	}
	if text != "é" || n != -7 || f != 0.25 || !b || !z.Equal(aTime) || nothing != nil {
		t.Errorf("got %q %d %v %v %v %v", text, n, f, b, z, nothing)
	}
	if err := conn.QueryRow(ctx, "KILL JOB $1", "it's").Scan(&text); conn.Config().DefaultQueryExecMode != pgx.QueryExecModeSimpleProtocol && (err != nil || text != "it's") {
		t.Errorf("parameter: %q %v", text, err)
	}
	if err := conn.QueryRow(ctx, "FLUSH TABLE a.b").Scan(&text); err != nil || !strings.HasSuffix(text, " I") {
		t.Errorf("FLUSH: %q %v", text, err)
	}
	var pe *pgconn.PgError
	if _, err := conn.Exec(ctx, "SHOW JOB 'x'"); !errors.As(err, &pe) || pe.Code != "22023" || pe.Position != 3 {
		t.Errorf("error: %v", err)
	}
	if _, err := conn.Exec(ctx, "FLUSH TABLE a.b WHERE 1/0 = 1"); !errors.As(err, &pe) || pe.Code != "22012" {
		t.Errorf("error of a question: %v", err)
	}
	if err := conn.QueryRow(ctx, "SELECT $1::int + 1", 41).Scan(&n); err != nil || n != 42 {
		t.Errorf("foreign: %d %v", n, err)
	}
	if err := conn.QueryRow(ctx, "SELECT current_setting('test.filled') || $1 /* system.jobs */", "!").Scan(&text); err != nil || text != "yes?!" {
		t.Errorf("filled: %q %v", text, err)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.QueryRow(ctx, "FLUSH TABLE a.b").Scan(&text); err != nil || !strings.HasSuffix(text, " T") {
		t.Errorf("FLUSH in a transaction: %q %v", text, err)
	}
	if _, err := tx.Exec(ctx, "SHOW JOB 'x'"); !errors.As(err, &pe) || pe.Code != "22023" {
		t.Errorf("error in a transaction: %v", err)
	}
	for _, sql := range []string{"FLUSH TABLE a.b", "SELECT 1"} {
		if _, err := tx.Exec(ctx, sql); !errors.As(err, &pe) || pe.Code != "25P02" {
			t.Errorf("%s in a failed transaction: %v", sql, err)
		}
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Errorf("rollback: %v", err)
	}
}

func TestPgxBatchesAndCopy(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int, note text)")
	_, through, _ := proxy(t, db, nil)
	conn := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	ctx := t.Context()

	rows := make([][]any, 20_000)
	for i := range rows {
		rows[i] = []any{i, strings.Repeat("x", i%100)}
	}
	if n, err := conn.CopyFrom(ctx, pgx.Identifier{"app", "t"}, []string{"id", "note"}, pgx.CopyFromRows(rows)); err != nil || n != 20_000 {
		t.Fatal(n, err)
	}
	count := func() (n int) {
		t.Helper()
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM app.t").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	// Ours in the middle of a pipeline joins its implicit transaction.
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO app.t VALUES (-1)")
	batch.Queue("FLUSH TABLE a.b")
	batch.Queue("INSERT INTO app.t VALUES (-2)")
	batch.Queue("SELECT current_setting('test.filled') /* system.jobs */")
	res := conn.SendBatch(ctx, batch)
	var text string
	if _, err := res.Exec(); err != nil {
		t.Fatal(err)
	}
	if err := res.QueryRow().Scan(&text); err != nil || !strings.HasSuffix(text, " P") {
		t.Fatal(text, err)
	}
	if _, err := res.Exec(); err != nil {
		t.Fatal(err)
	}
	if err := res.QueryRow().Scan(&text); err != nil || text != "yes?" {
		t.Fatal(text, err)
	}
	if err := res.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 20_002 {
		t.Errorf("%d rows", n)
	}

	// An error of ours undoes the pipeline, and so does an error of a question of ours, and one of PostgreSQL's.
	for _, bad := range []string{"SHOW JOB 'x'", "FLUSH TABLES", "FLUSH TABLE a.b WHERE 1/0 = 1", "SELECT 1/0"} {
		batch := &pgx.Batch{}
		batch.Queue("INSERT INTO app.t VALUES (-3)")
		batch.Queue(bad)
		batch.Queue("KILL JOB 'x'")
		batch.Queue("INSERT INTO app.t VALUES (-4)")
		if err := conn.SendBatch(ctx, batch).Close(); err == nil {
			t.Errorf("%s: no error", bad)
		}
		if n := count(); n != 20_002 {
			t.Errorf("%s: %d rows", bad, n)
		}
	}
}
