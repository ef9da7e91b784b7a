package netfault

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what befalls the bytes of all connections. The zero value passes them on.
type Mode struct {
	Delay     time.Duration // before each piece is passed on, in both directions
	Rate      int           // bytes per second in each direction of a connection; 0 is no limit
	Refuse    bool          // new connections are closed at once
	Blackhole bool          // nothing is passed on, and nobody is told: a cable that was pulled
}

// Proxy passes TCP connections on to one upstream.
type Proxy struct {
	ln net.Listener

	mu       sync.Mutex
	upstream string
	changed  chan struct{} // closed when mode changes
	mode     Mode
	conns    map[*conn]bool
	commit   CommitFault
	left     int // COMMITs that are still to be lost
	closed   bool

	hits atomic.Int64
}

// New listens on a free port of loopback. Close ends it.
func New(upstream string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{upstream: upstream, ln: ln, changed: make(chan struct{}), conns: map[*conn]bool{}}
	go p.accept()
	return p, nil
}

// Address is host:port of the proxy.
func (p *Proxy) Address() string { return p.ln.Addr().String() }

// Close ends the proxy and every connection.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.ln.Close() // it may be closed already
	p.Set(Mode{})
	p.Cut()
}

// Redirect sends new connections to another upstream, as a failover does, and cuts those there are.
func (p *Proxy) Redirect(upstream string) {
	p.mu.Lock()
	p.upstream = upstream
	p.mu.Unlock()
	p.Cut()
}

// Set changes what befalls every connection, those there are too.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cut ends all connections by a reset, and says how many there were.
func (p *Proxy) Cut() int {
	return p.each(func(c *conn) { c.cut() })
}

// HalfClose ends one direction of all connections: the upstream is told that nothing more comes, and goes on to answer.
func (p *Proxy) HalfClose() int {
	return p.each(func(c *conn) { _ = c.server.CloseWrite() }) // one that is gone needs nothing
}

func (p *Proxy) each(do func(*conn)) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		do(c)
	}
	return len(p.conns)
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		go p.serve(client.(*net.TCPConn))
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	if m, _ := p.current(); m.Refuse {
		reset(client)
		return
	}
	p.mu.Lock()
	upstream := p.upstream
	p.mu.Unlock()
	up, err := net.DialTimeout("tcp", upstream, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	c := &conn{p: p, client: client, server: up.(*net.TCPConn), gone: make(chan struct{})}
	p.mu.Lock()
	closed := p.closed
	p.conns[c] = true
	p.mu.Unlock()
	if closed {
		c.cut()
	}
	c.run()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

func (p *Proxy) current() (Mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed
}

// conn is one connection and its other half.
type conn struct {
	p              *Proxy
	client, server *net.TCPConn
	once           sync.Once
	gone           chan struct{} // closed when the connection was cut
	mute           atomic.Bool   // answers are swallowed
	wire           scanner
}

func (c *conn) run() {
	var both sync.WaitGroup
	both.Go(func() { c.pump(c.client, c.server, true) })
	both.Go(func() { c.pump(c.server, c.client, false) })
	both.Wait()
	_ = c.client.Close() // both directions have ended
	_ = c.server.Close()
}

// pump passes one direction on until it ends, and then closes that direction alone, as a network without a proxy would.
func (c *conn) pump(from, to *net.TCPConn, asking bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !c.pass(to, buf[:n], asking) {
			return
		}
		if err != nil {
			var netErr *net.OpError
			if errors.As(err, &netErr) {
				c.cut() // a reset goes through
			}
			_ = to.CloseWrite()
			return
		}
	}
}

// pass delays, throttles, swallows or writes a piece. It says whether the connection goes on.
func (c *conn) pass(to *net.TCPConn, piece []byte, asking bool) bool {
	for {
		m, changed := c.p.current()
		wait := m.Delay
		if m.Rate > 0 {
			wait += time.Duration(len(piece)) * time.Second / time.Duration(m.Rate)
		}
		if !m.Blackhole && wait == 0 {
			break
		}
		var timer <-chan time.Time
		if !m.Blackhole {
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case <-c.gone:
			return false
		case <-changed:
			continue
		}
		break
	}
	if !asking && c.mute.Load() {
		return true
	}
	if asking && c.wire.commits(piece) {
		return c.p.loseCommit(c, piece)
	}
	_, err := to.Write(piece)
	return err == nil
}

// cut ends both halves by a reset.
func (c *conn) cut() {
	c.once.Do(func() {
		close(c.gone)
		reset(c.client)
		reset(c.server)
	})
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // what cannot be reset is closed
	_ = c.Close()
}
