package pgwire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"
)

// relay passes PostgreSQL's messages on to the client, except for answers to our own questions.
func (c *conn) relay() error {
	rows := false // the last message was passed on, and rows may follow it
	for {
		if c.ur.Buffered() < 5 {
			if err := c.flushClient(); err != nil {
				return err
			}
		}
		t, n, err := frame(c.ur)
		if err != nil {
			return err
		}
		if c.ur.Buffered() < n+1 {
			if err := c.flushClient(); err != nil {
				return err
			}
		}
		if (t == 'D' || t == 'd') && rows {
			if err := c.pass(n); err != nil {
				return err
			}
			continue
		}
		if rows, err = c.answer(t, n); err != nil {
			return err
		}
	}
}

// pass copies one message to the client.
func (c *conn) pass(n int) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return copyFrame(c.out.w, c.ur, n+1)
}

func copyFrame(w *bufio.Writer, r *bufio.Reader, total int) error {
	if total <= r.Size() {
		msg, err := r.Peek(total)
		if err != nil {
			return err
		}
		if _, err := w.Write(msg); err != nil {
			return err
		}
		_, err = r.Discard(total)
		return err
	}
	_, err := io.CopyN(w, r, int64(total))
	return err
}

// take reads one whole message of PostgreSQL's. Memory is taken as bytes come, whatever length the message claims.
func (c *conn) take(n int) ([]byte, error) {
	if n+1 <= c.ur.Size() {
		head, err := c.ur.Peek(n + 1)
		if err != nil {
			return nil, err
		}
		msg := bytes.Clone(head)
		_, err = c.ur.Discard(n + 1)
		return msg, err
	}
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, c.ur, int64(n+1)); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// answer handles a message that is not just one more row. It reports whether rows may follow that are only passed on.
func (c *conn) answer(t byte, n int) (rows bool, err error) {
	switch t {
	case 'N', 'A', 'S', 'K', 'R':
		return false, c.aside(t, n)
	}
	owed, ok := c.queue.head()
	if owed.call != nil {
		return false, c.collect(owed.call, t, n)
	}
	if c.raw {
		ok = false
	}
	switch t {
	case '1', '2', 'n':
		if t == '1' && owed.parsed != nil {
			owed.parsed.known = true // whoever waits for the queue sees it
		}
		if owed.piece { // the simple protocol has no such answers
			c.queue.pop()
			return false, discard(c.ur, n+1)
		}
	case 'E':
		return false, c.passError(owed, n)
	case 'C':
		return false, c.passComplete(owed, n)
	case 'Z':
		return false, c.passReady(owed, n)
	}
	if err := c.pass(n); err != nil {
		return false, err
	}
	c.settleReply(t, owed.kind, ok)
	return ok && owed.call == nil && (t == 'T' || t == 'D' || t == 'd' || t == 'H'), nil
}

// settleReply removes a reply from the queue if this message was its last.
func (c *conn) settleReply(t, owed byte, ok bool) {
	if !ok {
		return
	}
	switch {
	case t == '1' && owed == 'P', t == '2' && owed == 'B', t == '3' && owed == 'C',
		t == 'T' && owed == 'D', t == 'n' && owed == 'D',
		t == 'I' && owed == 'E', t == 's' && owed == 'E':
		c.queue.pop()
	case t == 'G':
		c.queue.copying()
	}
}

// aside handles what PostgreSQL may say at any time, and the messages of start-up.
func (c *conn) aside(t byte, n int) error {
	if t != 'S' && t != 'K' {
		if owed, _ := c.queue.head(); t == 'N' && owed.call != nil {
			return discard(c.ur, n+1) // a notice about a question that the client did not ask
		}
		if t == 'R' {
			return c.passAuth(n)
		}
		return c.pass(n)
	}
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	if t == 'S' {
		return c.passSetting(msg)
	}
	if len(msg) >= 5+8 {
		copy(msg[5:], c.setKey(msg[5:]))
	}
	return c.write(msg)
}

// passAuth passes on a message of the authentication. All but the last one ask for an answer.
func (c *conn) passAuth(n int) error {
	if n > maxUnproven {
		return fatal(codeProtocol, "PostgreSQL sent an authentication message that is too long")
	}
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	if len(msg) >= 9 {
		kind := binary.BigEndian.Uint32(msg[5:])
		if kind == authSASL && !c.binding.possible {
			msg = c.withoutBinding(msg)
		}
		c.queue.authenticating(kind != 0)
	}
	return c.write(msg)
}

// passSetting notes a setting. While a question of our own is at work, the client is told at its end, and only of what
// then differs from what it knows.
func (c *conn) passSetting(msg []byte) error {
	name, rest, _ := bytes.Cut(msg[5:], []byte{0})
	value, _, _ := bytes.Cut(rest, []byte{0})
	owed, _ := c.queue.head()
	c.mu.Lock()
	old := c.settings[string(name)]
	c.settings[string(name)] = string(value)
	held := owed.call != nil
	if held {
		if c.told == nil {
			c.told = map[string]string{}
		}
		if _, ok := c.told[string(name)]; !ok {
			c.told[string(name)] = old
		}
	}
	c.mu.Unlock()
	if held {
		return nil
	}
	if owed.kind == 'S' {
		if err := c.release(true); err != nil {
			return err
		}
	}
	return c.write(msg)
}

// tellSettings tells the client of settings that our own questions have changed for good.
func (c *conn) tellSettings() error {
	c.mu.Lock()
	var msgs []pgproto3.BackendMessage
	for name, old := range c.told {
		if value := c.settings[name]; value != old {
			msgs = append(msgs, &pgproto3.ParameterStatus{Name: name, Value: value})
		}
	}
	c.told = nil
	c.mu.Unlock()
	if len(msgs) == 0 {
		return nil
	}
	return c.send(msgs...)
}

func (c *conn) write(msg []byte) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	_, err := c.out.w.Write(msg)
	return err
}

// passError passes an error on. A syntax error that looks like a mistyped statement of ours gets a hint.
func (c *conn) passError(owed reply, n int) error {
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	if owed.text != "" && bytes.Contains(msg, []byte("C42601\x00")) {
		msg = withField(msg, 'H', func(string) string { return owed.text })
	}
	if owed.kind == owesStart && bytes.Contains(msg, []byte("certificate")) {
		msg = withField(msg, 'H', func(string) string { return certificateHint })
	}
	if owed.offset > 0 {
		msg = withField(msg, 'P', func(at string) string { return moved(at, owed.offset) })
	}
	if err := c.release(false); err != nil {
		return err
	}
	if err := c.write(msg); err != nil {
		return err
	}
	c.queue.failed()
	return nil
}

// certificateHint goes with errors of pg_hba.conf rules that want a certificate.
const certificateHint = "certificates end at the proxy: give this user a rule with scram-sha-256 for the proxy's address in pg_hba.conf"

// withField changes one field of an ErrorResponse. value is given what the field holds, "" if it is absent, and returns what
// it shall hold. A hint that is there stays.
func withField(msg []byte, code byte, value func(string) string) []byte {
	out := append([]byte(nil), msg[:5]...)
	old := ""
	for _, field := range bytes.Split(msg[5:], []byte{0}) {
		switch {
		case len(field) == 0:
			continue
		case field[0] != code:
			out = append(append(out, field...), 0)
		default:
			old = string(field[1:])
		}
	}
	if code != 'H' || old == "" {
		old = value(old)
	}
	if old != "" {
		out = append(append(append(out, code), old...), 0)
	}
	out = append(out, 0)
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-1))
	return out
}

// moved adds to a position. A text that has none stays without.
func moved(at string, offset int) string {
	if n, err := strconv.Atoi(at); err == nil {
		return strconv.Itoa(n + offset)
	}
	return at
}

func (c *conn) passComplete(owed reply, n int) error {
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	tag, _, _ := bytes.Cut(msg[5:], []byte{0})
	if owed.last {
		c.hold(msg)
	} else if err := c.write(msg); err != nil {
		return err
	}
	c.queue.completed(string(tag))
	return nil
}

func (c *conn) passReady(owed reply, n int) error {
	msg, err := c.take(n)
	if err != nil {
		return err
	}
	if len(msg) < 6 {
		return errors.New("ReadyForQuery without a status")
	}
	if owed.kind == 'S' {
		if err := c.release(true); err != nil {
			return err
		}
	}
	// The client hears of it first: whoever waits for the queue may write next.
	if err := c.write(msg); err != nil {
		return err
	}
	if owed.kind == owesStart {
		c.server.letIn(c)
	}
	c.queue.readied(msg[5])
	return nil
}
