package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Target is the PostgreSQL server behind the proxy.
type Target struct {
	Network string      // "tcp" or "unix"
	Address string      // host:port, or the path of a socket
	TLS     *tls.Config // nil: plain. Otherwise PostgreSQL must agree to TLS
}

// Options tune a Server; nil means defaults.
type Options struct {
	TLS            *tls.Config   // offered to clients; nil: no TLS
	MaxConns       int           // clients that are logged in; default 500
	MaxStarting    int           // connections that are not yet; default 256. More wait their turn
	StartTimeout   time.Duration // from connect to the end of the login; default 30 s
	MaxStatement   int           // longest text that is looked at, in bytes; default 1 MiB. Longer ones are passed on unseen
	ConnectTimeout time.Duration // to PostgreSQL; default 10 s
	Logger         *slog.Logger
}

// Server is a proxy. It may serve several listeners.
type Server struct {
	handler Handler
	target  Target
	refusal *Error // what everybody who logs in is told; nil: they are let in
	opt     Options

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	keys      map[string]*conn // own cancel keys
	starting  []arrival        // not yet logged in, oldest first
	users     int              // sessions that are logged in
	closed    bool
	done      sync.WaitGroup

	room chan struct{}   // tells admit that some connection has left starting
	base context.Context // of connecting to PostgreSQL; it ends with the last part of Close
	end  context.CancelFunc
}

// arrival is a connection that has not yet logged in.
type arrival struct {
	nc net.Conn
	at time.Time
}

// New makes a server.
func New(h Handler, target Target, opt *Options) (*Server, error) {
	if h == nil {
		return nil, errors.New("a handler is required")
	}
	if target.Network == "" || target.Address == "" {
		return nil, errors.New("the address of PostgreSQL is required")
	}
	s := newServer(opt)
	s.handler, s.target = h, target
	return s, nil
}

// NewRefuser makes a server that lets nobody in, and says why. A client that knows several hosts goes to its next one if the
// code is CodeCannotConnectNow.
func NewRefuser(why *Error, opt *Options) *Server {
	s := newServer(opt)
	e := *why
	e.Severity = "FATAL"
	s.refusal = &e
	return s
}

func newServer(opt *Options) *Server {
	s := &Server{
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, keys: map[string]*conn{},
		room: make(chan struct{}, 1),
	}
	s.base, s.end = context.WithCancel(context.Background())
	if opt != nil {
		s.opt = *opt
	}
	if s.opt.MaxConns <= 0 {
		s.opt.MaxConns = 500
	}
	if s.opt.MaxStarting <= 0 {
		s.opt.MaxStarting = 256
	}
	if s.opt.StartTimeout <= 0 {
		s.opt.StartTimeout = 30 * time.Second
	}
	if s.opt.ConnectTimeout <= 0 {
		s.opt.ConnectTimeout = 10 * time.Second
	}
	if s.opt.MaxStatement <= 0 {
		s.opt.MaxStatement = 1 << 20
	}
	if s.opt.Logger == nil {
		s.opt.Logger = slog.New(slog.DiscardHandler)
	}
	return s
}

// Serve accepts clients until Close, and then returns ErrClosed.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		ln.Close()
		return ErrClosed
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrClosed
			}
			if isTemporary(err) {
				time.Sleep(10 * time.Millisecond) // out of file descriptors: those in use will be given back
				continue
			}
			return err
		}
		if !s.admit(nc) {
			nc.Close()
			continue
		}
		go s.serve(nc)
	}
}

// isTemporary reports whether Accept may work again: the listener itself is fine.
func isTemporary(err error) bool {
	return !errors.Is(err, net.ErrClosed)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// admit waits for room among the connections that are not yet logged in. Whoever needs more than a part of StartTimeout to
// log in makes room for others: so a crowd is let in one after the other, and idle connections keep nobody out for long.
func (s *Server) admit(nc net.Conn) bool {
	grace := s.opt.StartTimeout / 6
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return false
		}
		if len(s.starting) < s.opt.MaxStarting {
			s.starting = append(s.starting, arrival{nc, time.Now()})
			s.done.Add(1)
			s.mu.Unlock()
			return true
		}
		oldest := s.starting[0]
		s.mu.Unlock()
		if wait := grace - time.Since(oldest.at); wait > 0 {
			select {
			case <-s.room:
			case <-time.After(wait):
			}
			continue
		}
		s.opt.Logger.Debug("connection made room at start-up", obs.KeyAddress, oldest.nc.RemoteAddr().String())
		oldest.nc.Close()
		s.leave(oldest.nc)
	}
}

// leave takes a connection out of those that are not yet logged in. It may be out already.
func (s *Server) leave(nc net.Conn) {
	s.mu.Lock()
	s.starting = slices.DeleteFunc(s.starting, func(a arrival) bool { return a.nc == nc })
	s.mu.Unlock()
	s.tellRoom()
}

func (s *Server) tellRoom() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// serve runs one client from its first byte to its last.
func (s *Server) serve(nc net.Conn) {
	defer s.done.Done()
	defer nc.Close()
	defer s.leave(nc)
	c, err := s.start(nc)
	if err != nil {
		s.opt.Logger.Debug("connection ended at start-up", obs.KeyAddress, nc.RemoteAddr().String(), obs.KeyErr, err)
	}
	if c == nil {
		return
	}
	defer s.remove(c)
	c.run()
}

// add registers a session, if there is room.
func (s *Server) add(c *conn) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fatal(codeShutdown, "the proxy is shutting down")
	}
	if s.users >= s.opt.MaxConns {
		return fatal(codeTooMany, "sorry, too many clients already")
	}
	s.conns[c] = struct{}{}
	return nil
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	delete(s.keys, c.key)
	if c.loggedIn {
		s.users--
	}
}

// letIn notes that PostgreSQL has let a client in. From now on the client may take its time.
func (s *Server) letIn(c *conn) {
	c.client.SetDeadline(time.Time{})
	s.mu.Lock()
	c.loggedIn = true
	s.users++
	s.mu.Unlock()
	s.leave(c.arrived)
}

func fatal(code, message string) *Error {
	return &Error{Severity: "FATAL", Code: code, Message: message}
}

// Close stops accepting, ends idle sessions, lets the others finish their transaction until ctx ends, and then ends
// those too. A second Close is harmless.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for ln := range s.listeners {
		ln.Close()
	}
	s.listeners = map[net.Listener]struct{}{}
	for _, a := range s.starting {
		a.nc.Close()
	}
	s.mu.Unlock()
	s.tellRoom()

	gone := make(chan struct{})
	go func() {
		s.done.Wait()
		close(gone)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	force := false
	for {
		s.drain(force)
		select {
		case <-gone:
			s.end()
			if force {
				return context.Cause(ctx)
			}
			return nil
		case <-ctx.Done():
			if force {
				s.end()
			}
			force = true
			<-tick.C
		case <-tick.C:
		}
	}
}

// drain drains all sessions, at once: some may be slow.
func (s *Server) drain(force bool) {
	var all sync.WaitGroup
	for _, c := range s.sessions() {
		all.Go(func() { c.drain(force) })
	}
	all.Wait()
}

// Sessions is how many clients are logged in.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users
}

func (s *Server) sessions() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c)
	}
	return out
}

// dial connects to PostgreSQL.
func (s *Server) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.ConnectTimeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, s.target.Network, s.target.Address)
	if err != nil || s.target.TLS == nil {
		return nc, err
	}
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline)
	if _, err := nc.Write([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}); err != nil {
		nc.Close()
		return nil, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil || answer[0] != 'S' {
		nc.Close()
		return nil, errors.New("PostgreSQL does not offer TLS")
	}
	tc := tls.Client(nc, s.target.TLS)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	return tc, nil
}
