package pgwire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// prepared is a prepared statement that concerns us.
type prepared struct {
	own   Statement // nil: PostgreSQL's, over data that we fill in
	text  string    // then its text
	known bool      // PostgreSQL has prepared that very text; it may have refused, or never have looked. Read it when nothing is owed
}

// portal is a bound statement of ours.
type portal struct {
	own     Statement
	args    []*string
	formats []int16
	epoch   int     // it is gone with its transaction
	result  *Result // once executed, without the rows that were sent
}

// parse handles a Parse message.
func (c *conn) parse(n int) error {
	if n > c.server.opt.MaxStatement {
		return c.forwardLong('P', n)
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
	switch {
	case c.block() == Failed:
		return c.refuse(errFailedTx())
	case perr != nil:
		return c.refuse(perr)
	}
	if err := checkParams(stmt, body); err != nil {
		return c.refuse(err)
	}
	if name != "" {
		if err := c.shadow('P', &pgproto3.Parse{Name: name, Query: placeholder}); err != nil {
			return c.refuse(err)
		}
	}
	if !c.remember(name, &prepared{own: stmt}) {
		return c.refuse(&Error{Code: codeTooLarge, Message: fmt.Sprintf("more than %d prepared statements", maxPrepared)})
	}
	return c.send(&pgproto3.ParseComplete{})
}

// checkParams looks at the types that a client has declared for the parameters. Ours are texts.
func checkParams(stmt Statement, body []byte) error {
	var m pgproto3.Parse
	if err := m.Decode(body); err != nil {
		return &Error{Code: codeProtocol, Message: "invalid Parse message"}
	}
	for i, oid := range m.ParameterOIDs {
		switch oid {
		case 0, oidText, oidVarchar, oidBpchar, oidName, oidUnknown:
			continue
		}
		if i < stmt.Params() {
			return &Error{Code: codeDatatype, Message: fmt.Sprintf("parameter $%d must be of type text", i+1), Hint: "cast it in the client, or send it as a string"}
		}
	}
	return nil
}

// placeholder is what PostgreSQL prepares under the name of a statement of ours, so that its list stays the only one: it
// finds duplicates, and DEALLOCATE and DISCARD work as ever. It cannot run.
const placeholder = "SELECT pg_catalog.current_setting('a statement of Spillway, which is run by the protocol and not by EXECUTE')"

// shadow tells PostgreSQL about a named statement of ours, unseen by the client. Outside of pipelines a Sync follows, so
// that no transaction stays open. The error is PostgreSQL's, or errGone.
func (c *conn) shadow(kind byte, m pgproto3.FrontendMessage) error {
	q := &call{}
	var err error
	if c.dirty {
		err = c.transmit(q, string(kind), m, &pgproto3.Flush{})
	} else {
		c.called = false
		err = c.transmit(q, string(kind)+"S", m, &pgproto3.Sync{})
	}
	if err == nil && q.err != nil {
		err = q.err
	}
	return err
}

func errFailedTx() *Error {
	return &Error{Code: codeInFailedTx, Message: "current transaction is aborted, commands ignored until end of transaction block"}
}

func (c *conn) parseForeign(name, text string, body []byte) error {
	if name == "" {
		delete(c.stmts, "")
	}
	c.forgetPrepared(text)
	owed := reply{kind: 'P', text: c.session.NearMiss(text)}
	// Under the name of one of ours it fails: PostgreSQL has the placeholder.
	if c.stmts[name] == nil && (c.session.Mentions(text) || c.remembers(text)) {
		p := &prepared{text: text}
		if c.remember(name, p) && name == "" { // under another name a function could prepare something else
			owed.parsed = p
		} // beyond the bound nothing is filled in, and the view says so
	}
	return c.forwardBody(owed, body)
}

// maxPrepared bounds what one client can make us remember.
const maxPrepared = 10_000

func (c *conn) remember(name string, p *prepared) bool {
	if c.stmts == nil {
		c.stmts = map[string]*prepared{}
	}
	room := len(c.stmts) < maxPrepared || c.stmts[name] != nil
	if room {
		c.stmts[name] = p
	}
	return room
}

// refuse answers a message of the extended protocol with an error: the transaction fails, and everything up to Sync is
// ignored.
func (c *conn) refuse(cause error) error {
	if errors.Is(cause, errGone) {
		return cause
	}
	e := asError(context.Background(), cause)
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
		return c.forwardLong(t, n)
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
		if stmt != nil && c.fillable(stmt.text) {
			return c.bindFilled(stmt, body)
		}
		return c.forwardBody(reply{kind: 'B'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	c.sweepPortals()
	var m pgproto3.Bind
	err := m.Decode(body)
	switch {
	case c.block() == Failed:
		return c.refuse(errFailedTx())
	case err != nil:
		return c.refuse(&Error{Code: codeProtocol, Message: "invalid Bind message"})
	case len(m.Parameters) != stmt.own.Params():
		return c.refuse(&Error{Code: codeProtocol, Message: fmt.Sprintf("bind message supplies %d parameters, but prepared statement %q requires %d",
			len(m.Parameters), stmtName, stmt.own.Params())})
	case name != "" && c.portals[name] != nil:
		return c.refuse(&Error{Code: codeDuplicateCursor, Message: fmt.Sprintf("cursor %q already exists", name)})
	}
	p := &portal{own: stmt.own, formats: append([]int16(nil), m.ResultFormatCodes...), epoch: c.queue.epoch()}
	for _, b := range m.Parameters {
		var arg *string
		if b != nil { // text and binary are the same for type text
			s := string(b)
			arg = &s
		}
		p.args = append(p.args, arg)
	}
	if !c.open(name, p) {
		return c.refuse(&Error{Code: codeTooLarge, Message: fmt.Sprintf("more than %d portals", maxPrepared)})
	}
	return c.send(&pgproto3.BindComplete{})
}

func (c *conn) open(name string, p *portal) bool {
	if c.portals == nil {
		c.portals = map[string]*portal{}
	}
	room := len(c.portals) < maxPrepared || c.portals[name] != nil
	if room {
		c.portals[name] = p
	}
	return room
}

// sweepPortals forgets those of ours whose transaction has ended. Nothing may be owed.
func (c *conn) sweepPortals() {
	for name, p := range c.portals {
		if p.epoch != c.queue.epoch() {
			delete(c.portals, name)
		}
	}
}

func (c *conn) describe(body []byte) error {
	var msgs []pgproto3.BackendMessage
	if len(body) > 1 {
		name, _, _ := cut(body[1:])
		switch s, p := c.stmts[name], c.portals[name]; {
		case body[0] == 'S' && s != nil && s.own != nil:
			msgs = append(msgs, &pgproto3.ParameterDescription{ParameterOIDs: textOIDs(s.own.Params())}, rowDescription(s.own.Columns(), nil))
		case body[0] == 'P' && p != nil:
			msgs = append(msgs, rowDescription(p.own.Columns(), p.formats))
		}
	}
	if msgs == nil {
		return c.forwardBody(reply{kind: 'D'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if c.block() == Failed {
		return c.refuse(errFailedTx())
	}
	return c.send(msgs...)
}

func (c *conn) execute(body []byte) error {
	name, rest, _ := cut(body)
	p := c.portals[name]
	if p == nil {
		return c.forwardBody(reply{kind: 'E'}, body)
	}
	most := 0
	if len(rest) == 4 {
		most = int(int32(binary.BigEndian.Uint32(rest)))
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if c.sweepPortals(); c.portals[name] == nil {
		return c.forwardBody(reply{kind: 'E'}, body) // PostgreSQL says that there is none
	}
	if c.block() == Failed {
		return c.refuse(errFailedTx())
	}
	if p.result == nil {
		if err := c.runPortal(p); err != nil {
			return c.refuse(err)
		}
	}
	return c.sendPortion(p, most)
}

func (c *conn) runPortal(p *portal) error {
	wasDirty := c.dirty
	err := c.runOne(piece{stmt: p.own}, p.args, func(_ []Column, res *Result) error {
		p.result = res
		return nil
	})
	if err != nil || wasDirty {
		return err
	}
	if err := c.endCalls(); err != nil {
		return err
	}
	return c.tellSettings()
}

// sendPortion sends the next rows of a portal, most of them at most unless that is 0.
func (c *conn) sendPortion(p *portal, most int) error {
	rows, tag := p.result.Rows, p.result.Tag
	if most > 0 && most < len(rows) {
		rows, tag = rows[:most], ""
	}
	if p.result.Rows = p.result.Rows[len(rows):]; len(p.result.Rows) == 0 {
		p.result.Rows = nil
	}
	if err := c.sendRows(p.own.Columns(), p.formats, rows, tag); err != nil || tag != "" {
		return err
	}
	return c.send(&pgproto3.PortalSuspended{})
}

func (c *conn) close(body []byte) error {
	var own, shadowed bool
	var name string
	if len(body) > 1 {
		name, _, _ = cut(body[1:])
		if body[0] == 'S' {
			own = c.stmts[name] != nil && c.stmts[name].own != nil
			shadowed = own && name != ""
			delete(c.stmts, name)
		} else {
			own = c.portals[name] != nil
			delete(c.portals, name)
		}
	}
	if !own {
		return c.forwardBody(reply{kind: 'C'}, body)
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	if shadowed {
		if err := c.shadow('C', &pgproto3.Close{ObjectType: 'S', Name: name}); err != nil {
			return c.refuse(err)
		}
	}
	return c.send(&pgproto3.CloseComplete{})
}

// forwardLong passes on a message of the extended protocol that is too long to look at, but for the name that it redefines.
func (c *conn) forwardLong(t byte, n int) error {
	head, err := c.cr.Peek(c.cr.Size())
	if err != nil {
		return err
	}
	name, rest, ok := cut(head[5:])
	switch {
	case t == 'P' && ok:
		if name == "" {
			delete(c.stmts, "")
		}
		if c.claims(rest) {
			return c.refuseLong(n)
		}
	case t == 'B' && ok:
		delete(c.portals, name)
	case t == 'B':
		c.portals = nil
	}
	return c.forward(t, n)
}

// refuseLong answers a Parse of ours that is too long.
func (c *conn) refuseLong(n int) error {
	if err := c.skip(n); err != nil {
		return err
	}
	if ok, err := c.settle(); err != nil || !ok {
		return err
	}
	return c.refuse(c.tooLong())
}

// forgetPrepared follows DEALLOCATE and DISCARD, which PostgreSQL carries out. Should it not, what was forgotten too early
// is an error to the client: the placeholder cannot run, and a view that was not filled says so.
func (c *conn) forgetPrepared(text string) {
	if len(c.stmts) == 0 {
		return
	}
	verb := parse.FirstWord(text)
	if verb != "DISCARD" && verb != "DEALLOCATE" {
		return
	}
	words := parse.Words(text, 3) // DEALLOCATE [PREPARE] name
	switch last := words[len(words)-1]; {
	case last == "ALL":
		c.stmts, c.portals = nil, nil
	case verb == "DEALLOCATE": // a name that was not quoted comes in upper case
		delete(c.stmts, last)
		delete(c.stmts, strings.ToLower(last))
	}
}
