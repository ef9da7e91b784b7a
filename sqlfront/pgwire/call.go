package pgwire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// ownName names the prepared statement and the portal of our own questions. The unnamed ones belong to the client.
const ownName = "spillway"

// call is a question of our own to PostgreSQL. The relay goroutine fills it in.
type call struct {
	sql  string
	rows [][]*string
	err  *Error
}

// upstream implements Upstream.
type upstream struct{ c *conn }

var _ Upstream = (*upstream)(nil)

func (u *upstream) Block() Block               { return u.c.block() }
func (u *upstream) Setting(name string) string { return u.c.setting(name) }

func (u *upstream) Release() error {
	if u.c.block() != Idle {
		return nil
	}
	return u.c.endCalls()
}

func (u *upstream) Query(ctx context.Context, sql string, args ...string) ([][]*string, error) {
	if err := ctx.Err(); err != nil {
		return nil, asError(ctx, err)
	}
	c := u.c
	c.setAsking(true)
	defer c.setAsking(false)
	rows, err := c.ask(sql, args)
	if err != nil && c.block() != Implicit {
		if err := c.recover(); err != nil {
			return nil, err
		}
	}
	return rows, err
}

// ask sends a question and waits for its answer. There is no Sync: the question joins the client's transaction, implicit
// ones too.
func (c *conn) ask(sql string, args []string) ([][]*string, error) {
	q := &call{sql: sql}
	msgs := []pgproto3.FrontendMessage{
		// Both are left over if the last question failed while it ran.
		&pgproto3.Close{ObjectType: 'P', Name: ownName},
		&pgproto3.Close{ObjectType: 'S', Name: ownName},
		&pgproto3.Parse{Name: ownName, Query: sql, ParameterOIDs: textOIDs(len(args))},
		&pgproto3.Bind{DestinationPortal: ownName, PreparedStatement: ownName, Parameters: textParams(args)},
		&pgproto3.Execute{Portal: ownName},
		&pgproto3.Close{ObjectType: 'P', Name: ownName},
		&pgproto3.Close{ObjectType: 'S', Name: ownName},
		&pgproto3.Flush{},
	}
	c.called = true
	if err := c.transmit(q, "CCPBECC", msgs...); err != nil {
		return nil, err
	}
	if q.err != nil {
		return nil, q.err
	}
	return q.rows, nil
}

// transmit sends messages of our own, notes the replies that they bring, and waits for them.
func (c *conn) transmit(q *call, owes string, msgs ...pgproto3.FrontendMessage) error {
	for _, kind := range []byte(owes) {
		c.queue.push(reply{kind: kind, call: q})
	}
	if err := c.post(msgs...); err != nil {
		return err
	}
	return c.queue.wait()
}

// recover makes PostgreSQL listen again after an error. It is not used inside an implicit transaction, which it would end.
func (c *conn) recover() error {
	c.called = false
	return c.transmit(&call{}, "S", &pgproto3.Sync{})
}

// endCalls ends what our own questions have begun, outside of pipelines.
func (c *conn) endCalls() error {
	_, _, skipping := c.queue.state()
	if !c.called && !skipping && !c.dirty {
		return nil
	}
	c.dirty = false
	return c.recover()
}

func textOIDs(n int) []uint32 {
	oids := make([]uint32, n)
	for i := range oids {
		oids[i] = oidText
	}
	return oids
}

func textParams(args []string) [][]byte {
	out := make([][]byte, len(args))
	for i, a := range args {
		out[i] = []byte(a)
	}
	return out
}

// collect takes one message of an answer to our own question.
func (c *conn) collect(q *call, t byte, n int) error {
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	switch t {
	case 'D':
		row, ok := decodeRow(msg[5:])
		if !ok {
			return errors.New("PostgreSQL sent a row that cannot be read")
		}
		q.rows = append(q.rows, row)
	case 'E':
		q.err = decodeError(msg[5:])
		c.queue.failed()
	case 'C':
		tag, _, _ := cut(msg[5:])
		if strings.HasPrefix(q.sql, "ROLLBACK TO ") {
			tag = "" // PostgreSQL says ROLLBACK here, too
		}
		c.queue.completed(tag)
	case '1', '2', '3', 'I', 's':
		c.queue.pop()
	case 'Z':
		if len(msg) < 6 {
			return io.ErrUnexpectedEOF
		}
		c.queue.readied(msg[5])
	}
	return nil
}

func decodeRow(b []byte) ([]*string, bool) {
	if len(b) < 2 {
		return nil, false
	}
	row := make([]*string, binary.BigEndian.Uint16(b))
	b = b[2:]
	for i := range row {
		if len(b) < 4 {
			return nil, false
		}
		n := int(int32(binary.BigEndian.Uint32(b)))
		b = b[4:]
		if n < 0 {
			continue
		}
		if n > len(b) {
			return nil, false
		}
		s := string(b[:n])
		row[i], b = &s, b[n:]
	}
	return row, true
}

// begin makes the context of a statement of ours: it ends when the client goes away or asks for it. stop must be called;
// it reports whether the client is gone.
func (c *conn) begin() (context.Context, func() bool) {
	ctx, cancel := context.WithCancelCause(context.Background())
	c.mu.Lock()
	c.running = &running{cancel: cancel}
	c.mu.Unlock()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		// Bytes that come meanwhile are the next messages. When they fill the buffer, the client is watched no longer.
		for c.cr.Buffered() < c.cr.Size() {
			if _, err := c.cr.Peek(c.cr.Buffered() + 1); err != nil {
				if !isTimeout(err) {
					c.cancelOwn(errClientGone)
				}
				return
			}
		}
	}()
	return ctx, func() bool {
		c.client.SetReadDeadline(time.Unix(1, 0))
		<-watched
		c.client.SetReadDeadline(time.Time{})
		c.mu.Lock()
		c.running = nil
		c.mu.Unlock()
		gone := errors.Is(context.Cause(ctx), errClientGone)
		cancel(nil)
		return gone
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func (c *conn) setAsking(asking bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.running.asking = asking
	}
}

// cancelOwn cancels a statement of ours, if one runs, and what PostgreSQL does for it.
func (c *conn) cancelOwn(cause error) bool {
	c.mu.Lock()
	r := c.running
	asking := r != nil && r.asking
	c.mu.Unlock()
	if r == nil {
		return false
	}
	r.cancel(cause)
	if asking {
		if err := c.cancelUpstream(); err != nil {
			c.server.opt.Logger.Debug("cancel request not delivered", "error", err)
		}
	}
	return true
}
