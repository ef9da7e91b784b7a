package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/tests/product"
)

// front starts `spillway front` beside the rig's `up`, and returns its process id and the line in which it says its URL.
func (r *rig) front(t *testing.T, args ...string) (int, string) {
	t.Helper()
	p, line := process(t, append([]string{"front", "--database-url", r.db.WorkerURL, "--temporal-address", r.up.TemporalAddress,
		"--sql-listen", "127.0.0.1:0", "--metrics-listen", ""}, args...)...)
	return p.PID(), line
}

// idleClients weighs what 200 idle clients cost a process that is only a front-end: less than 30 MB.
func idleClients(t *testing.T, r *rig) {
	const clients, bound = 200, 30 << 20
	certFile, keyFile := writePair(t, t.TempDir(), "localhost")
	for name, c := range map[string]struct {
		flags []string
		mode  string
	}{"plain": {nil, "disable"}, "TLS": {[]string{"--sql-tls-cert", certFile, "--sql-tls-key", keyFile}, "require"}} {
		pid, front := r.front(t, c.flags...)
		address := product.Through(t, r.db.OwnerURL, front)
		address = regexp.MustCompile(`sslmode=\w+`).ReplaceAllString(address, "sslmode="+c.mode)
		var conns []*pgconn.PgConn
		open := func() {
			conn, err := pgconn.Connect(t.Context(), address)
			must(t, err)
			_, err = conn.Exec(t.Context(), "SHOW JOBS").ReadAll() // each has done something, of both kinds
			must(t, err)
			_, err = conn.Exec(t.Context(), "SELECT repeat('x', 100000)").ReadAll()
			must(t, err)
			conns = append(conns, conn)
		}
		for range 5 {
			open()
		}
		before := resident(t, pid)
		for range clients {
			open()
		}
		after := resident(t, pid)
		t.Logf("%s: %d idle clients cost %.1f MB of memory", name, clients, float64(after-before)/(1<<20))
		if after-before > bound {
			t.Errorf("%s: %d idle clients cost %d bytes", name, clients, after-before)
		}
		for _, conn := range conns {
			conn.Close(context.Background())
		}
	}
}

// resident is the memory of a process.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("the memory of a process can be read on Linux only: %v", err)
	}
	kb, err := strconv.Atoi(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)[1]))
	must(t, err)
	return kb << 10
}

// overTLS connects psql by TLS, also after the certificate was replaced.
func overTLS(t *testing.T, r *rig) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "localhost")
	_, front := r.front(t, "--sql-tls-cert", certFile, "--sql-tls-key", keyFile)
	address := product.Through(t, r.db.OwnerURL, front)
	connect := func(mode string) string {
		return psql(t, nil, regexp.MustCompile(`sslmode=\w+`).ReplaceAllString(address, "sslmode="+mode)+"&sslrootcert="+certFile, "SELECT 1;\nKILL JOB 'x';\n", "-A", "-t", "-v", "VERBOSITY=sqlstate")
	}
	for range 2 {
		for _, mode := range []string{"disable", "require", "verify-full"} {
			if got := connect(mode); got != "1\nERROR:  22023\n" {
				t.Errorf("%s: %s", mode, got)
			}
		}
		writePair(t, dir, "localhost")
	}
	other, _ := writePair(t, t.TempDir(), "elsewhere")
	must(t, os.Rename(other, certFile)) // the key is another's: the old pair serves on, which this client does not trust
	if got := connect("verify-full"); !strings.Contains(got, "certificate verify failed") {
		t.Errorf("got %s", got)
	}
}

// writePair writes a certificate that signs itself, and its key.
func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return certFile, keyFile
}
