package pgwire

import (
	"encoding/binary"
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// prepared is a prepared statement that concerns us.
type prepared struct {
	own  Statement // nil: PostgreSQL's, over data that we fill in
	text string    // then its text
}

// portal is a bound statement that concerns us.
type portal struct {
	own     Statement // nil: PostgreSQL's
	args    []*string
	formats []int16
	result  *Result // once executed
	sent    int     // rows
}

// parse handles a Parse message.
func (c *conn) parse(n int) error {
	if n > c.server.opt.MaxStatement {
		delete(c.stmts, "")
		return c.forward('P', n)
	}
	body, err := c.body(n)
	if err != nil {
		return err
	}
	name, rest, ok := cut(body)
	text, _, ok2 := cut(rest)
	if !ok || !ok2 {
		return c.forwardBody(reply{kind: 'P'}, body)
	}
	stmt, perr := c.session.Prepare(text, c.reading())
	if stmt == nil && perr == nil {
		return c.parseForeign(name, text, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if perr == nil {
		perr = c.checkEncoding(text)
	}
	old := c.stmts[name]
	switch {
	case c.block() == Failed:
		return c.refuse(errFailedTx())
	case perr != nil:
		return c.refuse(perr)
	case name != "" && old != nil && old.own != nil:
		return c.refuse(&Error{Code: codeDuplicateStmt, Message: "prepared statement \"" + name + "\" already exists"})
	}
	c.remember(name, &prepared{own: stmt})
	return c.send(&pgproto3.ParseComplete{})
}

func errFailedTx() *Error {
	return &Error{Code: codeInFailedTx, Message: "current transaction is aborted, commands ignored until end of transaction block"}
}

func (c *conn) parseForeign(name, text string, body []byte) error {
	if name == "" {
		delete(c.stmts, "")
	}
	c.forgetPrepared(text)
	if old := c.stmts[name]; old != nil && old.own != nil { // PostgreSQL does not know of it
		if ok, err := c.settle(); err != nil || !ok {
			return err
		}
		return c.refuse(&Error{Code: codeDuplicateStmt, Message: "prepared statement \"" + name + "\" already exists"})
	}
	if c.session.Mentions(text) || c.remembers(text) {
		c.remember(name, &prepared{text: text})
	}
	return c.forwardBody(reply{kind: 'P', text: c.session.NearMiss(text)}, body)
}

// maxPrepared bounds what one client can make us remember.
const maxPrepared = 10_000

func (c *conn) remember(name string, p *prepared) {
	if c.stmts == nil {
		c.stmts = map[string]*prepared{}
	}
	if len(c.stmts) < maxPrepared || c.stmts[name] != nil {
		c.stmts[name] = p
	}
}

// refuse answers a message of the extended protocol with an error: the transaction fails, and everything up to Sync is
// ignored.
func (c *conn) refuse(cause error) error {
	var e *Error
	if !errors.As(cause, &e) {
		e = &Error{Code: codeInternal, Message: cause.Error()}
	}
	if err := c.abort(e); err != nil {
		return err
	}
	c.ignoring = true
	if err := c.send(e.message(0)); err != nil {
		return err
	}
	return c.flushClient()
}

// named handles Bind, Describe, Execute and Close while some statement concerns us.
func (c *conn) named(t byte, n int) error {
	if n > c.server.opt.MaxStatement {
		return c.forward(t, n)
	}
	body, err := c.body(n)
	if err != nil {
		return err
	}
	switch t {
	case 'B':
		return c.bind(body)
	case 'D':
		return c.describe(body)
	case 'E':
		return c.execute(body)
	}
	return c.close(body)
}

func (c *conn) bind(body []byte) error {
	name, rest, ok := cut(body)
	stmtName, _, ok2 := cut(rest)
	stmt := c.stmts[stmtName]
	if !ok || !ok2 || stmt == nil || stmt.own == nil {
		delete(c.portals, name)
		if stmt != nil {
			c.open(name, &portal{})
		}
		return c.forwardBody(reply{kind: 'B'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if c.block() == Failed {
		return c.refuse(errFailedTx())
	}
	var m pgproto3.Bind
	if err := m.Decode(body); err != nil {
		return c.refuse(&Error{Code: codeProtocol, Message: "invalid Bind message"})
	}
	if len(m.Parameters) != stmt.own.Params() {
		return c.refuse(&Error{Code: codeProtocol, Message: "bind message supplies another number of parameters than the statement requires"})
	}
	p := &portal{own: stmt.own, formats: append([]int16(nil), m.ResultFormatCodes...)}
	for _, b := range m.Parameters {
		var arg *string
		if b != nil { // text and binary are the same for type text
			s := string(b)
			arg = &s
		}
		p.args = append(p.args, arg)
	}
	c.open(name, p)
	return c.send(&pgproto3.BindComplete{})
}

func (c *conn) open(name string, p *portal) {
	if c.portals == nil {
		c.portals = map[string]*portal{}
	}
	if len(c.portals) < maxPrepared || c.portals[name] != nil {
		c.portals[name] = p
	}
}

func (c *conn) describe(body []byte) error {
	var msgs []pgproto3.BackendMessage
	if len(body) > 1 {
		name, _, _ := cut(body[1:])
		switch s, p := c.stmts[name], c.portals[name]; {
		case body[0] == 'S' && s != nil && s.own != nil:
			msgs = append(msgs, &pgproto3.ParameterDescription{ParameterOIDs: textOIDs(s.own.Params())}, rowDescription(s.own.Columns(), nil))
		case body[0] == 'P' && p != nil && p.own != nil:
			msgs = append(msgs, rowDescription(p.own.Columns(), p.formats))
		}
	}
	if msgs == nil {
		return c.forwardBody(reply{kind: 'D'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	return c.send(msgs...)
}

func (c *conn) execute(body []byte) error {
	name, rest, _ := cut(body)
	p := c.portals[name]
	if p == nil {
		return c.forwardBody(reply{kind: 'E'}, body)
	}
	if p.own == nil {
		return c.executeFilled(body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if p.result == nil {
		err := c.runOne(ours{stmt: p.own}, p.args, func(_ []Column, res *Result) error {
			p.result = res
			return nil
		})
		switch {
		case errors.Is(err, errGone):
			return err
		case err != nil:
			return c.refuse(err)
		}
		if !c.dirty {
			if err := c.endCalls(); err != nil {
				return err
			}
			if err := c.tellSettings(); err != nil {
				return err
			}
		}
	}
	rows, tag := p.result.Rows[p.sent:], p.result.Tag
	if len(rest) == 4 {
		if most := int(int32(binary.BigEndian.Uint32(rest))); most > 0 && most < len(rows) {
			rows, tag = rows[:most], ""
		}
	}
	p.sent += len(rows)
	if err := c.sendRows(p.own.Columns(), p.formats, rows, tag); err != nil || tag != "" {
		return err
	}
	return c.send(&pgproto3.PortalSuspended{})
}

func (c *conn) close(body []byte) error {
	own := false
	if len(body) > 1 {
		name, _, _ := cut(body[1:])
		if body[0] == 'S' {
			own = c.stmts[name] != nil && c.stmts[name].own != nil
			delete(c.stmts, name)
		} else {
			own = c.portals[name] != nil && c.portals[name].own != nil
			delete(c.portals, name)
		}
	}
	if !own {
		return c.forwardBody(reply{kind: 'C'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	return c.send(&pgproto3.CloseComplete{})
}

// forgetPrepared follows DEALLOCATE and DISCARD, which PostgreSQL carries out for its own statements.
func (c *conn) forgetPrepared(text string) {
	if len(c.stmts) == 0 {
		return
	}
	switch parse.FirstWord(text) {
	case "DISCARD":
		c.stmts, c.portals = nil, nil
	case "DEALLOCATE":
		words := parse.Words(text, 3)
		if len(words) > 1 && words[len(words)-1] == "ALL" {
			c.stmts, c.portals = nil, nil
		}
	}
}
