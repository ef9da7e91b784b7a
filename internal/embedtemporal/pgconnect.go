package embedtemporal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// storeConfig reads the URL. What pgx says of one that cannot be read is not passed on: a password in it could not be found
// and masked.
func storeConfig(url string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, &StoreError{Path: "in PostgreSQL", Msg: "its URL cannot be read",
			Hint: "expected postgres://user@host:5432/database; characters such as @ : / # % in a password must be percent-encoded"}
	}
	for name, value := range map[string]string{
		"application_name": "spillway:temporal",
		// What Temporal and the lock rely on, whatever the role's defaults are.
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
		"idle_session_timeout":                "0",
		"idle_in_transaction_session_timeout": "60000",
		"statement_timeout":                   "0",
		"search_path":                         "",
	} {
		cfg.RuntimeParams[name] = value
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectWithin
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}
	cfg.DialFunc = dialer.DialContext
	return cfg, nil
}

func storeWhere(opt *PostgresOptions, cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("in schema %s of database %s at %s", opt.Schema, cfg.Database, storeAddress(cfg))
}

// storeAddress is host:port, or all of them.
func storeAddress(cfg *pgx.ConnConfig) string {
	all := []string{net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))}
	for _, f := range cfg.Fallbacks {
		if a := net.JoinHostPort(f.Host, fmt.Sprint(f.Port)); a != all[len(all)-1] {
			all = append(all, a)
		}
	}
	return strings.Join(all, ", ")
}

// connect opens a connection for ourselves, and refuses a server that cannot hold a store. idle is how long the server may
// hear nothing before it ends the session, in milliseconds; "" means for ever.
func (p *Postgres) connect(ctx context.Context, idle string) (*pgx.Conn, error) {
	cfg := p.cfg.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if idle != "" {
		cfg.RuntimeParams["idle_session_timeout"] = idle
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, &StoreError{Path: p.where, Msg: "connect", Err: err, Hint: storeHint(err)}
	}
	if err := p.greet(ctx, conn); err != nil {
		closeSoon(conn)
		return nil, err
	}
	return conn, nil
}

func (p *Postgres) greet(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var text string
	var standby bool
	var pid uint32
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.current_setting('server_version_num')::int, pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(),
		       pg_catalog.pg_backend_pid()::text::bigint`).Scan(&version, &text, &standby, &pid)
	switch {
	case err != nil:
		return p.failed("connect", err)
	case version < minVersion:
		return &StoreError{Path: p.where, Msg: "PostgreSQL " + text + " is too old", Hint: "PostgreSQL 14 or newer is needed"}
	case standby:
		return &StoreError{Path: p.where, Msg: "the server is a standby, which is read-only",
			Hint: "name the primary server, for example with target_session_attrs=read-write in the URL"}
	case pid != conn.PgConn().PID():
		return &StoreError{Path: p.where, Msg: "a connection pooler stands before it", Hint: hintPooler}
	}
	return nil
}

const hintPooler = "connect to PostgreSQL itself: the store is held by a session, which a pooler would share out"

// storeHint says what to do about an error of PostgreSQL.
func storeHint(err error) string {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return "check that PostgreSQL runs and that host and port in --temporal-store are right"
	}
	switch {
	case strings.HasPrefix(pe.Code, "28"):
		return "check user and password in --temporal-store, in PGPASSWORD or in the password file, and pg_hba.conf on the server"
	case pe.Code == "3D000":
		return "create the database, or name another in --temporal-store"
	case pe.Code == "08P01":
		return hintPooler
	case pe.Code == "42501":
		return "use the role that made the store: its tables and its sessions are that role's"
	case strings.HasPrefix(pe.Code, "53"):
		return "the server has no connection left: raise max_connections, or close others"
	}
	return ""
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // a connection that is broken already is closed too
}
