package pgwire_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// startup is the first packet of a client.
func startup(user, database string) []byte {
	b, _ := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": database}}).Encode(nil)
	return b
}

// TestSlowLogins opens connections that do not log in. Others get in all the same.
func TestSlowLogins(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, &pgwire.Options{MaxStarting: 4, StartTimeout: 6 * time.Second})
	u, _ := url.Parse(through(db.OwnerURL))
	var slow []net.Conn
	for i := range 4 {
		nc, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		if i%2 == 0 { // half of them say who they are, and then nothing
			nc.Write(startup(db.Owner, db.Name))
		}
		slow = append(slow, nc)
	}
	var wg sync.WaitGroup
	for range 20 { // more than may log in at once
		wg.Go(func() {
			conn, err := pgconn.Connect(t.Context(), u.String())
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close(context.Background())
		})
	}
	wg.Wait()
	for i, nc := range slow {
		if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("slow connection %d stays open", i)
		}
	}
}

// TestLoginEnds holds a login to its time, even if the client has said who it is.
func TestLoginEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, &pgwire.Options{StartTimeout: 2 * time.Second})
	u, _ := url.Parse(through(db.OwnerURL))
	nc, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	nc.Write(startup(db.Owner, db.Name))
	if got, err := io.ReadAll(nc); err != nil || !strings.Contains(string(got), "the login took too long") {
		t.Errorf("%q %v", got, err)
	}
	conn := connect(t, u.String(), pgx.QueryExecModeExec) // whoever is in may take his time
	awaitTrue(t, db, "SELECT now() - backend_start > interval '3 s' FROM pg_stat_activity WHERE usename = '"+db.Owner+"'")
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// TestClaimedLengths claims messages of a megabyte and sends nothing of them: no memory is set aside.
func TestClaimedLengths(t *testing.T) { // not parallel: it weighs the heap
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	const clients = 40
	var before, after runtime.MemStats
	var conns []net.Conn
	for range clients {
		f, nc := hijack(t, through(db.OwnerURL))
		talk(t, f, "ready", &pgproto3.Query{String: "SHOW JOBS"})
		conns = append(conns, nc)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, nc := range conns {
		if _, err := nc.Write(append(binary.BigEndian.AppendUint32([]byte{'Q'}, 1_000_000), strings.Repeat("x", 40_000)...)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec).Exec(t.Context(), "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / clients; each > 200_000 {
		t.Errorf("%d bytes for each claim", each)
	}
}

// TestCertificateRules tells a client whose rule in pg_hba.conf wants a certificate why it cannot be.
func TestCertificateRules(t *testing.T) {
	t.Parallel()
	address := fakePostgres(t, func(nc net.Conn) {
		nc.Write(encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "connection requires a valid client certificate"}))
	})
	through := serve(t, &handler{}, pgwire.Target{Network: "tcp", Address: address}, nil)
	_, err := pgconn.Connect(t.Context(), through("postgres://x@x/x?sslmode=disable"))
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "28000" || !strings.Contains(pe.Hint, "certificates end at the proxy") {
		t.Errorf("%v %+v", err, pe)
	}
}

// FuzzStartup feeds the first bytes of a connection: no panic, no hang.
func FuzzStartup(f *testing.F) {
	f.Add(startup("u", "d"))
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47, 22, 3, 1})
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 48, 0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	f.Add([]byte("\x00\x00\x00\x13\x00\x03\x00\x02user\x00x\x00\x00p\x00\x00\x00\x05\x00X\x00\x00\x00\x04"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	greetings := [][]byte{
		encode(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'}),
		encode(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}),
		{'R', 0, 0, 0, 4, 'R', 0, 0, 0, 8, 0, 0, 0, 10, 'K', 0, 0, 0, 5, 1, 'v', 0, 0, 0, 4, 'Z', 0, 0, 0, 5, 'I'},
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		for _, greeting := range greetings {
			address := fakePostgres(t, func(nc net.Conn) {
				nc.Write(greeting)
				io.Copy(io.Discard, nc)
			})
			srv, listening, _ := listen(t, &handler{started: make(chan struct{}, 100)}, pgwire.Target{Network: "tcp", Address: address}, &pgwire.Options{StartTimeout: 5 * time.Second})
			nc, err := net.Dial("tcp", listening)
			if err != nil {
				t.Fatal(err)
			}
			nc.SetDeadline(time.Now().Add(4 * time.Second))
			nc.Write(input)
			nc.(*net.TCPConn).CloseWrite()
			if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("it hangs after %q", greeting)
			}
			nc.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := srv.Close(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
	})
}
