package pgwire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
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
	MaxConns       int           // default 500
	StartTimeout   time.Duration // from connect to the start-up message; default 30 s
	MaxStatement   int           // longest text that is looked at, in bytes; default 1 MiB. Longer ones are passed on unseen
	ConnectTimeout time.Duration // to PostgreSQL; default 10 s
	Logger         *slog.Logger
}

// Server is a proxy. It may serve several listeners.
type Server struct {
	handler Handler
	target  Target
	opt     Options

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	keys      map[string]*conn      // own cancel keys
	starting  map[net.Conn]struct{} // before their start-up message
	closed    bool
	done      sync.WaitGroup
}

// maxWaiting bounds connections that have not yet said who they are, so that cancel requests find room.
const maxWaiting = 256

// New makes a server.
func New(h Handler, target Target, opt *Options) (*Server, error) {
	if h == nil {
		return nil, errors.New("a handler is required")
	}
	if target.Network == "" || target.Address == "" {
		return nil, errors.New("the address of PostgreSQL is required")
	}
	s := &Server{
		handler: h, target: target,
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, keys: map[string]*conn{},
		starting: map[net.Conn]struct{}{},
	}
	if opt != nil {
		s.opt = *opt
	}
	if s.opt.MaxConns <= 0 {
		s.opt.MaxConns = 500
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
	return s, nil
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

func (s *Server) admit(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.starting) >= maxWaiting {
		return false
	}
	s.starting[nc] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) started(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.starting, nc)
}

// serve runs one client from its first byte to its last.
func (s *Server) serve(nc net.Conn) {
	defer s.done.Done()
	defer nc.Close()
	c := func() *conn {
		defer s.started(nc)
		c, err := s.start(nc)
		if err != nil {
			s.opt.Logger.Debug("connection ended at start-up", obs.KeyAddress, nc.RemoteAddr().String(), obs.KeyErr, err)
			return nil
		}
		return c
	}()
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
	if len(s.conns) >= s.opt.MaxConns {
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
	for nc := range s.starting {
		nc.Close()
	}
	s.mu.Unlock()

	gone := make(chan struct{})
	go func() {
		s.done.Wait()
		close(gone)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	force := false
	for {
		for _, c := range s.sessions() {
			c.drain(force)
		}
		select {
		case <-gone:
			if force {
				return context.Cause(ctx)
			}
			return nil
		case <-ctx.Done():
			force = true
			<-tick.C
		case <-tick.C:
		}
	}
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
