package hot

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Time limits that a session sets for itself, so that a role's defaults cannot end it in mid-chunk: it is idle in its
// transaction while the object is made durable. A dead client is found by tcp_user_timeout and keepalives, and a frozen one
// is ended by its successor.
const (
	maxStatementTime = time.Hour
	maxIdleInTx      = 30 * time.Minute
)

// SessionOptions tune a Session; nil means defaults.
type SessionOptions struct {
	// LockTimeout bounds each wait for a lock. It is lowered to half of deadlock_timeout, so that this session gives up
	// before somebody who came to wait for it later looks for a deadlock and is ended. Default 200 ms.
	LockTimeout time.Duration
}

// Session is one backend of our own, with every setting pinned that could change what a row looks like or which rows are
// seen. It is not safe for use by several goroutines, but for Terminate.
type Session struct {
	db    *DB
	conn  *pgx.Conn
	tap   *copyTap
	pid   uint32
	start time.Time
	used  int // how often it was released; guarded by the spares' lock

	closeOnce sync.Once
}

// pinned are the settings under which rows are read, as parameters of the start-up message. The output forms of PostgreSQL
// depend on them, and a search_path that is not empty would let users' functions and operators stand before PostgreSQL's.
var pinned = map[string]string{
	"client_encoding":                     "UTF8",
	"datestyle":                           "ISO, MDY",
	"intervalstyle":                       "postgres",
	"extra_float_digits":                  "1",
	"timezone":                            "UTC",
	"bytea_output":                        "hex",
	"lc_monetary":                         "C",
	"xmloption":                           "content",
	"search_path":                         "",
	"row_security":                        "off",
	"standard_conforming_strings":         "on",
	"default_transaction_read_only":       "off",
	"default_transaction_isolation":       "read committed",
	"array_nulls":                         "on", // or NULL in an array comes back as a text
	"quote_all_identifiers":               "off",
	"client_min_messages":                 "warning",
	"jit":                                 "off",
	"idle_session_timeout":                "0",
	"statement_timeout":                   strconv.FormatInt(maxStatementTime.Milliseconds(), 10),
	"idle_in_transaction_session_timeout": strconv.FormatInt(maxIdleInTx.Milliseconds(), 10),
	"tcp_user_timeout":                    "20000",
	"tcp_keepalives_idle":                 "10",
	"tcp_keepalives_interval":             "5",
	"tcp_keepalives_count":                "3",
}

// Session opens a backend, or takes one that was released a moment ago: its caches know the table already. name becomes its
// application_name, so that a DBA sees in pg_stat_activity which job and chunk it serves; it is cut to 63 bytes by PostgreSQL.
func (db *DB) Session(ctx context.Context, name string, opt *SessionOptions) (*Session, error) {
	if opt == nil {
		opt = &SessionOptions{}
	}
	for s := db.spare.take(); s != nil; s = db.spare.take() {
		if err := s.prepare(ctx, name, opt); err == nil {
			return s, nil
		}
		s.Close() // it died while nobody looked
	}
	return db.connect(ctx, name, opt)
}

func (db *DB) connect(ctx context.Context, name string, opt *SessionOptions) (*Session, error) {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // one round trip, nothing prepared
	s := &Session{db: db}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		s.tap = newCopyTap(r) // a second attempt to connect, for example to the next host, has a reader of its own
		return pgproto3.NewFrontend(s.tap, w)
	}
	for k, v := range pinned {
		cfg.RuntimeParams[k] = v
	}
	cfg.RuntimeParams["application_name"] = name // from its first moment on
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err)
	}
	s.conn, s.pid = conn, conn.PgConn().PID()
	if err := s.prepare(ctx, name, opt); err != nil {
		s.Close()
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// prepare sets what needs the server's own values or differs from chunk to chunk, and reads when this backend started: pid and
// start together name a backend for ever.
func (s *Session) prepare(ctx context.Context, name string, opt *SessionOptions) error {
	lock := opt.LockTimeout
	if lock <= 0 {
		lock = 200 * time.Millisecond
	}
	yield := "NULL::text"
	if s.db.version >= parameterRights {
		yield = yieldInDeadlocks
	}
	// reset_val: what all others have, whatever this session has set for itself.
	return s.conn.QueryRow(ctx, `
		SELECT backend_start, pg_catalog.set_config('application_name', $2, false),
		       pg_catalog.set_config('lock_timeout', least($1::bigint, greatest(1, (SELECT reset_val::bigint / 2 FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout')))::text, false),
		       `+yield+`
		FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()`, lock.Milliseconds(), name).Scan(&s.start, nil, nil, nil)
}

// parameterRights is the version, as server_version_num, in which settings of superusers became grantable.
const parameterRights = 150000

// yieldInDeadlocks lets this session look for a deadlock almost as soon as it waits, where it may. Whoever looks first is the one that
// PostgreSQL ends: somebody who has waited for us for nearly deadlock_timeout would be it, if we came to wait for him just then.
const yieldInDeadlocks = `CASE WHEN pg_catalog.has_parameter_privilege('deadlock_timeout', 'SET') THEN pg_catalog.set_config('deadlock_timeout', '10ms', false) END`

// PID and Start name the backend.
func (s *Session) PID() int { return int(s.pid) }

// Start is when the backend started, by the server's clock.
func (s *Session) Start() time.Time { return s.start }

// Exec runs one statement.
func (s *Session) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return s.conn.Exec(ctx, sql, args...)
}

// Query runs one statement that returns rows.
func (s *Session) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.conn.Query(ctx, sql, args...)
}

// QueryRow runs one statement that returns a row.
func (s *Session) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.conn.QueryRow(ctx, sql, args...)
}

// Closed reports whether the connection is gone, by our doing or not.
func (s *Session) Closed() bool { return s.conn.IsClosed() }

// Terminate ends the backend from outside, by way of another connection, and may be called while the session is in use.
// Rows that it holds are free when Terminate returns nil.
func (s *Session) Terminate(ctx context.Context) error {
	return s.db.terminate(ctx, s.pid, s.start)
}

// terminate ends a backend and waits until it is gone. The start time guards against a process id that was used again.
func (db *DB) terminate(ctx context.Context, pid uint32, start time.Time) error {
	const end = `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2`
	const there = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2`
	if _, err := db.pool.Exec(ctx, end, int32(pid), start); err != nil {
		return fmt.Errorf("end backend %d: %w", pid, err)
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		var n int
		if err := db.pool.QueryRow(ctx, there, int32(pid), start).Scan(&n); err != nil {
			return fmt.Errorf("end backend %d: %w", pid, err)
		}
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("end backend %d: %w", pid, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// Release ends the use of a session whose transaction has committed, and keeps its backend for a moment: chunks follow each
// other at once, and a backend costs as much as a small chunk. A session in any other state is closed.
func (s *Session) Release() {
	if s.conn.IsClosed() || s.conn.PgConn().TxStatus() != 'I' {
		s.Close()
		return
	}
	s.db.spare.put(s)
}

// Close ends the session, whatever state it is in. PostgreSQL rolls an open transaction back.
func (s *Session) Close() {
	s.closeOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.conn.Close(ctx)
	})
}
