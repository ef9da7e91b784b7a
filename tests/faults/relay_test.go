package faults

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// relay stands between a machine and PostgreSQL.
type relay struct {
	listener net.Listener
	upstream string
	lose     atomic.Bool // the next answer never arrives

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// newRelay returns a relay and the URL that leads through it.
func newRelay(t testing.TB, database string) (*relay, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{upstream: u.Host, conns: map[net.Conn]bool{}}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.listener.Close(); r.cut() })
	go r.serve()
	u.Host = r.listener.Addr().String()
	u.RawQuery = "sslmode=disable"
	return r, u.String()
}

func (r *relay) serve() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.conns[client], r.conns[server] = true, true
		r.mu.Unlock()
		go r.copy(server, client, false)
		go r.copy(client, server, true)
	}
}

func (r *relay) copy(to, from net.Conn, answers bool) {
	defer r.drop(to, from)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || answers && r.lose.CompareAndSwap(true, false) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(r.conns, c)
	}
}

// cut closes every connection.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}
