package pgwire

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// The first packet of a connection has no type byte; its code says what it is.
const (
	codeSSL      = 80877103
	codeGSS      = 80877104
	codeCancel   = 80877102
	maxStartup   = 10_000 // as PostgreSQL has it
	maxQuestions = 4      // SSLRequest and the like before the start-up message

	cancelTimeout = 2 * time.Second
)

// start reads what a client says first. It returns nil without an error when there is nothing more to do.
func (s *Server) start(nc net.Conn) (*conn, error) {
	arrived := nc
	nc.SetDeadline(time.Now().Add(s.opt.StartTimeout))
	nc, shown, err := s.directTLS(nc)
	if err != nil {
		return nil, err
	}
	for range maxQuestions {
		packet, err := readStartup(nc)
		if err != nil {
			return nil, err
		}
		switch code := binary.BigEndian.Uint32(packet[4:]); {
		case code == codeSSL && s.opt.TLS != nil && shown == nil:
			// Nothing was read beyond the request, so no byte from before can slip into the session.
			if _, err := nc.Write([]byte{'S'}); err != nil {
				return nil, err
			}
			if nc, shown, err = handshake(nc, s.opt.TLS); err != nil {
				return nil, err
			}
		case code == codeSSL, code == codeGSS:
			if _, err := nc.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == codeCancel:
			return nil, s.cancel(packet)
		case code>>16 == 3 && s.refusal != nil:
			return nil, refuse(nc, s.refusal)
		case code>>16 == 3:
			return s.open(arrived, nc, packet, shown)
		default:
			e := fatal(codeNotSupported, fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.2", code>>16, code&0xffff))
			return nil, refuse(nc, e)
		}
	}
	return nil, errors.New("too many requests before the start-up message")
}

func readStartup(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxStartup {
		return nil, fmt.Errorf("invalid length of startup packet: %d", n)
	}
	packet := make([]byte, n)
	copy(packet, head[:])
	_, err := io.ReadFull(r, packet[4:])
	return packet, err
}

// refuse tells a client why it cannot stay. The returned error is e.
func refuse(nc net.Conn, e *Error) error {
	buf, err := e.message(0).Encode(nil)
	if err == nil {
		_, err = nc.Write(buf)
	}
	return errors.Join(e, err)
}

// open connects a client to PostgreSQL.
func (s *Server) open(arrived, nc net.Conn, packet []byte, shown *tls.Certificate) (*conn, error) {
	params, ok := startParams(packet[8:])
	if !ok {
		return nil, refuse(nc, fatal(codeProtocol, "invalid startup packet layout"))
	}
	c := newConn(s, nc, params)
	c.arrived = arrived
	if e := s.add(c); e != nil {
		return nil, refuse(nc, e)
	}
	up, err := s.dial(s.base)
	if err != nil {
		s.remove(c)
		e := fatal(codeUpstream, "cannot reach the PostgreSQL server behind this proxy")
		s.opt.Logger.Warn("PostgreSQL cannot be reached", "error", err)
		return nil, refuse(nc, e)
	}
	c.queue.push(reply{kind: owesStart})
	if _, err := up.Write(packet); err != nil {
		up.Close()
		s.remove(c)
		return nil, refuse(nc, fatal(codeUpstream, "the PostgreSQL server behind this proxy closed the connection"))
	}
	c.attach(up)
	c.binding = bindingOf(up, shown)
	return c, nil
}

// startParams reads name\0value\0…\0.
func startParams(b []byte) (map[string]string, bool) {
	params := map[string]string{}
	for {
		name, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return nil, false
		}
		if len(name) == 0 {
			break
		}
		value, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, false
		}
		params[string(name)], b = string(value), rest
	}
	if params["database"] == "" {
		params["database"] = params["user"]
	}
	return params, params["user"] != ""
}

// isReplication reports whether the client asks for the replication protocol, which is passed on without a look.
func isReplication(params map[string]string) bool {
	switch strings.ToLower(params["replication"]) {
	case "", "0", "f", "false", "no", "off", "n":
		return false
	}
	return true
}

// setKey gives the client a cancel key of our own in the place of PostgreSQL's.
func (c *conn) setKey(body []byte) []byte {
	own := make([]byte, len(body))
	copy(own, body[:4]) // the process id is no secret, and people compare it with pg_stat_activity
	rand.Read(own[4:])
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.key, c.upstreamKey = string(own), append([]byte(nil), body...)
	c.server.keys[c.key] = c
	return own
}

// cancel passes a CancelRequest on to whom it concerns. As in PostgreSQL, there is no answer, right key or wrong.
func (s *Server) cancel(packet []byte) error {
	s.mu.Lock()
	c := s.keys[string(packet[8:])]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	if c.cancelOwn(errCancelled) {
		return nil
	}
	return c.cancelUpstream()
}

// cancelUpstream asks PostgreSQL to cancel what this session runs there.
func (c *conn) cancelUpstream() error {
	c.server.mu.Lock()
	key := c.upstreamKey
	c.server.mu.Unlock()
	if key == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.server.base, cancelTimeout)
	defer cancel()
	up, err := c.server.dial(ctx)
	if err != nil {
		return err
	}
	defer up.Close()
	up.SetDeadline(time.Now().Add(cancelTimeout))
	packet := binary.BigEndian.AppendUint32(nil, uint32(8+len(key)))
	packet = binary.BigEndian.AppendUint32(packet, codeCancel)
	if _, err := up.Write(append(packet, key...)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(up, 1)) // PostgreSQL closes once the signal is sent
	return err
}
