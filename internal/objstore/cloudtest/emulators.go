package cloudtest

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/freeport"
)

// AzureKeyEnv is the environment variable that holds the key of the emulated account.
const AzureKeyEnv = "AZURE_STORAGE_TEST_KEY"

// azuriteKey is the key that every Azurite has; it is in Microsoft's documentation.
const azuriteKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

// StartGCS runs fake-gcs-server until the test ends, and returns its endpoint.
func StartGCS(t testing.TB) string {
	t.Helper()
	path, err := Tool("fake-gcs-server")
	if err != nil {
		t.Fatal(err)
	}
	return emulate(t, func(port string) *exec.Cmd {
		return exec.Command(path, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-public-host", "127.0.0.1:"+port,
			"-external-url", "http://127.0.0.1:"+port, "-log-level", "error")
	})
}

// Azure is an emulated storage account.
type Azure struct {
	Endpoint string
	Account  string
	Key      string
}

// StartAzure runs Azurite until the test ends. It is a program of Node.js, which .ci/run installs; without it the test is
// skipped.
func StartAzure(t testing.TB) Azure {
	t.Helper()
	path := azurite()
	if path == "" {
		t.Skip("no azurite-blob here: npm install azurite, as .ci/run does")
	}
	dir := t.TempDir()
	endpoint := emulate(t, func(port string) *exec.Cmd {
		return exec.Command(path, "--blobHost", "127.0.0.1", "--blobPort", port, "--location", dir, "--silent", "--skipApiVersionCheck", "--disableTelemetry")
	})
	return Azure{Endpoint: endpoint + "/devstoreaccount1", Account: "devstoreaccount1", Key: azuriteKey}
}

func azurite() string {
	if path, err := exec.LookPath("azurite-blob"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	path := filepath.Join(cache, "spillway-azurite", "node_modules", ".bin", "azurite-blob")
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// emulate starts a program and waits until it listens.
func emulate(t testing.TB, command func(port string) *exec.Cmd) string {
	t.Helper()
	var out bytes.Buffer
	for range 5 { // nothing reserves a free port
		port, err := freeport.Pick("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		out.Reset()
		if listens(t, command(strconv.Itoa(port)), address, &out) {
			return "http://" + address
		}
	}
	t.Fatalf("%s does not listen:\n%s", command("0").Path, out.String())
	return ""
}

// listens starts a process, which ends with the test, and waits until it listens.
func listens(t testing.TB, cmd *exec.Cmd, address string, out *bytes.Buffer) bool {
	t.Helper()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop := func() {
		select {
		case <-ended:
		default:
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-ctx.Done():
			stop()
			return false
		case <-tick.C:
		}
	}
}
