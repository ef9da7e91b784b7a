package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg"
)

// Schema is the schema of the application's tables, owned by the owner role.
const Schema = "app"

// DB is a database of one test.
type DB struct {
	Server *embedpg.Server
	Name   string

	Owner  string // role: owns the schema app, may do nothing else
	Worker string // role: may create schemas in this database, nothing else; the role of the product

	SuperURL  string
	OwnerURL  string
	WorkerURL string
}

// Database makes a fresh database on the shared server, dropped when the test ends. The test fails if a connection whose
// application_name begins with "spillway" is then still inside a transaction.
func Database(t testing.TB) *DB {
	t.Helper()
	return DatabaseOn(t, Server(t))
}

// DatabaseOn is Database on a given server. If the server is stopped at the end, nothing is checked or dropped.
func DatabaseOn(t testing.TB, srv *embedpg.Server) *DB {
	t.Helper()
	id, password := token(), rand.Text()
	db := &DB{Server: srv, Name: "test_" + id, Owner: "app_owner_" + id, Worker: "spillway_" + id}
	db.SuperURL = srv.SuperURL(db.Name)
	db.OwnerURL = srv.URL(db.Owner, password, db.Name)
	db.WorkerURL = srv.URL(db.Worker, password, db.Name)

	admin(t, srv, "postgres",
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", db.Owner, password),
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", db.Worker, password),
		fmt.Sprintf("CREATE DATABASE %s TEMPLATE template0", db.Name),
		fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", db.Name, db.Worker))
	t.Cleanup(func() { db.drop(t) })
	admin(t, srv, db.Name,
		"REVOKE CREATE ON SCHEMA public FROM PUBLIC", // as version 15 has it
		fmt.Sprintf("CREATE SCHEMA %s AUTHORIZATION %s", Schema, db.Owner))
	return db
}

// Super runs statements as the superuser.
func (db *DB) Super(t testing.TB, statements ...string) {
	t.Helper()
	run(t, db.SuperURL, statements)
}

// Exec runs statements as the owner of the application's tables.
func (db *DB) Exec(t testing.TB, statements ...string) {
	t.Helper()
	run(t, db.OwnerURL, statements)
}

// Connect opens a connection that is closed when the test ends. url is one of the DB's.
func (db *DB) Connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn.Close(ctx) // the server may be gone by now, which is the test's own doing
	})
	return conn
}

// Value returns the single value of a query run as the superuser.
func Value[T any](t testing.TB, db *DB, query string, args ...any) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var v T
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// DropOwned drops what roles own in a database and takes their rights away, those on settings too, which outlive the database.
func DropOwned(roles ...string) string { return alone("DROP OWNED BY " + strings.Join(roles, ", ")) }

// GrantSet lets a role change a setting that is a superuser's; PostgreSQL 15 and later.
func GrantSet(setting, role string) string {
	return alone("GRANT SET ON PARAMETER " + setting + " TO " + role)
}

// alone runs a statement that changes rights on settings. PostgreSQL fails where two sessions do so for one setting, whatever their databases,
// so each waits for the other; before version 15 there are no such rights.
func alone(statement string) string {
	return "DO $alone$ BEGIN IF pg_catalog.to_regclass('pg_catalog.pg_parameter_acl') IS NOT NULL THEN " +
		"LOCK TABLE pg_catalog.pg_parameter_acl IN SHARE ROW EXCLUSIVE MODE; END IF; EXECUTE '" + strings.ReplaceAll(statement, "'", "''") + "'; END $alone$"
}

func (db *DB) drop(t testing.TB) {
	t.Helper()
	if !db.Server.Running() {
		return
	}
	db.checkIdle(t)
	admin(t, db.Server, "postgres",
		fmt.Sprintf("DROP DATABASE IF EXISTS %s WITH (FORCE)", db.Name),
		DropOwned(db.Worker),
		fmt.Sprintf("DROP ROLE IF EXISTS %s, %s", db.Owner, db.Worker))
}

// checkIdle gives connections that were just closed a moment to disappear, then reports those inside a transaction.
func (db *DB) checkIdle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, db.Server.SuperURL("postgres"))
	if err != nil {
		t.Errorf("look for open transactions: %v", err)
		return
	}
	defer conn.Close(ctx)
	stuck, err := settled(ctx, conn, db.Name)
	if err != nil {
		t.Errorf("look for open transactions: %v", err)
	}
	for _, s := range stuck {
		t.Errorf("left inside a transaction: %s", s)
	}
}

func settled(ctx context.Context, conn *pgx.Conn, database string) ([]string, error) {
	const query = `SELECT application_name || ' (pid ' || pid || ', ' || state || '): ' || left(query, 200)
		FROM pg_stat_activity
		WHERE datname = $1 AND application_name LIKE 'spillway%' AND state LIKE 'idle in transaction%'`
	deadline := time.Now().Add(3 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := conn.Query(ctx, query, database)
		if err != nil {
			return nil, err
		}
		stuck, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(stuck) == 0 || time.Now().After(deadline) {
			return stuck, err
		}
		<-tick.C
	}
}

func admin(t testing.TB, srv *embedpg.Server, database string, statements ...string) {
	t.Helper()
	run(t, srv.SuperURL(database), statements)
}

func run(t testing.TB, url string, statements []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func token() string {
	var b [5]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(b[:])
}
