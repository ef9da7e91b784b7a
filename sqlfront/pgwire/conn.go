package pgwire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Sizes of a session's buffers. Idle clients cost little: four of these and two small stacks.
const (
	bufSize     = 8 << 10
	maxUnproven = 64 << 10 // longest message of a client that PostgreSQL has not yet let in, as PostgreSQL has it
	maxFrame    = 1<<30 - 1
	keepScratch = 32 << 10

	lastWordTimeout = 500 * time.Millisecond
)

// conn is one client's session. Its reader goroutine (run) reads the client; its writer goroutine (relay) reads PostgreSQL.
type conn struct {
	server *Server
	info   Info
	raw    bool // replication: pass everything on

	arrived net.Conn // as accepted
	client  net.Conn // that, or TLS over it
	input   *input
	cr      *bufio.Reader // of input
	out     writer        // to the client

	up net.Conn
	ur *bufio.Reader
	uw *bufio.Writer

	queue *queue

	// Guarded by server.mu.
	key         string
	upstreamKey []byte
	loggedIn    bool

	binding  channelBinding
	stripped atomic.Bool // PostgreSQL's offer of channel binding was kept from the client

	// Guarded by mu.
	mu       sync.Mutex
	settings map[string]string // as PostgreSQL reports them
	told     map[string]string // those that the client has not been told of: its last word
	running  *running
	ended    bool // by drain

	// Used by the reader goroutine only.
	session  Session
	dirty    bool // messages that begin a transaction went to PostgreSQL since the last Sync
	behind   bool // PostgreSQL keeps answers back until a Sync or Flush
	ignoring bool // after an error of ours: until Sync
	called   bool // questions of our own since the last Sync
	stmts    map[string]*prepared
	portals  map[string]*portal
	executes bool // a statement over filled data was prepared by SQL
	scratch  []byte
}

// running is a statement of ours that runs now.
type running struct {
	cancel context.CancelCauseFunc
	asking bool // PostgreSQL is at work on a question of it
}

// writer is the client's side, shared by both goroutines.
type writer struct {
	mu   sync.Mutex
	w    *bufio.Writer
	held []byte // see hold
}

func newConn(s *Server, nc net.Conn, params map[string]string) *conn {
	in := &input{conn: nc}
	return &conn{
		server: s, client: nc, queue: newQueue(),
		info:     Info{User: params["user"], Database: params["database"]},
		raw:      isReplication(params),
		input:    in,
		cr:       bufio.NewReaderSize(in, bufSize),
		out:      writer{w: bufio.NewWriterSize(nc, bufSize)},
		settings: map[string]string{},
	}
}

func (c *conn) attach(up net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up, c.ur, c.uw = up, bufio.NewReaderSize(up, bufSize), bufio.NewWriterSize(up, bufSize)
}

// run serves the session until one side ends it.
func (c *conn) run() {
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		err := c.guard(c.relay)
		c.queue.close(errGone)
		c.cancelOwn(errClientGone)
		c.goodbye(err)
		c.client.Close()
		c.up.Close()
	}()
	err := c.guard(c.read)
	if isTimeout(err) {
		err = fatal(codeBadAuth, "the login took too long")
	}
	if err != nil && !isGone(err) {
		c.sendFatal(err)
	}
	c.queue.close(errGone)
	c.terminate()
	c.up.Close()
	<-relayed
}

// guard keeps a panic inside its session.
func (c *conn) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.opt.Logger.Error("panic in a session, which is closed", obs.KeyErr, p, "stack", string(debug.Stack()))
			err = fatal(codeInternal, "internal error in the proxy")
		}
	}()
	return f()
}

func isGone(err error) bool {
	return errors.Is(err, errGone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// goodbye tells the client, if it still listens, that this is not PostgreSQL's doing.
func (c *conn) goodbye(err error) {
	var e *Error
	if errors.As(err, &e) {
		c.sendFatal(e)
	}
}

func (c *conn) sendFatal(err error) {
	var e *Error
	if !errors.As(err, &e) {
		return
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.lastWord(e)
}

// lastWord writes the error that ends the session. A client that does not read must not hold up who says it.
func (c *conn) lastWord(e *Error) {
	buf, err := e.message(0).Encode(nil)
	if err != nil {
		return
	}
	c.client.SetWriteDeadline(time.Now().Add(lastWordTimeout))
	c.out.w.Write(buf)
	c.out.w.Flush()
}

// terminate says farewell to PostgreSQL, so that its log stays quiet.
func (c *conn) terminate() {
	c.uw.Write([]byte{'X', 0, 0, 0, 4})
	c.uw.Flush()
}

// drain ends the session if it is idle, or at once if it must. The client is told as by a PostgreSQL that shuts down.
func (c *conn) drain(force bool) {
	c.mu.Lock()
	busy := c.running != nil
	up, ended := c.up, c.ended
	c.mu.Unlock()
	inactive := !busy && c.queue.idle()
	if ended || !force && !inactive {
		return
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	if busy {
		c.cancelOwn(errShutdown)
	}
	if c.out.mu.TryLock() { // else the client is being written to, and does not read
		c.lastWord(fatal(errShutdown.Code, errShutdown.Message))
		c.out.mu.Unlock()
	}
	if force {
		c.arrived.Close() // without TLS's farewell, which may take its time
	} else {
		c.client.Close()
	}
	if up == nil {
		return
	}
	if !inactive && !busy { // what PostgreSQL is at for this client must not end well when the client hears the contrary
		if err := c.cancelUpstream(); err != nil {
			c.server.opt.Logger.Debug("cancel request not delivered", obs.KeyErr, err)
		}
	}
	up.Close()
}

// send writes messages of our own to the client.
func (c *conn) send(msgs ...pgproto3.BackendMessage) error {
	var buf []byte
	for _, m := range msgs {
		var err error
		if buf, err = m.Encode(buf); err != nil {
			return err
		}
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	_, err := c.out.w.Write(buf)
	return err
}

func (c *conn) flushClient() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.w.Flush()
}

// reading says how the client's texts are to be read.
func (c *conn) reading() Reading {
	return Reading{BackslashQuotes: c.setting("standard_conforming_strings") == "off"}
}

func (c *conn) setting(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settings[name]
}

// frame peeks at the next message's type and length, which counts itself but not the type.
func frame(r *bufio.Reader) (byte, int, error) {
	head, err := r.Peek(5)
	if err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > maxFrame {
		return 0, 0, fatal(codeProtocol, "invalid message length")
	}
	return head[0], int(n), nil
}

// body reads a whole message and returns what follows its length. It is valid until the next call.
func (c *conn) body(n int) ([]byte, error) {
	total := n + 1
	if total <= c.cr.Size() {
		msg, err := c.cr.Peek(total)
		if err != nil {
			return nil, err
		}
		c.scratch = append(c.scratch[:0], msg...)
		_, err = c.cr.Discard(total)
		return c.scratch[5:], err
	}
	if total > keepScratch { // memory is taken as bytes come, whatever length the message claims
		var buf bytes.Buffer
		if _, err := io.CopyN(&buf, c.cr, int64(total)); err != nil {
			return nil, err
		}
		return buf.Bytes()[5:], nil
	}
	if cap(c.scratch) < total {
		c.scratch = make([]byte, 0, total)
	}
	buf := c.scratch[:total]
	_, err := io.ReadFull(c.cr, buf)
	return buf[5:], err
}
