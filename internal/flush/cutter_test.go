package flush_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
)

// A cutter stands between a Flusher and PostgreSQL and cuts a connection at its COMMIT.
type cutter struct {
	listener net.Listener
	upstream string
	armed    atomic.Int32 // what to do at the next COMMIT: one of the cut values
	cuts     atomic.Int32
	asked    atomic.Int64 // statements that went by
}

const (
	cutNever  int32 = iota
	cutBefore       // COMMIT never reaches the server
	cutAfter        // COMMIT reaches the server, its answer never arrives
)

// newCutter returns a cutter and the URL that leads through it.
func newCutter(t testing.TB, database string) (*cutter, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{upstream: u.Host}
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.listener.Close() })
	go c.serve()
	u.Host = c.listener.Addr().String()
	u.RawQuery = "sslmode=disable"
	return c, u.String()
}

func (c *cutter) serve() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		go c.relay(client)
	}
}

func (c *cutter) relay(client net.Conn) {
	server, err := net.Dial("tcp", c.upstream)
	if err != nil {
		client.Close()
		return
	}
	both := func() { client.Close(); server.Close() }
	var muted atomic.Bool
	go func() {
		defer both()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || muted.Load() { // an answer to a COMMIT that was cut off: the server is done with it
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	defer func() {
		if !muted.Load() {
			both()
		}
	}()
	if err := c.forward(client, server, &muted); err != nil {
		return
	}
}

var errCut = errors.New("cut")

// forward passes the client's messages on, one by one.
func (c *cutter) forward(client io.Reader, server io.Writer, muted *atomic.Bool) error {
	head := make([]byte, 5)
	for first := true; ; first = false {
		n := 5
		if first { // the start-up message, and an SSL or cancel request, have no type byte
			n = 4
		}
		if _, err := io.ReadFull(client, head[:n]); err != nil {
			return err
		}
		body := make([]byte, int(binary.BigEndian.Uint32(head[n-4:n]))-4)
		if _, err := io.ReadFull(client, body); err != nil {
			return err
		}
		if !first && (head[0] == 'Q' || head[0] == 'E') {
			c.asked.Add(1)
		}
		if !first && head[0] == 'Q' && bytes.HasPrefix(body, []byte("COMMIT")) {
			switch c.armed.Swap(cutNever) {
			case cutBefore:
				c.cuts.Add(1)
				return errCut
			case cutAfter:
				c.cuts.Add(1)
				muted.Store(true)
			}
		}
		if _, err := server.Write(append(head[:n:n], body...)); err != nil {
			return err
		}
	}
}
