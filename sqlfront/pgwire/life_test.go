package pgwire_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
	"github.com/spillwaydb/spillway/tests/await"
)

func TestCancel(t *testing.T) { // Ctrl-C
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	conn := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	var pe *pgconn.PgError

	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "FLUSH ALL")
		done <- err
	}()
	<-h.started
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
		t.Errorf("ours: %v", err)
	}

	go func() {
		_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60) /* to be cancelled */")
		done <- err
	}()
	awaitTrue(t, db, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60) /* to be%' AND state = 'active' AND pid <> pg_backend_pid()")
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
		t.Errorf("foreign: %v", err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// awaitTrue polls until a query says true.
func awaitTrue(t *testing.T, db *pgtest.DB, query string) {
	t.Helper()
	conn := db.Connect(t, db.SuperURL)
	await.Until(t, query, func() (ok bool) {
		if err := conn.QueryRow(t.Context(), query).Scan(&ok); err != nil {
			t.Fatal(err)
		}
		return ok
	})
}

func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	conn := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn.Exec(context.Background(), "FLUSH ALL") // fails when its connection is cut below
	}()
	<-h.started
	conn.PgConn().Conn().Close()
	<-done
	select {
	case <-h.started:
	case <-time.After(10 * time.Second):
		t.Fatal("the statement goes on without a client")
	}
}

// TestClientGoesAwayBehindAPipeline is noticed too: what it has sent on does not hide that it has left.
func TestClientGoesAwayBehindAPipeline(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	f, nc := hijack(t, through(db.OwnerURL))
	f.Send(&pgproto3.Query{String: "FLUSH ALL"})
	f.Send(&pgproto3.Query{String: "SELECT 1"})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	<-h.started
	nc.Close()
	select {
	case <-h.started:
	case <-time.After(10 * time.Second):
		t.Fatal("the statement goes on without a client")
	}
}

func TestPanicClosesOneSession(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	victim := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	other := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	if _, err := victim.Exec(t.Context(), "FLUSH TABLE panic.x"); err == nil {
		t.Error("no error")
	}
	if _, err := other.Exec(t.Context(), "FLUSH TABLE a.b"); err != nil {
		t.Error(err)
	}
}

func TestDrain(t *testing.T) { // A38 for the front-end
	t.Parallel()
	db := pgtest.Database(t)
	_, through, srv := proxy(t, db, nil)
	idle := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	busy := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	if _, err := busy.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { closed <- srv.Close(ctx) }()
	awaitTrue(t, db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = '"+db.Owner+"'")
	var pe *pgconn.PgError
	if _, err := idle.Exec(t.Context(), "SELECT 1"); err == nil || errors.As(err, &pe) && pe.Code != "57P01" {
		t.Errorf("idle: %v", err)
	}
	if _, err := busy.Exec(t.Context(), "COMMIT"); err != nil {
		t.Errorf("busy: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := busy.Exec(t.Context(), "SELECT 1"); !errors.As(err, &pe) || pe.Code != "57P01" {
		t.Errorf("afterwards: %v", err)
	}
}

// TestEndOfTheGrace ends sessions that are busy when the time is up. What PostgreSQL is at for them does not end well.
func TestEndOfTheGrace(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int)")
	h, through, srv := proxy(t, db, nil)
	ours, theirs := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec), connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	inTx := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	if _, err := inTx.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 3)
	for conn, sql := range map[*pgx.Conn]string{ours: "FLUSH ALL", theirs: "INSERT INTO app.t SELECT 1 FROM pg_sleep(60)"} {
		go func() {
			_, err := conn.Exec(context.Background(), sql)
			done <- err
		}()
	}
	<-h.started
	awaitTrue(t, db, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'INSERT%' AND state = 'active' AND usename = '"+db.Owner+"'")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := srv.Close(ctx); err == nil {
		t.Error("nothing had to be ended")
	}
	_, err := inTx.Exec(context.Background(), "SELECT 1")
	for _, err := range []error{<-done, <-done, err} {
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Code != "57P01" {
			t.Errorf("%v", err)
		}
	}
	awaitTrue(t, db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '"+db.Owner+"'")
	if n := pgtest.Value[int](t, db, "SELECT count(*) FROM app.t"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestTooManyClients(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, &pgwire.Options{MaxConns: 2})
	for range 2 {
		connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	}
	_, err := pgx.Connect(t.Context(), through(db.OwnerURL))
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "53300" {
		t.Errorf("got %v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	u, _ := url.Parse(through(db.OwnerURL))
	u.User = url.UserPassword(db.Owner, "wrong")
	_, err := pgx.Connect(t.Context(), u.String())
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "28P01" {
		t.Errorf("got %v", err)
	}
}

// TestNewestProtocol asks for version 3.2, whose cancel keys are longer. A PostgreSQL that does not know it says so.
func TestNewestProtocol(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	conn := connect(t, with(t, through(db.OwnerURL), "max_protocol_version", "latest"), pgx.QueryExecModeExec)
	checkPgx(t, conn)
	for _, sql := range []string{"FLUSH ALL", "SELECT pg_sleep(60) /* of the newest */"} {
		done := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), sql)
			done <- err
		}()
		if sql == "FLUSH ALL" {
			<-h.started
		} else {
			awaitTrue(t, db, "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%of the newest%' AND state = 'active' AND pid <> pg_backend_pid()")
		}
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		var pe *pgconn.PgError
		if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	t.Logf("%d bytes of cancel key", len(conn.PgConn().SecretKey()))
}
