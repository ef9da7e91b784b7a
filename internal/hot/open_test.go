package hot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

const secret = "s3cret-Pa55word"

// edit changes a database URL and puts the secret in as its password.
func edit(t *testing.T, raw string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), secret)
	change(u)
	return u.String()
}

// closedPort is a port of the loopback that nobody listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Each way in which a connection fails has a class and a hint, and none shows the password.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	worker := db.Worker
	db.Super(t, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", worker, secret))
	good := edit(t, db.WorkerURL, func(*url.URL) {})
	for _, c := range []struct{ name, url, class string }{
		{"no URL", "nonsense " + secret, hot.ConnectURL},
		{"port", "postgres://u:" + secret + "@127.0.0.1:port/d", hot.ConnectURL},
		{"unescaped password", "postgres://u:" + secret + "#%zz@127.0.0.1/d", hot.ConnectURL},
		{"key and value", "host=127.0.0.1 port=x password=" + secret, hot.ConnectURL},
		{"sslmode", edit(t, db.WorkerURL, func(u *url.URL) { u.RawQuery = "sslmode=perhaps" }), hot.ConnectURL},
		{"nobody listens", edit(t, db.WorkerURL, func(u *url.URL) { u.Host = closedPort(t) }), hot.ConnectUnreachable},
		{"no such socket", "postgres://u:" + secret + "@/d?host=/nowhere", hot.ConnectUnreachable},
		{"unknown host", edit(t, db.WorkerURL, func(u *url.URL) { u.Host = "nowhere.invalid:5432" }), hot.ConnectUnreachable},
		{"database", edit(t, db.WorkerURL, func(u *url.URL) { u.Path = "/nothing" }), hot.ConnectDatabase},
		{"tls", edit(t, db.WorkerURL, func(u *url.URL) { u.RawQuery = "sslmode=require" }), hot.ConnectTLS},
	} {
		_, err := hot.Open(t.Context(), c.url, nil)
		var ce *hot.ConnectError
		if !errors.As(err, &ce) {
			t.Errorf("%s: %v, want *ConnectError", c.name, err)
			continue
		}
		if ce.Class != c.class || ce.Hint == "" || ce.Msg == "" {
			t.Errorf("%s: class %q (%s; hint %q), want %q", c.name, ce.Class, ce.Msg, ce.Hint, c.class)
		}
		if hot.IsConnectionError(err) != (c.class == hot.ConnectUnreachable) {
			t.Errorf("%s: IsConnectionError is wrong", c.name)
		}
		secretFree(t, c.name, err)
	}
	h, err := hot.Open(t.Context(), good, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	db.Super(t, fmt.Sprintf("REVOKE CONNECT ON DATABASE %s FROM PUBLIC, %s", db.Name, worker))
	_, err = hot.Open(t.Context(), good, nil)
	var ce *hot.ConnectError
	if !errors.As(err, &ce) || ce.Class != hot.ConnectDatabase || !strings.Contains(ce.Hint, "spillway grants") {
		t.Errorf("without CONNECT: %v", err)
	}
	_, err = h.Session(t.Context(), "spillway:test", nil)
	if !errors.As(err, &ce) || ce.Class != hot.ConnectDatabase {
		t.Errorf("session without CONNECT: %v", err)
	}
	secretFree(t, "session", err)
}

func secretFree(t *testing.T, name string, err error) {
	t.Helper()
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Error("connect", "error", err)
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), log.String()} {
		if strings.Contains(text, secret) || strings.Contains(text, "Pa55") {
			t.Errorf("%s: the password is in %s", name, text)
		}
	}
}

// The servers of the tests trust everyone or have passwords as the machine likes; a scripted one is precise.
func TestConnectErrorsFromServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code, message, class string
	}{
		{"28P01", `password authentication failed for user "u"`, hot.ConnectAuth},
		{"28000", `no pg_hba.conf entry for host`, hot.ConnectAuth},
		{"53300", `sorry, too many clients already`, hot.ConnectUnreachable},
		{"57P03", `the database system is starting up`, hot.ConnectUnreachable},
		{"08P01", `unsupported startup parameter: row_security`, hot.ConnectUnreachable},
	} {
		_, err := hot.Open(t.Context(), "postgres://u:"+secret+"@"+refusing(t, c.code, c.message)+"/d?sslmode=disable", nil)
		var ce *hot.ConnectError
		if !errors.As(err, &ce) || ce.Class != c.class || !strings.Contains(ce.Msg, c.message) || ce.Hint == "" {
			t.Errorf("%s: %v, want class %s", c.code, err, c.class)
			continue
		}
		if hot.SQLState(err) != c.code {
			t.Errorf("SQLSTATE %q, want %s", hot.SQLState(err), c.code)
		}
		secretFree(t, c.code, err)
	}
}

// refusing is the address of a server that answers every start-up with an error.
func refusing(t *testing.T, code, message string) string {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		be := pgproto3.NewBackend(conn, conn)
		if _, err := be.ReceiveStartupMessage(); err == nil {
			be.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message})
			_ = be.Flush() // the client may have gone
		}
	})
}

// serve is the address of a server that does one thing with every connection and closes it.
func serve(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talk(conn)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// A server that stops while a password is being proved has not said that it is wrong: a job goes on when the server is back.
func TestServerGoesAwayWhileConnecting(t *testing.T) {
	t.Parallel()
	first := "r=%sserver,s=c2FsdHNhbHQ=,i=4096"
	for name, answers := range map[string][]func(nonce string) pgproto3.BackendMessage{
		"at once": {},
		"before the proof": {
			func(string) pgproto3.BackendMessage {
				return &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}
			},
		},
		"after the proof": {
			func(string) pgproto3.BackendMessage {
				return &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}
			},
			func(nonce string) pgproto3.BackendMessage {
				return &pgproto3.AuthenticationSASLContinue{Data: fmt.Appendf(nil, first, nonce)}
			},
		},
		"after the password": {
			func(string) pgproto3.BackendMessage { return &pgproto3.AuthenticationCleartextPassword{} },
		},
	} {
		_, err := hot.Open(t.Context(), "postgres://u:"+secret+"@"+leaving(t, answers)+"/d?sslmode=disable", nil)
		var ce *hot.ConnectError
		if !errors.As(err, &ce) || ce.Class != hot.ConnectUnreachable || !hot.IsConnectionError(err) || ce.Hint == "" {
			t.Errorf("%s: %v: %#v", name, err, ce)
		}
		secretFree(t, name, err)
	}
}

// leaving is the address of a server that gives some answers and then goes away.
func leaving(t *testing.T, answers []func(nonce string) pgproto3.BackendMessage) string {
	t.Helper()
	return serve(t, func(conn net.Conn) {
		be := pgproto3.NewBackend(conn, conn)
		if _, err := be.ReceiveStartupMessage(); err != nil {
			return
		}
		nonce := ""
		for _, answer := range answers {
			m := answer(nonce)
			be.Send(m)
			if be.Flush() != nil {
				return
			}
			if _, ok := m.(*pgproto3.AuthenticationSASL); ok {
				_ = be.SetAuthType(pgproto3.AuthTypeSASL)
			} else if _, ok := m.(*pgproto3.AuthenticationSASLContinue); ok {
				_ = be.SetAuthType(pgproto3.AuthTypeSASLContinue)
			}
			got, err := be.Receive()
			if err != nil {
				return
			}
			if first, ok := got.(*pgproto3.SASLInitialResponse); ok {
				_, nonce, _ = strings.Cut(string(first.Data), "r=")
			}
		}
	})
}

func TestOpenGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hot.Open(ctx, "postgres://u:"+secret+"@"+closedPort(t)+"/d", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("open with an ended context: %v", err)
	}
}

// What a predicate means must not depend on the URL, the environment or the role.
func TestSettingsArePinned(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, fmt.Sprintf(`ALTER ROLE %s SET timezone = 'Asia/Tokyo'; ALTER ROLE %[1]s SET search_path = app; ALTER ROLE %[1]s SET datestyle = 'German';
		ALTER ROLE %[1]s SET default_transaction_read_only = on; ALTER ROLE %[1]s SET statement_timeout = 1; ALTER ROLE %[1]s SET idle_session_timeout = 1000`, db.Worker))
	if db.Server.Binaries().Major >= 17 {
		db.Super(t, "ALTER ROLE "+db.Worker+" SET transaction_timeout = '1min'")
	}
	h := open(t, db, nil)
	s, err := h.Session(t.Context(), "spillway:job:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := map[string]string{"timezone": "UTC", "search_path": "", "datestyle": "ISO, MDY", "row_security": "off", "default_transaction_read_only": "off",
		"extra_float_digits": "1", "client_encoding": "UTF8", "idle_session_timeout": "0", "statement_timeout": "1h"}
	if db.Server.Binaries().Major >= 17 {
		want["transaction_timeout"] = "0"
	}
	for name, q := range map[string]hot.Querier{"pool": h.Pool(), "session": s} {
		for setting, value := range want {
			var got string
			if err := q.QueryRow(t.Context(), `SELECT pg_catalog.current_setting($1)`, setting).Scan(&got); err != nil || got != value {
				t.Errorf("%s: %s is %q (%v), want %q", name, setting, got, err, value)
			}
		}
	}
	var app string
	if err := h.Pool().QueryRow(t.Context(), `SHOW application_name`).Scan(&app); err != nil || app != "spillway" {
		t.Errorf("application_name %q, %v", app, err)
	}
	if h.ServerVersionNum() < hot.MinVersion || h.ServerVersion() == "" || h.Encoding() == "" {
		t.Errorf("version %d %q, encoding %q", h.ServerVersionNum(), h.ServerVersion(), h.Encoding())
	}
}

func TestIsConnectionError(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	s, err := h.Session(t.Context(), "spillway:test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Exec(t.Context(), `SELECT 1/0`); hot.IsConnectionError(err) || hot.SQLState(err) != "22012" {
		t.Errorf("division by zero: %v", err)
	}
	if err := s.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(t.Context(), `SELECT 1`); !hot.IsConnectionError(err) {
		t.Errorf("after the backend was ended: %v", err)
	}
	if _, err := s.Exec(t.Context(), `SELECT 1`); !hot.IsConnectionError(err) {
		t.Errorf("on a closed connection: %v", err)
	}
	for _, err := range []error{nil, errors.New("x"), context.Canceled} {
		if hot.IsConnectionError(err) {
			t.Errorf("%v is no connection error", err)
		}
	}
	if !hot.IsConnectionError(fmt.Errorf("read: %w", io.ErrUnexpectedEOF)) {
		t.Error("an unexpected end is a connection error")
	}
}

func TestErrorDetail(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	_, err := h.Pool().Exec(t.Context(), `DO $$BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'the detail', HINT = 'the hint'; END$$`)
	if got := hot.ErrorDetail(err); !strings.HasPrefix(got, "DETAIL: the detail; HINT: the hint; CONTEXT: PL/pgSQL") {
		t.Errorf("detail %q", got)
	}
	if hot.ErrorDetail(io.EOF) != "" || hot.SQLState(io.EOF) != "" {
		t.Error("EOF is not PostgreSQL's")
	}
}
