package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const largest = 64 << 20 // of a message

// gateway stands before a Temporal as a cluster's front door does.
type gateway struct {
	address  string
	upstream *grpc.ClientConn
	key      string   // the API key to be shown; "" is none
	denied   []string // methods for which nobody has the right

	mu    sync.Mutex
	peers map[string]bool // addresses that were let in
}

// gate is how a gateway is set up.
type gate struct {
	tls    *tls.Config // nil: no TLS
	key    string
	denied []string
}

func newGateway(t *testing.T, upstream string, o gate) *gateway {
	t.Helper()
	g := &gateway{key: o.key, denied: o.denied, peers: map[string]bool{}}
	var err error
	g.upstream, err = grpc.NewClient(upstream, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(largest)))
	must(t, err)
	t.Cleanup(func() { g.upstream.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.address = ln.Addr().String()
	opts := []grpc.ServerOption{grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(g.relay), grpc.MaxRecvMsgSize(largest)}
	if o.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(o.tls)))
	}
	srv := grpc.NewServer(opts...)
	t.Cleanup(srv.Stop)
	go func() { _ = srv.Serve(ln) }()
	return g
}

// relay passes one call on. All of Temporal's are unary: one question, one answer.
func (g *gateway) relay(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	md, _ := metadata.FromIncomingContext(in.Context())
	if err := g.admit(in, method, md); err != nil {
		return err
	}
	ctx := metadata.NewOutgoingContext(in.Context(), md.Copy())
	out, err := g.upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	var question, answer []byte
	if err := in.RecvMsg(&question); err != nil {
		return err
	}
	if err := out.SendMsg(&question); err != nil {
		return err
	}
	if err := out.CloseSend(); err != nil {
		return err
	}
	if err := out.RecvMsg(&answer); err != nil {
		return err
	}
	return in.SendMsg(&answer)
}

func (g *gateway) admit(in grpc.ServerStream, method string, md metadata.MD) error {
	if g.key != "" && !slices.Contains(md.Get("authorization"), "Bearer "+g.key) {
		return status.Error(codes.Unauthenticated, "Request unauthorized.")
	}
	if slices.Contains(g.denied, method) {
		return status.Error(codes.PermissionDenied, "Request unauthorized.")
	}
	if p, ok := peer.FromContext(in.Context()); ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.peers[p.Addr.String()] = true
	}
	return nil
}

// connections is how many connections were let in.
func (g *gateway) connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.peers)
}

// rawCodec leaves messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("not bytes: %T", v)
	}
	return *b, nil
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("not bytes: %T", v)
	}
	*b = slices.Clone(data)
	return nil
}

// authority signs certificates.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string // its own certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	must(t, err)
	a.cert, err = x509.ParseCertificate(der)
	must(t, err)
	a.file = writePEM(t, filepath.Join(a.dir, "ca.pem"), "CERTIFICATE", der)
	return a
}

// pool holds the authority alone.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for a host name and writes it and its key to files.
func (a *authority) issue(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return writePEM(t, filepath.Join(a.dir, name+".pem"), "CERTIFICATE", der), writePEM(t, filepath.Join(a.dir, name+".key"), "PRIVATE KEY", private)
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
