package netfault

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo is a server that says what it is told.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until either side has enough
			}()
		}
	}()
	return ln.Addr().String()
}

func before(t *testing.T, upstream string) *Proxy {
	t.Helper()
	p, err := New(upstream)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, p *Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c.(*net.TCPConn)
}

// says sends a text and reads it back.
func says(t *testing.T, c net.Conn) error {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 5))
	return err
}

func TestModes(t *testing.T) {
	t.Parallel()
	p := before(t, echo(t))
	c := dial(t, p)
	must(t, says(t, c))

	p.Set(Mode{Delay: 50 * time.Millisecond})
	began := time.Now()
	must(t, says(t, c))
	if d := time.Since(began); d < 100*time.Millisecond {
		t.Errorf("there and back took %v, expected 50 ms each", d)
	}
	p.Set(Mode{Rate: 50})
	began = time.Now()
	must(t, says(t, c))
	if d := time.Since(began); d < 200*time.Millisecond {
		t.Errorf("5 bytes there and back at 50 a second took %v", d)
	}

	p.Set(Mode{Blackhole: true})
	must(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if err := says(t, c); !errors.Is(err, errTimeout(err)) {
		t.Errorf("through a silent link: %v", err)
	}
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	p.Set(Mode{}) // what was held back arrives
	_, err := io.ReadFull(c, make([]byte, 5))
	must(t, err)

	p.Set(Mode{Refuse: true})
	must(t, says(t, c))
	if err := says(t, dial(t, p)); err == nil {
		t.Error("a connection was not refused")
	}
	p.Set(Mode{})
	if n := p.Cut(); n != 1 {
		t.Errorf("%d connections were cut, expected 1", n)
	}
	if err := says(t, c); err == nil {
		t.Error("the connection was not cut")
	}
}

func errTimeout(err error) error {
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return err
	}
	return io.EOF
}

func TestHalfCloseAndRedirect(t *testing.T) {
	t.Parallel()
	p := before(t, echo(t))
	c := dial(t, p)
	must(t, says(t, c))
	p.HalfClose()
	if _, err := io.ReadFull(c, make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the server was told that nothing more comes, and its answer is %v", err)
	}
	p.Redirect("127.0.0.1:1")
	if err := says(t, dial(t, p)); err == nil {
		t.Error("the old upstream answers")
	}
}

// A36: what each fault makes of a COMMIT: whether it takes place, and that nobody is told.
func TestLoseCommits(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, "CREATE TABLE app.kept (fault int)")
	u, err := url.Parse(db.SuperURL)
	must(t, err)
	p := before(t, u.Host)
	u.Host = p.Address()
	for _, f := range Faults {
		conn, err := pgx.Connect(t.Context(), u.String())
		must(t, err)
		_, err = conn.Exec(t.Context(), "BEGIN")
		must(t, err)
		_, err = conn.Exec(t.Context(), "INSERT INTO app.kept VALUES ($1)", int(f))
		must(t, err)
		p.LoseCommits(f, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if f == Swallow {
			ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		}
		_, err = conn.Exec(ctx, "COMMIT")
		cancel()
		if (err == nil) != (f == Hang) {
			t.Errorf("%s: %v", f, err)
		}
		_ = conn.Close(context.Background()) // it is broken, but for one
	}
	if p.Lost() != len(Faults) {
		t.Errorf("%d COMMITs were lost, expected %d", p.Lost(), len(Faults))
	}
	// CutBoth may go either way: PostgreSQL may see the reset before it reads the COMMIT.
	got := pgtest.Value[string](t, db, "SELECT string_agg(fault::text, ' ' ORDER BY fault) FROM app.kept WHERE fault <> 3")
	if got != "2 4 5" {
		t.Errorf("committed were %s, expected 2 4 5", got)
	}
}

// Messages are found in whatever pieces they come, and other bytes are left alone.
func TestScanner(t *testing.T) {
	t.Parallel()
	startup := append([]byte{0, 0, 0, 9, 0, 3, 0, 0}, 0)
	query := func(text string) []byte {
		m := append([]byte{'Q', 0, 0, 0, 0}, append([]byte(text), 0)...)
		m[4] = byte(len(m) - 1)
		m[3] = byte((len(m) - 1) >> 8)
		return m
	}
	long := query(string(make([]byte, 5000)))
	var all []byte
	for _, m := range [][]byte{startup, query("SELECT 'COMMIT'"), long, query(" commit")} {
		all = append(all, m...)
	}
	for size := 1; size < len(all); size = size*3 + 1 {
		var s scanner
		found := 0
		for at := 0; at < len(all); at += size {
			if s.commits(all[at:min(at+size, len(all))]) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("in pieces of %d bytes: %d COMMITs found, expected 1", size, found)
		}
	}
	var s scanner
	if s.commits([]byte("GET / HTTP/1.1\r\n\r\n")) || s.commits(query("COMMIT")) {
		t.Error("a COMMIT was found in HTTP")
	}
}
