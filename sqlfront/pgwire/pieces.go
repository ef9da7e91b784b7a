package pgwire

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// runForeign runs a statement of PostgreSQL's that came in one Query with statements of ours, or that reads what we fill in.
// It goes by the extended protocol, without Sync, so that all of them and the filling are one transaction, as they would be
// in PostgreSQL; the client is shown the answers of the simple protocol. False: it failed, and the client has been told.
//
// A Query behind questions of our own will not do: from version 18 on PostgreSQL leaves their transaction open then.
func (c *conn) runForeign(p piece) (bool, error) {
	c.forgetPrepared(p.text)
	if p.fill && c.block() != Failed && !c.refusedAlone(p.text) {
		err := c.fill(p.text)
		var e *Error
		switch {
		case errors.As(err, &e):
			c.dirty = true // what the questions have begun ends with the Query
			return false, c.tell(e, 0)
		case err != nil:
			return false, err
		}
	}
	c.dirty = true
	owed := reply{piece: true, offset: p.offset, last: p.last, text: c.session.NearMiss(p.text)}
	for _, kind := range []byte("PBDE") {
		owed.kind = kind
		c.queue.push(owed)
	}
	err := c.post(&pgproto3.Parse{Query: p.text}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Flush{})
	for err == nil {
		var copying bool
		if copying, err = c.queue.waitCopy(); !copying {
			break
		}
		if err == nil {
			err = c.pump()
		}
	}
	_, _, skipping := c.queue.state()
	return !skipping, err
}

// hold keeps the end of a Query's last statement back until the transaction has ended too, as PostgreSQL does: the client
// must not take a statement for done whose commit fails.
func (c *conn) hold(msg []byte) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.held = msg
}

// release sends what hold has kept back, or drops it.
func (c *conn) release(send bool) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	held := c.out.held
	c.out.held = nil
	if !send || held == nil {
		return nil
	}
	_, err := c.out.w.Write(held)
	return err
}

// post writes messages of our own to PostgreSQL at once.
func (c *conn) post(msgs ...pgproto3.FrontendMessage) error {
	var buf []byte
	for _, m := range msgs {
		var err error
		if buf, err = m.Encode(buf); err != nil {
			return &Error{Code: codeProtocol, Message: err.Error()}
		}
	}
	if _, err := c.uw.Write(buf); err != nil {
		return errGone
	}
	if err := c.uw.Flush(); err != nil {
		return errGone
	}
	return nil
}

// pump passes the client's COPY data on, until the client or PostgreSQL ends it. PostgreSQL may end it, by an error, while
// the client is silent: then the wait for the client is broken off.
func (c *conn) pump() error {
	c.input.patient.Store(true)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.queue.waitCopyEnd()
		c.client.SetReadDeadline(time.Unix(1, 0))
	}()
	err := c.pumpFrames()
	if err != nil {
		c.queue.close(errGone)
	}
	<-ended
	c.client.SetReadDeadline(time.Time{})
	c.input.patient.Store(false)
	return err
}

func (c *conn) pumpFrames() error {
	for c.queue.copies() {
		c.input.patient.Store(false) // a message that has not begun may be given up
		t, n, err := frame(c.cr)
		c.input.patient.Store(true)
		if isTimeout(err) {
			continue
		}
		if err != nil {
			return err
		}
		if t == 'c' || t == 'f' {
			c.queue.push(reply{kind: owesCopyDone})
		}
		if err := copyFrame(c.uw, c.cr, n+1); err != nil {
			return err
		}
		if t == 'c' || t == 'f' { // PostgreSQL has ignored the Flush before
			if err := writeFrame(c.uw, 'H', nil); err != nil {
				return err
			}
		}
		if c.cr.Buffered() < 5 || t != 'd' {
			if err := c.uw.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// input is the client's side. It can be patient: then it reads on beyond the deadline, so that no message is cut in two.
type input struct {
	conn interface {
		Read([]byte) (int, error)
		SetReadDeadline(time.Time) error
	}
	patient atomic.Bool
}

func (in *input) Read(b []byte) (int, error) {
	for {
		n, err := in.conn.Read(b)
		if n > 0 || !isTimeout(err) || !in.patient.Load() {
			return n, err
		}
		if err := in.conn.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
}
