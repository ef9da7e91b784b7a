package pgwire

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// alpn is how TLS clients name the protocol.
const alpn = "postgresql"

// tlsHandshake is the first byte of a client that begins with TLS at once (sslnegotiation=direct). No start-up packet
// begins so.
const tlsHandshake = 0x16

// peeked is a connection whose first byte was already read.
type peeked struct {
	net.Conn
	first io.Reader
}

func (p *peeked) Read(b []byte) (int, error) {
	if n, err := p.first.Read(b); err == nil {
		return n, nil
	}
	return p.Conn.Read(b)
}

// directTLS looks whether a client begins with TLS at once, and then agrees.
func (s *Server) directTLS(nc net.Conn) (net.Conn, *tls.Certificate, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(nc, first); err != nil {
		return nil, nil, err
	}
	nc = &peeked{Conn: nc, first: bytes.NewReader(first)}
	if first[0] != tlsHandshake {
		return nc, nil, nil
	}
	if s.opt.TLS == nil {
		return nil, nil, errors.New("the client begins with TLS, for which no certificate is configured")
	}
	tc, shown, err := handshake(nc, s.opt.TLS)
	if err == nil && tc.ConnectionState().NegotiatedProtocol != alpn {
		err = fmt.Errorf("a client that begins with TLS must name the protocol %s", alpn)
	}
	return tc, shown, err
}

// handshake agrees to TLS and returns the certificate that was shown to the client.
func handshake(nc net.Conn, base *tls.Config) (*tls.Conn, *tls.Certificate, error) {
	var shown *tls.Certificate
	cfg := base.Clone()
	cfg.NextProtos = []string{alpn}
	cfg.SessionTicketsDisabled = true // a resumed session shows no certificate; libpq resumes none
	pick := cfg.GetCertificate
	if len(cfg.Certificates) > 0 {
		pick = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &base.Certificates[0], nil }
		cfg.Certificates = nil
	}
	cfg.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if pick == nil {
			return nil, errors.New("no certificate is configured")
		}
		cert, err := pick(hello)
		shown = cert
		return cert, err
	}
	tc := tls.Server(nc, cfg)
	err := tc.Handshake()
	return tc, shown, err
}

// channelBinding says what becomes of SCRAM's channel binding, by which a client proves that it sees the certificate that
// PostgreSQL shows. It holds through a proxy that shows the same one, and only then.
type channelBinding struct {
	encrypted bool // to PostgreSQL
	possible  bool
}

func bindingOf(up net.Conn, shown *tls.Certificate) channelBinding {
	tc, ok := up.(*tls.Conn)
	if !ok {
		return channelBinding{}
	}
	peers := tc.ConnectionState().PeerCertificates
	return channelBinding{
		encrypted: true,
		possible:  shown != nil && len(shown.Certificate) > 0 && len(peers) > 0 && bytes.Equal(shown.Certificate[0], peers[0].Raw),
	}
}

// authSASL is the request of PostgreSQL's that lists its SASL mechanisms.
const authSASL = 10

// withoutBinding takes SCRAM-SHA-256-PLUS out of the mechanisms that PostgreSQL offers.
func (c *conn) withoutBinding(msg []byte) []byte {
	out := append([]byte(nil), msg[:9]...)
	for _, name := range bytes.Split(msg[9:], []byte{0}) {
		switch {
		case len(name) == 0:
		case strings.HasSuffix(string(name), "-PLUS"):
			c.stripped.Store(true)
		default:
			out = append(append(out, name...), 0)
		}
	}
	out = append(out, 0)
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-1))
	return out
}

// proveUnbound passes on a proof of a client that was not offered channel binding. One that says so would be taken for the
// victim of an attack by PostgreSQL, which did offer it.
func (c *conn) proveUnbound(n int) error {
	body, err := c.body(n)
	if err != nil {
		return err
	}
	mechanism, rest, ok := cut(body)
	if ok && strings.HasPrefix(mechanism, "SCRAM-") && len(rest) > 5 && rest[4] == 'y' {
		e := fatal(codeBadAuth, "channel binding is not possible: TLS ends at this proxy, which shows another certificate than PostgreSQL")
		e.Hint = "connect with channel_binding=disable; or run the proxy with PostgreSQL's own certificate and key; " +
			"or let it reach PostgreSQL on the same machine with sslmode=disable"
		return e
	}
	return writeFrame(c.uw, 'p', body)
}
