package pgwire

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// ours is a statement of ours inside a text.
type ours struct {
	stmt   Statement
	err    error // found while it was read; it counts when its turn comes
	offset int   // characters before it
}

// statements returns the statements of a text that is all ours, nil for a text that is all PostgreSQL's, and an error for
// a mixture.
func (c *conn) statements(text string) ([]ours, error) {
	reading := c.reading()
	pieces := []parse.Piece{{Text: text}}
	if several(text) {
		pieces = parse.Split(text, &parse.Options{BackslashQuotes: reading.BackslashQuotes})
	}
	var list []ours
	for _, p := range pieces {
		stmt, err := c.session.Prepare(p.Text, reading)
		if stmt != nil || err != nil {
			if err == nil {
				err = c.checkEncoding(p.Text)
			}
			list = append(list, ours{stmt: stmt, err: err, offset: p.Offset})
		}
	}
	if len(list) > 0 && len(list) < len(pieces) {
		return nil, &Error{Code: codeNotSupported, Position: list[0].offset + 1,
			Message: "statements of Spillway and of PostgreSQL cannot be sent in one message",
			Hint:    "send them one by one"}
	}
	return list, nil
}

// several reports whether a text may hold more than one statement.
func several(text string) bool {
	i := strings.IndexByte(text, ';')
	return i >= 0 && strings.TrimRight(text[i:], "; \t\r\n") != ""
}

// settle waits until PostgreSQL has answered everything so far. False: PostgreSQL ignores the client's messages up to the
// next Sync, so this one is ignored too.
func (c *conn) settle() (bool, error) {
	if c.dirty {
		if err := writeFrame(c.uw, 'H', nil); err != nil {
			return false, err
		}
	}
	if err := c.uw.Flush(); err != nil {
		return false, err
	}
	if err := c.queue.wait(); err != nil {
		return false, err
	}
	_, _, skipping := c.queue.state()
	return !skipping, nil
}

// refuseQuery answers a message of the simple protocol with an error.
func (c *conn) refuseQuery(cause error) error {
	return c.runQuery([]ours{{err: cause}})
}

// runQuery answers a message of the simple protocol whose statements are all ours. The first error ends it.
func (c *conn) runQuery(list []ours) error {
	for _, o := range list {
		err := c.runOne(o, nil, func(cols []Column, res *Result) error {
			return c.sendResult(cols, res)
		})
		if errors.Is(err, errGone) {
			return err
		}
		if err != nil {
			var e *Error
			errors.As(err, &e)
			if err := c.abort(e); err != nil {
				return err
			}
			if err := c.send(e.message(o.offset)); err != nil {
				return err
			}
			break
		}
	}
	if err := c.endCalls(); err != nil {
		return err
	}
	if err := c.tellSettings(); err != nil {
		return err
	}
	return c.sendReady()
}

func (c *conn) sendResult(cols []Column, res *Result) error {
	if err := c.send(rowDescription(cols, nil)); err != nil {
		return err
	}
	return c.sendRows(cols, nil, res.Rows, res.Tag)
}

// runOne runs one statement. The error is *Error, or errGone.
func (c *conn) runOne(o ours, args []*string, done func([]Column, *Result) error) error {
	if c.block() == Failed {
		return &Error{Code: codeInFailedTx, Message: "current transaction is aborted, commands ignored until end of transaction block"}
	}
	if o.err == nil && len(args) < o.stmt.Params() {
		o.err = &Error{Code: codeUndefinedParam, Message: "there is no parameter $1", Hint: "parameters need the extended protocol"}
	}
	if o.err != nil {
		return asError(context.Background(), o.err)
	}
	ctx, stop := c.begin()
	res, err := o.stmt.Run(ctx, &upstream{c: c}, args, c.notify)
	gone := stop()
	if gone {
		return errGone
	}
	if err != nil {
		return asError(ctx, err)
	}
	return done(o.stmt.Columns(), res)
}

// notify sends a notice at once.
func (c *conn) notify(n Notice) {
	code := n.Code
	if code == "" {
		code = "00000"
	}
	m := &pgproto3.NoticeResponse{Severity: "NOTICE", SeverityUnlocalized: "NOTICE", Code: code, Message: n.Message, Detail: n.Detail, Hint: n.Hint}
	if c.send(m) == nil {
		c.flushClient() // a client that went away is noticed by its reader
	}
}

// abort fails the client's transaction, as an error of PostgreSQL's own would.
func (c *conn) abort(e *Error) error {
	switch _, _, skipping := c.queue.state(); {
	case skipping:
		return nil
	case c.block() == Open, c.block() == Implicit:
	default:
		return nil
	}
	// This statement fails wherever it runs, and says in PostgreSQL's log why.
	_, err := c.ask("ROLLBACK TO SAVEPOINT "+parse.QuoteName(savepointText(e)), nil)
	var pe *Error
	if err == nil || errors.As(err, &pe) {
		return nil
	}
	return err
}

func savepointText(e *Error) string {
	return "spillway error " + e.Code
}

// block says where the client's transaction stands, once nothing is owed.
func (c *conn) block() Block {
	status, explicit, _ := c.queue.state()
	switch {
	case status == 'E':
		return Failed
	case explicit:
		return Open
	case c.dirty:
		return Implicit
	}
	return Idle
}
