package hot

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// MinVersion is the oldest PostgreSQL that is supported, as server_version_num.
const MinVersion = 140000

// Defaults of Options.
const (
	DefaultMaxConns = 10
	connectTimeout  = 10 * time.Second
	poolLockTimeout = 10 * time.Second
	userTimeout     = 20 * time.Second // until unanswered data counts as a dead peer
)

// Querier runs statements: the pool, a transaction, or a Session.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Options of Open; nil means the defaults.
type Options struct {
	MaxConns int32    // of the pool; default DefaultMaxConns. Sessions are beside it.
	Reserved []string // schemas that are never flushed; default spillway and system
}

// DB is the user's database. It is safe for use by several goroutines.
type DB struct {
	pool     *pgxpool.Pool
	reserved []string
	spare    spares

	version  int // server_version_num
	text     string
	encoding string
}

// Open connects, and refuses a server that cannot work: too old, or a standby. Every connection has the settings that a
// Session has, so that a predicate means the same when rows are counted and when they are moved. Error: *ConnectError.
func Open(ctx context.Context, url string, opt *Options) (*DB, error) {
	if opt == nil {
		opt = &Options{}
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, urlError()
	}
	configure(cfg, opt)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err)
	}
	db := &DB{pool: pool, reserved: opt.Reserved}
	if db.reserved == nil {
		db.reserved = []string{"spillway", "system"}
	}
	if err := db.greet(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// configure pins what must not depend on the URL, the environment or the role's defaults.
func configure(cfg *pgxpool.Config, opt *Options) {
	c := cfg.ConnConfig
	maps.Copy(c.RuntimeParams, pinned)
	c.RuntimeParams["application_name"] = "spillway"
	c.RuntimeParams["lock_timeout"] = strconv.FormatInt(poolLockTimeout.Milliseconds(), 10)
	// Nothing stays prepared on the server, where a pooler or a changed table could make it stale.
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	c.DialFunc = dialer().DialContext
	c.AfterConnect = unlimited
	cfg.MaxConns = DefaultMaxConns
	if opt.MaxConns > 0 {
		cfg.MaxConns = opt.MaxConns
	}
	cfg.MinConns = 1 // by it `spillway uninstall` sees that this process uses the ledger
	cfg.MaxConnIdleTime = 5 * time.Minute
}

// unlimited pins what an older server does not know, which the start-up message may not name to it. A limit on transactions, which a
// database or a role may have, would end a chunk that is longer, each time anew.
func unlimited(ctx context.Context, conn *pgconn.PgConn) error {
	if major, _, _ := strings.Cut(conn.ParameterStatus("server_version"), "."); len(major) < 2 || major < "17" {
		return nil
	}
	return conn.Exec(ctx, "SET transaction_timeout = 0").Close()
}

// dialer notices a peer that is gone: a client that waits for an answer sends nothing, so only keepalives find out.
func dialer() *net.Dialer {
	return &net.Dialer{
		Control:         setUserTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
}

// greet learns whom we talk to.
func (db *DB) greet(ctx context.Context) error {
	var standby bool
	err := db.pool.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'),
		       pg_catalog.current_setting('server_encoding'), pg_catalog.pg_is_in_recovery()`).Scan(&db.version, &db.text, &db.encoding, &standby)
	switch {
	case err != nil:
		return connectError(err)
	case db.version < MinVersion:
		return &ConnectError{Class: ConnectVersion, Msg: fmt.Sprintf("PostgreSQL %s is too old", db.text), Hint: "Spillway needs PostgreSQL 14 or newer."}
	case standby:
		return &ConnectError{Class: ConnectDatabase, Msg: "the server is a standby, which is read-only", Hint: "Connect to the primary server, for example with target_session_attrs=read-write in the database URL."}
	}
	return nil
}

// Pool is the pool, for the ledger and for short statements.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// ServerVersion is PostgreSQL's version as it prints it.
func (db *DB) ServerVersion() string { return db.text }

// ServerVersionNum is PostgreSQL's version as a number, 150004 for 15.4.
func (db *DB) ServerVersionNum() int { return db.version }

// Encoding is the encoding of the database. Text arrives as UTF-8 in any case, but for SQL_ASCII, which is not checked.
func (db *DB) Encoding() string { return db.encoding }

// Close closes the pool and released sessions. Others are closed by those who opened them.
func (db *DB) Close() {
	db.spare.close()
	db.pool.Close()
}

// isReserved reports whether tables of the schema are never flushed.
func (db *DB) isReserved(schema string) bool {
	return slices.Contains(db.reserved, schema) || schema == "information_schema" || strings.HasPrefix(schema, "pg_")
}
