package pgwire_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// selfSigned makes a certificate for this machine: as Go has it, and as PEM.
func selfSigned(t *testing.T) (pair tls.Certificate, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	if pair, err = tls.X509KeyPair([]byte(cert), []byte(key)); err != nil {
		t.Fatal(err)
	}
	return pair, cert, key
}

// with adds parameters to a URL.
func with(t testing.TB, address string, params ...string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func TestTLSToTheClient(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	pair, cert, _ := selfSigned(t)
	root := filepath.Join(t.TempDir(), "root.crt")
	if err := os.WriteFile(root, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	h, through, _ := proxy(t, db, &pgwire.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}})
	address := through(db.OwnerURL)
	for name, params := range map[string][]string{
		"require": {"sslmode", "require"}, "verify-full": {"sslmode", "verify-full", "sslrootcert", root}, "plain": {"sslmode", "disable"},
	} {
		u := with(t, address, params...)
		if got := psql(t, u, "\\conninfo\nSELECT 1;\nKILL JOB 'a';\n"); strings.Contains(got, "SSL connection") != (name != "plain") || !strings.HasSuffix(got, "answer\na\n(1 row)\n") {
			t.Errorf("psql, %s: %s", name, got)
		}
		for mode, m := range modes {
			t.Run("pgx, "+name+", "+mode, func(t *testing.T) { checkPgx(t, connect(t, u, m)) })
		}
	}
	if got := psql(t, with(t, address, "sslmode", "require", "channel_binding", "require"), "SELECT 1"); !strings.Contains(got, "channel binding") {
		t.Errorf("channel binding cannot be had here: %s", got)
	}
	direct := connect(t, with(t, address, "sslmode", "require", "sslnegotiation", "direct"), pgx.QueryExecModeExec)
	checkPgx(t, direct)

	// A statement that is broken off leaves the encrypted stream whole.
	for range 3 {
		done := make(chan error, 1)
		go func() {
			_, err := direct.Exec(context.Background(), "FLUSH ALL")
			done <- err
		}()
		<-h.started
		if err := direct.PgConn().CancelRequest(t.Context()); err != nil {
			t.Fatal(err)
		}
		var pe *pgconn.PgError
		if err := <-done; !errors.As(err, &pe) || pe.Code != "57014" {
			t.Errorf("cancelled: %v", err)
		}
		<-h.started
		checkPgx(t, direct)
	}
}

func TestNoTLSWithoutCertificate(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	if got := psql(t, with(t, through(db.OwnerURL), "sslmode", "require"), "SELECT 1"); !strings.Contains(got, "server does not support SSL") {
		t.Error(got)
	}
	u, _ := url.Parse(through(db.OwnerURL))
	if _, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}}); err == nil {
		t.Error("TLS from the first byte was accepted")
	}
}

// TestTLSToPostgres holds SCRAM to its word: a client and PostgreSQL agree through the proxy when one side is encrypted, or
// both with one certificate. Else the client hears what to do.
func TestTLSToPostgres(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db := pgtest.DatabaseOn(t, srv)
	same, cert, key := selfSigned(t)
	other, _, _ := selfSigned(t)
	dir := pgtest.Value[string](t, db, "SHOW data_directory")
	for file, text := range map[string]string{"server.crt": cert, "server.key": key} {
		// Written by the server, so that the files are its own, and nobody else may read them.
		db.Super(t, "COPY (SELECT unnest(string_to_array('"+strings.TrimSpace(text)+"', E'\\n'))) TO PROGRAM 'umask 077; cat > "+filepath.Join(dir, file)+"'")
	}
	db.Super(t, "ALTER SYSTEM SET ssl = on")
	db.Super(t, "SELECT pg_reload_conf()")
	awaitTrue(t, db, "SELECT current_setting('ssl') = 'on'")

	target := pgwire.Target{Network: "tcp", Address: srv.Address(), TLS: &tls.Config{InsecureSkipVerify: true}}
	for _, c := range []struct {
		name    string
		offered *tls.Certificate
		params  []string
		want    string
	}{
		{"plain client", nil, []string{"sslmode", "disable"}, "scram t"},
		{"client that would bind", nil, []string{"sslmode", "prefer"}, "scram t"},
		{"same certificate", &same, []string{"sslmode", "require", "channel_binding", "require"}, "scram t"},
		{"other certificate", &other, []string{"sslmode", "require"}, "channel binding is not possible"},
		{"other certificate, bound", &other, []string{"sslmode", "require", "channel_binding", "require"}, "channel binding"},
		{"other certificate, not bound", &other, []string{"sslmode", "require", "channel_binding", "disable"}, "scram t"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := &pgwire.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			if c.offered != nil {
				opt.TLS = &tls.Config{Certificates: []tls.Certificate{*c.offered}}
			}
			u := with(t, serve(t, &handler{}, target, opt)(db.OwnerURL), c.params...)
			if got := psql(t, u, "SELECT 'scram', ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "-t", "-F", " "); !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}
