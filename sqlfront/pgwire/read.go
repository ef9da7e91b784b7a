package pgwire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"
)

// read passes the client's messages on to PostgreSQL, and keeps what is ours.
func (c *conn) read() error {
	for {
		if c.cr.Buffered() < 5 {
			if err := c.uw.Flush(); err != nil {
				return err
			}
		}
		t, n, err := frame(c.cr)
		if err != nil {
			return err
		}
		if c.cr.Buffered() < n+1 {
			if err := c.uw.Flush(); err != nil {
				return err
			}
		}
		if t == 'X' {
			return nil
		}
		if c.raw || t == 'p' || !c.queue.isReady() {
			err = c.prove(t, n)
		} else {
			err = c.message(t, n)
		}
		if err != nil {
			return err
		}
	}
}

// prove passes on what is said before PostgreSQL has let the client in, and all of a replication session.
func (c *conn) prove(t byte, n int) error {
	if !c.queue.isReady() {
		if n > maxUnproven {
			return fatal(codeProtocol, "invalid message length")
		}
		if t != 'p' {
			// The client may send its first statement before it has seen ReadyForQuery.
			if err := c.uw.Flush(); err != nil {
				return err
			}
			ready, err := c.queue.waitReady()
			if err != nil {
				return err
			}
			if !ready {
				return fatal(codeProtocol, "expected a password response, got another message")
			}
			if !c.raw {
				return c.message(t, n)
			}
		}
	}
	if c.stripped.Load() && !c.queue.isReady() {
		return c.proveUnbound(n)
	}
	return copyFrame(c.uw, c.cr, n+1)
}

// message handles one message of a session that PostgreSQL has let in.
func (c *conn) message(t byte, n int) error {
	if c.session == nil {
		c.session = c.server.handler.Session(c.info)
	}
	if c.ignoring && t != 'S' {
		return c.skip(n)
	}
	switch t {
	case 'Q':
		return c.query(n)
	case 'P':
		return c.parse(n)
	case 'B', 'D', 'E', 'C':
		if len(c.stmts) == 0 && len(c.portals) == 0 {
			return c.forward(t, n)
		}
		return c.named(t, n)
	case 'S':
		return c.sync(n)
	case 'H':
		if err := copyFrame(c.uw, c.cr, n+1); err != nil {
			return err
		}
		if err := c.flushClient(); err != nil {
			return err
		}
		return c.uw.Flush()
	case 'F':
		c.queue.push(reply{kind: 'F'})
	case 'c', 'f':
		c.queue.push(reply{kind: owesCopyDone})
	}
	return copyFrame(c.uw, c.cr, n+1)
}

func (c *conn) skip(n int) error { return discard(c.cr, n+1) }

func discard(r *bufio.Reader, n int) error {
	_, err := r.Discard(n)
	return err
}

// forward passes a message of the extended protocol on.
func (c *conn) forward(t byte, n int) error {
	c.queue.push(reply{kind: t})
	c.behind, c.dirty = true, c.dirty || t != 'C'
	return copyFrame(c.uw, c.cr, n+1)
}

// forwardBody passes a message on whose body was already read.
func (c *conn) forwardBody(r reply, body []byte) error {
	c.queue.push(r)
	switch r.kind {
	case 'Q': // which ends an implicit transaction
		c.behind, c.dirty = false, false
	case 'C': // which begins none
		c.behind = true
	default:
		c.behind, c.dirty = true, true
	}
	return writeFrame(c.uw, r.kind, body)
}

// sync ends a pipeline. It always goes to PostgreSQL, whose ReadyForQuery tells the transaction's status.
func (c *conn) sync(n int) error {
	if err := c.skip(n); err != nil {
		return err
	}
	return c.sendSync()
}

func (c *conn) sendSync() error {
	c.ignoring, c.behind, c.dirty, c.called = false, false, false, false
	c.queue.push(reply{kind: 'S'})
	return writeFrame(c.uw, 'S', nil)
}

// query handles a message of the simple protocol: one text, which may hold many statements.
func (c *conn) query(n int) error {
	if n > c.server.opt.MaxStatement {
		return c.longQuery(n)
	}
	body, err := c.body(n)
	if err != nil {
		return err
	}
	text, ok := cString(body)
	if !ok {
		return c.forwardBody(reply{kind: 'Q'}, body)
	}
	delete(c.stmts, "") // as PostgreSQL does
	delete(c.portals, "")
	if pieces := c.pieces(text); pieces != nil {
		if ok, err := c.settle(); err != nil || !ok {
			return err
		}
		return c.runQuery(pieces)
	}
	c.forgetPrepared(text)
	return c.forwardBody(reply{kind: 'Q', text: c.session.NearMiss(text)}, body)
}

// longQuery passes on a text that is too long to look at, unless it begins like one of ours.
func (c *conn) longQuery(n int) error {
	head, err := c.cr.Peek(min(n+1, 1024))
	if err != nil {
		return err
	}
	if c.claims(head[5:]) {
		if err := c.skip(n); err != nil {
			return err
		}
		if ok, err := c.settle(); err != nil || !ok {
			return err
		}
		return c.refuseQuery(c.tooLong())
	}
	c.queue.push(reply{kind: 'Q'})
	return copyFrame(c.uw, c.cr, n+1)
}

// claims reports whether a text is one of ours. Its end is cut off, so an error in it means nothing.
func (c *conn) claims(head []byte) bool {
	stmt, err := c.session.Prepare(wholeRunes(head), c.reading())
	return stmt != nil || err != nil
}

func (c *conn) tooLong() *Error {
	return &Error{Code: codeTooLarge, Message: fmt.Sprintf("the statement is longer than %d bytes", c.server.opt.MaxStatement)}
}

// wholeRunes cuts off a character that is not complete.
func wholeRunes(b []byte) string {
	for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.Valid(b); i++ {
		b = b[:len(b)-1]
	}
	return string(b)
}

// cString returns a body that is one string with a zero byte behind it.
func cString(body []byte) (string, bool) {
	if i := bytes.IndexByte(body, 0); i >= 0 && i == len(body)-1 {
		return string(body[:i]), true
	}
	return "", false // PostgreSQL says what is wrong with it
}

// cut splits a string off the front of a body.
func cut(body []byte) (string, []byte, bool) {
	s, rest, ok := bytes.Cut(body, []byte{0})
	return string(s), rest, ok
}

// checkEncoding refuses texts of ours whose characters we could not count or compare.
func (c *conn) checkEncoding(text string) error {
	enc := c.setting("client_encoding")
	if enc == "" || enc == "UTF8" || isASCII(text) {
		if !utf8.ValidString(text) {
			return &Error{Code: codeEncoding, Message: "invalid byte sequence for encoding \"UTF8\""}
		}
		return nil
	}
	return &Error{Code: codeNotSupported, Message: "this statement has characters beyond ASCII, and client_encoding is " + enc,
		Hint: "SET client_encoding = 'UTF8' first"}
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func writeFrame(w *bufio.Writer, t byte, body []byte) error {
	head := binary.BigEndian.AppendUint32(append(w.AvailableBuffer(), t), uint32(len(body)+4))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(body)
	return err
}

func (c *conn) sendReady() error {
	status, _, _ := c.queue.state()
	if err := c.send(&pgproto3.ReadyForQuery{TxStatus: status}); err != nil {
		return err
	}
	return c.flushClient()
}
