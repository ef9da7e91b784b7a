package pgwire

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// piece is one statement of a text.
type piece struct {
	stmt   Statement // nil: PostgreSQL's
	err    error     // in a statement of ours, found while it was read
	fill   bool      // PostgreSQL's, over data that we fill in
	text   string
	offset int // characters before it
	last   bool
}

func (p piece) own() bool { return p.stmt != nil || p.err != nil }

// pieces returns the statements of a text, nil for one that is all PostgreSQL's and reads nothing that we fill in.
func (c *conn) pieces(text string) []piece {
	reading := c.reading()
	cut := []parse.Piece{{Text: text}}
	if several(text) && c.splittable(text) {
		cut = parse.Split(text, &parse.Options{BackslashQuotes: reading.BackslashQuotes})
	}
	some := false
	mentions := c.session.Mentions(text) || c.remembers(text)
	list := make([]piece, len(cut))
	for i, p := range cut {
		stmt, err := c.session.Prepare(p.Text, reading)
		if stmt != nil && err == nil {
			err = c.checkEncoding(p.Text)
		}
		list[i] = piece{stmt: stmt, err: err, text: p.Text, offset: p.Offset}
		if mentions && !list[i].own() {
			list[i].fill = (c.session.Mentions(p.Text) || c.remembers(p.Text)) && c.fillable(p.Text)
		}
		some = some || list[i].own() || list[i].fill
	}
	if !some {
		return nil
	}
	return list
}

// splittable reports whether a byte of a text is what it looks like. In some encodings the second byte of a character can be
// a backslash.
func (c *conn) splittable(text string) bool {
	switch c.setting("client_encoding") {
	case "SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB":
		return isASCII(text)
	}
	return true
}

// several reports whether a text may hold more than one statement.
func several(text string) bool {
	i := strings.IndexByte(text, ';')
	return i >= 0 && strings.TrimRight(text[i:], "; \t\r\n") != ""
}

// settle waits until PostgreSQL has answered everything so far. False: PostgreSQL ignores the client's messages up to the
// next Sync, so this one is ignored too.
func (c *conn) settle() (bool, error) {
	if c.behind {
		if err := writeFrame(c.uw, 'H', nil); err != nil {
			return false, err
		}
		c.behind = false
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
	return c.runQuery([]piece{{err: cause}})
}

// runQuery answers a message of the simple protocol that concerns us. As in PostgreSQL, an error in how one
// of them is written leaves all of them undone, and the first error of one that runs ends the rest. Those of PostgreSQL's
// are one transaction.
func (c *conn) runQuery(list []piece) error {
	for _, p := range list {
		if p.err != nil {
			list = []piece{p}
			break
		}
	}
	for i, p := range list {
		p.last = i == len(list)-1
		ok, err := c.runPiece(p)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
	}
	return c.endQuery()
}

// runPiece runs one statement of a Query. False: it failed, and the client has been told.
func (c *conn) runPiece(p piece) (bool, error) {
	if !p.own() {
		return c.runForeign(p)
	}
	err := c.runOne(p, nil, func(cols []Column, res *Result) error {
		if err := c.send(rowDescription(cols, nil)); err != nil {
			return err
		}
		if !p.last || !c.dirty {
			return c.sendRows(cols, nil, res.Rows, res.Tag)
		}
		if err := c.sendRows(cols, nil, res.Rows, ""); err != nil {
			return err
		}
		tag, err := (&pgproto3.CommandComplete{CommandTag: []byte(res.Tag)}).Encode(nil)
		c.hold(tag)
		return err
	})
	if err == nil || errors.Is(err, errGone) {
		return err == nil, err
	}
	return false, c.tell(asError(context.Background(), err), p.offset)
}

// tell sends an error of ours that ends a Query, and fails the transaction.
func (c *conn) tell(e *Error, offset int) error {
	if err := c.abort(e); err != nil {
		return err
	}
	return c.send(e.message(offset))
}

// endQuery ends a Query. What PostgreSQL has run of it is committed by a Sync, whose answer is the client's too: a
// constraint may be checked that late.
func (c *conn) endQuery() error {
	dirty := c.dirty
	if !dirty {
		if err := c.endCalls(); err != nil {
			return err
		}
	}
	if err := c.tellSettings(); err != nil {
		return err
	}
	if !dirty {
		return c.sendReady()
	}
	return c.sendSync()
}

// runOne runs one statement. The error is *Error, or errGone.
func (c *conn) runOne(o piece, args []*string, done func([]Column, *Result) error) error {
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
	if c.send(m) != nil || c.flushClient() != nil {
		c.cancelOwn(errClientGone)
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
