package command

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// writePair writes a certificate for a name, and its key.
func writePair(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeyPairIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	p := &keyPair{certFile: filepath.Join(dir, "cert"), keyFile: filepath.Join(dir, "key"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if p.load() == nil {
		t.Error("no error without files")
	}
	name := func() string {
		t.Helper()
		got, err := p.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return cert.Subject.CommonName
	}
	writePair(t, p.certFile, p.keyFile, "first")
	if err := p.load(); err != nil || name() != "first" {
		t.Fatalf("%v %s", err, name())
	}
	if err := os.WriteFile(p.certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if name() != "first" || !bytes.Contains(log.Bytes(), []byte("the old one serves on")) {
		t.Errorf("%s, log %s", name(), log.String())
	}
	writePair(t, p.certFile, p.keyFile, "second one")
	if name() != "second one" {
		t.Errorf("still %s", name())
	}
}
