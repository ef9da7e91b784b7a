package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdk "go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
)

// clusterErrors are what can go wrong between spillway and a Temporal cluster. One Temporal stands in for all clusters.
func clusterErrors(t *testing.T) map[string]errorCase {
	srv, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{NoUI: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	start := func(t *testing.T, address string, environ []string, flags ...string) result {
		t.Helper()
		return upOnceWith(t, environ, append([]string{"--database-url", pgtest.Database(t).WorkerURL, "--temporal-address", address}, flags...)...)
	}
	return map[string]errorCase{
		"no such namespace in Temporal": func(t *testing.T) result {
			return start(t, srv.Address(), nil, "--temporal-namespace", "nothing")
		},
		"Temporal's profile is not there": func(t *testing.T) result {
			return start(t, srv.Address(), []string{"TEMPORAL_CONFIG_FILE=" + filepath.Join(t.TempDir(), "none.toml")})
		},
		"Temporal's certificate is signed by somebody unknown": func(t *testing.T) result {
			return start(t, tlsServer(t, tls.NoClientCert), []string{"TEMPORAL_TLS=true"})
		},
		"Temporal wants a client certificate": func(t *testing.T) result {
			return start(t, tlsServer(t, tls.RequireAnyClientCert), []string{"TEMPORAL_TLS=true", "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION=true"})
		},
		"Temporal speaks TLS, and we do not": func(t *testing.T) result { return start(t, tlsServer(t, tls.NoClientCert), nil) },
		"Temporal speaks no TLS": func(t *testing.T) result {
			return start(t, srv.Address(), []string{"TEMPORAL_TLS=true"})
		},
		"Temporal does not know the API key": func(t *testing.T) result {
			return start(t, refusingServer(t), []string{"TEMPORAL_API_KEY=wrong", "TEMPORAL_TLS=false"})
		},
		"Temporal's namespace has no room for search attributes": func(t *testing.T) result {
			fullNamespace(t, srv)
			return start(t, srv.Address(), nil, "--temporal-namespace", "full")
		},
	}
}

// tlsServer accepts connections with a certificate of its own making, and says nothing more.
func tlsServer(t *testing.T, auth tls.ClientAuthType) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, ClientAuth: auth, NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if tc, ok := conn.(*tls.Conn); ok {
					_ = tc.HandshakeContext(t.Context()) // the client's error is what counts
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// refusingServer is a Temporal that knows nobody.
func refusingServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.Unauthenticated, "Request unauthorized.")
	}))
	t.Cleanup(srv.Stop)
	go func() { _ = srv.Serve(ln) }()
	return ln.Addr().String()
}

// fullNamespace makes the namespace "full", which holds as many attributes of one type as it may. It may be called again.
func fullNamespace(t *testing.T, srv *embedtemporal.Server) {
	t.Helper()
	c, err := sdk.Dial(sdk.Options{HostPort: srv.Address(), Namespace: "full"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: "full", WorkflowExecutionRetentionPeriod: durationpb.New(3 * 24 * time.Hour),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) {
		t.Fatal(err)
	}
	theirs := map[string]enumspb.IndexedValueType{}
	for i := range 8 {
		theirs[fmt.Sprintf("Theirs%d", i)] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
	}
	await(t, func() error { // a new namespace is known everywhere after a moment
		_, err := c.OperatorService().AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{Namespace: "full", SearchAttributes: theirs})
		var exists *serviceerror.AlreadyExists
		if errors.As(err, &exists) {
			return nil
		}
		return err
	})
}

// The doctor names what a namespace lacks and who can help; it creates nothing.
func TestDoctorNamesMissingAttributes(t *testing.T) {
	t.Parallel()
	srv, err := embedtemporal.Start(t.Context(), &embedtemporal.Options{NoUI: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Stop() })
	fullNamespace(t, srv)
	doctor := func(namespace string) result {
		return invoke(t, []string{"doctor", "-o", "json", "--data-dir", t.TempDir(), "--temporal-address", srv.Address(), "--temporal-namespace", namespace})
	}
	for range 2 {
		r := doctor("full")
		mustContain(t, line(t, r, "Temporal namespace"), "full, keeps finished workflows for 3 days")
		found := line(t, r, "search attributes")
		mustContain(t, found, `"status":"warn"`, "full has 0 of ", "SpillwayJobID, ",
			"temporal operator search-attribute create --namespace full --name ", " --name SpillwayRows --type Int", " --address "+srv.Address())
	}
	r := doctor("nothing")
	mustContain(t, line(t, r, "Temporal"), `"status":"fail"`, `has no namespace \"nothing\"`, "temporal operator namespace create --namespace nothing ")
}

// A profile file names cluster and namespace; the environment stands above it, and our flags above both.
func TestTemporalProfile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	file := write("temporal.toml", `
[profile.default]
address = "default.example.com:7233"
[profile.prod]
address = "prod.example.com:7233"
namespace = "orders"
api_key = "secret"
[profile.prod.tls]
server_name = "temporal.internal"
server_ca_cert_path = "`+ca+`"
`)
	options := func(opt serverOptions, environ ...string) (sdk.Options, error) {
		opt.slots, opt.retention, opt.shutdownTimeout, opt.logLevel, opt.logFormat = 1, defaultRetention, time.Second, "error", "text"
		n, err := newNode(testEnv(nil, nil, environ...), &opt)
		if err != nil {
			t.Fatal(err)
		}
		return n.temporalOptions(false)
	}
	o, err := options(serverOptions{}, "TEMPORAL_CONFIG_FILE="+file, "TEMPORAL_PROFILE=prod", "TEMPORAL_NAMESPACE=bills")
	if err != nil || o.HostPort != "prod.example.com:7233" || o.Namespace != "bills" || o.Credentials == nil {
		t.Errorf("profile prod: %+v, %v", o, err)
	}
	if c := o.ConnectionOptions.TLS; c == nil || c.ServerName != "temporal.internal" || c.RootCAs == nil {
		t.Errorf("TLS of the profile: %+v", c)
	}
	o, err = options(serverOptions{temporalAddress: "flag:7233", temporalNamespace: "mine"}, "TEMPORAL_CONFIG_FILE="+file, "TEMPORAL_ADDRESS=env:7233")
	if err != nil || o.HostPort != "flag:7233" || o.Namespace != "mine" {
		t.Errorf("flags: %+v, %v", o, err)
	}
	for environ, says := range map[string]string{
		"TEMPORAL_PROFILE=nothing":                       "unable to find profile nothing",
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH=" + dir + "/x": "server CA cert path",
		"TEMPORAL_TLS_CLIENT_CERT_PATH=" + ca:            "if either client cert or key path is present",
	} {
		_, err := options(serverOptions{}, "TEMPORAL_CONFIG_FILE="+file, environ)
		if ExitCode(err) != exitUsage || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", environ, err)
		}
	}
	bad := write("bad.toml", "[profile.default]\nadress = \"x:7233\"\n")
	if _, err := options(serverOptions{}, "TEMPORAL_CONFIG_FILE="+bad); ExitCode(err) != exitUsage {
		t.Errorf("a key that does not exist: %v", err)
	}
}
