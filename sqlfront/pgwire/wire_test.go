package pgwire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// hijack logs in and returns the bare connection.
func hijack(t testing.TB, url string) (*pgproto3.Frontend, net.Conn) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	h, err := conn.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	h.Conn.SetDeadline(time.Now().Add(20 * time.Second))
	return h.Frontend, h.Conn
}

// talk sends messages and writes down the answers up to and with the last one wanted.
func talk(t testing.TB, f *pgproto3.Frontend, until string, msgs ...pgproto3.FrontendMessage) string {
	t.Helper()
	return strings.Join(exchange(t, f, until, brief, msgs), ", ")
}

// exchange sends messages and writes down, in the words of say, the answers up to and with the first that begins with until.
func exchange(t testing.TB, f *pgproto3.Frontend, until string, say func(pgproto3.BackendMessage) string, msgs []pgproto3.FrontendMessage) []string {
	t.Helper()
	for _, m := range msgs {
		f.Send(m)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	var out []string
	for {
		m, err := f.Receive()
		if err != nil {
			t.Fatalf("after %v: %v", out, err)
		}
		s := say(m)
		if out = append(out, s); strings.HasPrefix(s, until) {
			return out
		}
	}
}

// brief names a message in a few words.
func brief(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.DataRow:
		return fmt.Sprintf("row %q", m.Values)
	case *pgproto3.CommandComplete:
		return string(m.CommandTag)
	case *pgproto3.ErrorResponse:
		return "error " + m.Code
	case *pgproto3.ReadyForQuery:
		return "ready " + string(m.TxStatus)
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
	}
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int)")
	_, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, stmt string, params ...[]byte) *pgproto3.Bind {
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: stmt, Parameters: params}
	}
	execute, sync, flush := &pgproto3.Execute{}, &pgproto3.Sync{}, &pgproto3.Flush{}
	for _, c := range []struct {
		name, until, want string
		msgs              []pgproto3.FrontendMessage
	}{
		{"portions", "ready", "ParseComplete, BindComplete, row [\"é\" \"-7\" \"0.25\" \"t\" \"2026-02-03 04:05:06.000789+00\" \"\"], PortalSuspended, row [\"\" \"1099511627776\" \"-1.5\" \"f\" \"2026-02-03 04:05:06.000789+00\" \"\"], SHOW, ready I",
			[]pgproto3.FrontendMessage{parse("", "SHOW JOBS"), bind("", ""), &pgproto3.Execute{MaxRows: 1}, &pgproto3.Execute{MaxRows: 1}, sync}},
		{"Flush, not Sync", "KILL JOB", "ParseComplete, BindComplete, RowDescription, row [\"x\"], KILL JOB",
			[]pgproto3.FrontendMessage{parse("k", "KILL JOB $1"), bind("p", "k", []byte("x")), &pgproto3.Describe{ObjectType: 'P', Name: "p"}, &pgproto3.Execute{Portal: "p"}, flush}},
		{"again by name", "ready", "CloseComplete, ParameterDescription, RowDescription, BindComplete, row [\"y\"], KILL JOB, CloseComplete, CloseComplete, ready I",
			[]pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Describe{ObjectType: 'S', Name: "k"}, bind("p", "k", []byte("y")), &pgproto3.Execute{Portal: "p"},
				&pgproto3.Close{ObjectType: 'P', Name: "p"}, &pgproto3.Close{ObjectType: 'S', Name: "k"}, sync}},
		{"gone once closed", "ready", "error 26000, ready I", []pgproto3.FrontendMessage{bind("", "k", []byte("z")), execute, sync}},
		{"ours between theirs", "ready", "ParseComplete, BindComplete, row [\"1\"], SELECT 1, ParseComplete, BindComplete, row [\"a\"], KILL JOB, ParseComplete, BindComplete, row [\"2\"], SELECT 1, ready I",
			[]pgproto3.FrontendMessage{parse("", "SELECT 1"), bind("", ""), execute, parse("", "KILL JOB 'a'"), bind("", ""), execute, parse("", "SELECT 2"), bind("", ""), execute, sync}},
		{"error before ours", "ready", "ParseComplete, error 22012, ready I",
			[]pgproto3.FrontendMessage{parse("", "SELECT 1/0"), bind("", ""), execute, parse("", "KILL JOB 'a'"), bind("", ""), execute, sync}},
		{"error of ours", "ready", "ParseComplete, BindComplete, INSERT 0 1, error 42601, ready I",
			[]pgproto3.FrontendMessage{parse("", "INSERT INTO app.t VALUES (1)"), bind("", ""), execute, parse("", "KILL 1"), bind("", ""), execute, &pgproto3.Query{String: "SELECT 1"}, sync}},
		{"which undid the pipeline", "ready", "RowDescription, row [\"0\"], SELECT 1, ready I", []pgproto3.FrontendMessage{&pgproto3.Query{String: "SELECT count(*) FROM app.t"}}},
		{"BEGIN in the same pipeline", "ready", "ParseComplete, BindComplete, BEGIN, ParseComplete, BindComplete, row [\"" + db.Owner + " T\"], FLUSH, ready T",
			[]pgproto3.FrontendMessage{parse("", "BEGIN"), bind("", ""), execute, parse("", "FLUSH TABLE a.b"), bind("", ""), execute, sync}},
		{"error inside it", "ready", "error 22023, ready E", []pgproto3.FrontendMessage{&pgproto3.Query{String: "SHOW JOB 'x'"}}},
		{"failed", "ready", "error 25P02, ready E", []pgproto3.FrontendMessage{parse("", "KILL JOB 'a'"), sync}},
		{"failed, simple", "ready", "error 25P02, ready E", []pgproto3.FrontendMessage{&pgproto3.Query{String: "KILL JOB 'a'"}}},
		{"out of it", "ready", "ROLLBACK, ready I", []pgproto3.FrontendMessage{&pgproto3.Query{String: "ROLLBACK"}}},
		{"COPY with an early Sync", "ready", "ParseComplete, BindComplete, CopyInResponse, COPY 2, ready I",
			[]pgproto3.FrontendMessage{parse("", "COPY app.t FROM STDIN"), bind("", ""), execute, sync, &pgproto3.CopyData{Data: []byte("7\n8\n")}, &pgproto3.CopyDone{}, sync}},
		{"ours after COPY", "ready", "RowDescription, row [\"a\"], KILL JOB, ready I", []pgproto3.FrontendMessage{&pgproto3.Query{String: "KILL JOB 'a'"}}},
		{"failed COPY", "ready", "CopyInResponse, error 57014, ready I",
			[]pgproto3.FrontendMessage{&pgproto3.Query{String: "COPY app.t FROM STDIN"}, &pgproto3.CopyFail{Message: "no"}}},
		{"empty", "ready", "EmptyQueryResponse, ready I", []pgproto3.FrontendMessage{&pgproto3.Query{String: " ; -- x"}}},
		{"two Syncs", "ready", "ready I", []pgproto3.FrontendMessage{sync}},
	} {
		if got := talk(t, f, c.until, c.msgs...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestBadClients(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, hurried, _ := proxy(t, db, &pgwire.Options{StartTimeout: 2 * time.Second}) // those who never get to log in
	_, through, _ := proxy(t, db, nil)
	strangers, _ := url.Parse(hurried(db.OwnerURL))
	u, _ := url.Parse(through(db.OwnerURL))
	good := []*pgx.Conn{connect(t, strangers.String(), pgx.QueryExecModeExec), connect(t, u.String(), pgx.QueryExecModeExec)}
	packet := func(code uint32, rest string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
		return append(binary.BigEndian.AppendUint32(b, code), rest...)
	}
	hello := string(packet(3<<16, "user\x00x\x00database\x00x\x00\x00"))
	for name, c := range map[string]struct{ send, want string }{
		"garbage":            {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		"zeros":              {strings.Repeat("\x00", 100), ""},
		"giant length":       {"\xff\xff\xff\xff", ""},
		"giant start-up":     {"\x7f\x00\x00\x00\x00\x03\x00\x00", ""},
		"nothing":            {"", ""},
		"half":               {"\x00\x00\x00\x20\x00\x03", ""},
		"protocol 2":         {string(packet(2<<16, "x\x00")), "C0A000"},
		"protocol 9":         {string(packet(9<<16, "x\x00")), "C0A000"},
		"bad parameters":     {string(packet(3<<16, "user")), "C08P01"},
		"no user":            {string(packet(3<<16, "database\x00x\x00\x00")), "C08P01"},
		"TLS, TLS, TLS":      {strings.Repeat(string(packet(80877103, "")), 10), "NNNN"},
		"cancel of nobody":   {string(packet(80877102, "12345678")), ""},
		"giant before login": {hello + "p\x3f\xff\xff\xff", "C08P01"},
		"bad frame":          {hello + "p\x00\x00\x00\x01", "C08P01"},
		"query before login": {hello + "Q\x00\x00\x00\x0dSELECT 1\x00", "C08P01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, err := net.Dial("tcp", strangers.Host)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			nc.Write([]byte(c.send))
			if name == "query before login" {
				nc.(*net.TCPConn).CloseWrite()
			}
			got, err := io.ReadAll(nc)
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Error("the connection stays open")
			}
			if !strings.Contains(string(got), c.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	for name, send := range map[string][]byte{
		"giant length": {'Q', 0xff, 0xff, 0xff, 0xff}, "short length": {'P', 0, 0, 0, 2}, "unknown type": {'~', 0, 0, 0, 4},
		"no end of string": {'Q', 0, 0, 0, 6, 'x', 'y'}, "empty Parse": {'P', 0, 0, 0, 4, 'S', 0, 0, 0, 4}, "empty Bind": {'B', 0, 0, 0, 4, 'S', 0, 0, 0, 4},
		"half a message": {'Q', 0, 0, 1, 0, 'S'},
	} {
		t.Run("after login, "+name, func(t *testing.T) {
			t.Parallel()
			f, nc := hijack(t, u.String())
			talk(t, f, "ready", &pgproto3.Parse{Name: "own", Query: "SHOW JOBS"}, &pgproto3.Sync{}) // the maps are in use
			nc.Write(send)
			nc.(*net.TCPConn).CloseWrite()
			if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Error("the connection stays open")
			}
		})
	}
	t.Cleanup(func() {
		for _, conn := range good {
			if _, err := conn.Exec(context.Background(), "SELECT 1"); err != nil {
				t.Errorf("others noticed: %v", err)
			}
		}
	})
}

func TestLongStatements(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	for name, mode := range modes {
		conn := connect(t, through(db.OwnerURL), mode)
		long := strings.Repeat("é", 5<<20)
		var n int
		if err := conn.QueryRow(t.Context(), "SELECT length('"+long+"')").Scan(&n); err != nil || n != 5<<20 {
			t.Errorf("%s: %d %v", name, n, err)
		}
		var pe *pgconn.PgError
		_, err := conn.Exec(t.Context(), "FLUSH TABLE a.b WHERE x = '"+long+"'")
		if !errors.As(err, &pe) || pe.Code != "54000" {
			t.Errorf("%s: %v", name, err)
		}
		if err := conn.QueryRow(t.Context(), "SELECT 1").Scan(&n); err != nil || n != 1 {
			t.Errorf("%s: %d %v", name, n, err)
		}
	}
}

func TestClientThatNeverReads(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, srv := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	f.Send(&pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	other := connect(t, through(db.OwnerURL), pgx.QueryExecModeExec)
	for range 20 {
		if _, err := other.Exec(t.Context(), "FLUSH TABLE a.b"); err != nil {
			t.Fatal(err)
		}
	}
	other.Close(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := srv.Close(ctx); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("Close: %v after %v", err, time.Since(begin))
	}
}

func TestIdleClientsAreCheap(t *testing.T) { // not parallel: it weighs the heap
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	u, _ := url.Parse(through(db.OwnerURL))
	const clients = 100
	var before, after runtime.MemStats
	var conns []*pgconn.PgConn
	open := func() {
		conn, err := pgconn.Connect(t.Context(), u.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	open()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range clients {
		open()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := int64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse) / clients
	t.Logf("%d bytes for each idle client, both ends of its connection", each)
	if each > 150<<10 {
		t.Errorf("%d bytes for each idle client", each)
	}
	for _, c := range conns {
		c.Close(context.Background())
	}
}

// script plays a PostgreSQL server that says what it is told to.
func fakePostgres(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				serve(nc)
			}()
		}
	}()
	return ln.Addr().String()
}

func encode(msgs ...pgproto3.BackendMessage) []byte {
	var buf []byte
	for _, m := range msgs {
		buf, _ = m.Encode(buf)
	}
	return buf
}

func TestScriptedPeer(t *testing.T) {
	t.Parallel()
	greeting := encode(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"},
		&pgproto3.BackendKeyData{ProcessID: 42, SecretKey: []byte("secret")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	rows := encode(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}},
		&pgproto3.DataRow{Values: [][]byte{[]byte("1")}}, &pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "n"},
		&pgproto3.DataRow{Values: [][]byte{bytes.Repeat([]byte("y"), 50_000)}}, &pgproto3.NotificationResponse{PID: 1, Channel: "c"},
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT 2")}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	for name, c := range map[string]struct {
		answer []byte
		ok     bool
	}{
		"in pieces":        {rows, true},
		"closed half-way":  {rows[:len(rows)-10], false},
		"giant frame":      {[]byte{'D', 0xff, 0xff, 0xff, 0xff}, false},
		"frame too short":  {[]byte{'D', 0, 0, 0, 1}, false},
		"ready without":    {[]byte{'Z', 0, 0, 0, 4}, false},
		"fatal":            {encode(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "m"}), false},
		"nothing":          {nil, false},
		"a stray answer":   {append(encode(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}), rows...), true},
		"a broken setting": {append([]byte{'S', 0, 0, 0, 5, 'x'}, rows...), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := fakePostgres(t, func(nc net.Conn) {
				head := make([]byte, 4)
				if _, err := io.ReadFull(nc, head); err != nil {
					return
				}
				io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(head))-4)
				nc.Write(greeting)
				if _, err := io.ReadFull(nc, make([]byte, 5)); err != nil {
					return
				}
				for i := range c.answer { // byte by byte: frames are cut anywhere
					if i < 200 || i%1000 == 0 {
						nc.Write(c.answer[i:min(i+1, len(c.answer))])
						continue
					}
					if i%1000 == 1 || i == 200 {
						end := min(i-i%1000+1000, len(c.answer))
						nc.Write(c.answer[i:end])
					}
				}
				if c.ok {
					io.Copy(io.Discard, nc)
				}
			})
			srv, listening, _ := listen(t, &handler{}, pgwire.Target{Network: "tcp", Address: address}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			defer srv.Close(ctx)
			conn, err := pgconn.Connect(ctx, "postgres://x@"+listening+"/x?sslmode=prefer")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			if conn.PID() != 42 || string(conn.SecretKey()) == "secret" || len(conn.SecretKey()) != 6 {
				t.Errorf("key %d %q", conn.PID(), conn.SecretKey())
			}
			_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
			if ctx.Err() != nil {
				t.Fatal("it hangs")
			}
			if c.ok != (err == nil) && name != "a stray answer" && name != "a broken setting" {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestUpstreamIsGone(t *testing.T) {
	t.Parallel()
	srv, listening, _ := listen(t, &handler{}, pgwire.Target{Network: "tcp", Address: "127.0.0.1:1"}, nil)
	defer srv.Close(t.Context())
	_, err := pgconn.Connect(t.Context(), "postgres://x@"+listening+"/x?sslmode=disable")
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "08006" {
		t.Errorf("got %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x0dSHOW JOBS\x00"))
	f.Add([]byte("P\x00\x00\x00\x11\x00SHOW JOBS\x00\x00\x00B\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04"))
	f.Add([]byte("Q\x00\x00\x00\x26SELECT 1; KILL JOB 'a'; COPY t FROM S\x00d\x00\x00\x00\x05xc\x00\x00\x00\x04"))
	f.Add([]byte("P\x00\x00\x00\x12k\x00SHOW JOBS\x00\x00\x00C\x00\x00\x00\x07Sk\x00D\x00\x00\x00\x06S\x00S\x00\x00\x00\x04G\x00\x00\x00\x07\x00\x00\x00"))
	f.Add([]byte("E\x00\x00\x00\x0cC42601\x00\x00T\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x06\x00\x00C\x00\x00\x00\x05\x00Z\x00\x00\x00\x05I"))
	greeting := encode(&pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	f.Fuzz(func(t *testing.T, input []byte) {
		address := fakePostgres(t, func(nc net.Conn) {
			head := make([]byte, 4)
			if _, err := io.ReadFull(nc, head); err != nil {
				return
			}
			io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(head))-4)
			nc.Write(greeting)
			nc.Write(input)                // spoiled answers, too
			nc.(*net.TCPConn).CloseWrite() // behind them, so that the proxy meets them before the hang-up
			_, _ = io.Copy(io.Discard, nc) // until the proxy hangs up as well
		})
		srv, listening, _ := listen(t, &handler{started: make(chan struct{}, 100)}, pgwire.Target{Network: "tcp", Address: address}, nil)
		nc, err := net.Dial("tcp", listening)
		if err != nil {
			t.Fatal(err)
		}
		nc.SetDeadline(time.Now().Add(5 * time.Second))
		hello := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 16}, 3<<16)
		nc.Write(append(append(hello, "user\x00x\x00\x00"...), input...))
		nc.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("it hangs")
		}
		nc.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
