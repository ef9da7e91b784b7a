package cloudtest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The server's only user. Tests put the keys into the environment under names that storages may name.
const (
	AccessKey    = "spillway-test-key"
	SecretKey    = "spillway-test-secret"
	AccessKeyEnv = "SPILLWAY_STORAGE_TEST_KEY"
	SecretKeyEnv = "SPILLWAY_STORAGE_TEST_SECRET"
)

// Server is a running S3 server.
type Server struct {
	Endpoint string // http://127.0.0.1:port
	dir      string // each folder in it is a bucket
	meta     string
	buckets  int
	mu       sync.Mutex
}

var building sync.Mutex

// Tool builds one of the servers, unless Go has it in its cache, and returns where it is.
func Tool(name string) (string, error) {
	building.Lock()
	defer building.Unlock()
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "tool", "-n", name)
	cmd.Dir = filepath.Join(filepath.Dir(file), "../../../tests/servers")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w: %s", name, err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// RunS3 runs an S3 server with arguments and an environment of the caller's, which make it listen at an address, until the
// test ends.
func RunS3(t testing.TB, address string, environ []string, args ...string) {
	t.Helper()
	path, err := Tool("versitygw")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = environ
	var out bytes.Buffer
	if !listens(t, cmd, address, &out) {
		t.Fatalf("versitygw does not listen at %s:\n%s", address, out.String())
	}
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := Tool("versitygw")
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	s := &Server{dir: filepath.Join(base, "buckets"), meta: filepath.Join(base, "meta")}
	for _, dir := range []string{s.dir, s.meta} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	s.serve(t, path)
	return s
}

// ReadOnly runs a second server over the same buckets that refuses to change them, and returns its endpoint.
func (s *Server) ReadOnly(t testing.TB) string {
	t.Helper()
	path, err := Tool("versitygw")
	if err != nil {
		t.Fatal(err)
	}
	second := &Server{dir: s.dir, meta: s.meta}
	second.serve(t, path, "--readonly")
	return second.Endpoint
}

func (s *Server) serve(t testing.TB, path string, args ...string) {
	t.Helper()
	s.Endpoint = emulate(t, func(port string) *exec.Cmd {
		address := net.JoinHostPort("127.0.0.1", port)
		return exec.Command(path, slices.Concat([]string{"--access", AccessKey, "--secret", SecretKey, "--port", address, "--quiet"}, args, []string{"posix", "--sidecar", s.meta, s.dir})...)
	})
}

// Bucket makes an empty bucket and returns its name.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.buckets++
	name := fmt.Sprintf("bucket-%d-%s", s.buckets, strings.ToLower(rand.Text()[:8])) // servers of one process have different ones
	s.mu.Unlock()
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o750); err != nil {
		t.Fatal(err)
	}
	return name
}

// Path is the folder in which the server keeps the objects of a bucket, as files.
func (s *Server) Path(bucket string) string { return filepath.Join(s.dir, bucket) }

// Parts are the files of uploads to a bucket that were neither completed nor dropped: no listing shows all of them, and they cost money.
func (s *Server) Parts(t testing.TB, bucket string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Path(bucket), ".sgwtmp", "multipart"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return paths
}

// Options are those of a storage on the server at an endpoint: its own, or a proxy's. SetKeys must have been called.
func Options(endpoint string) map[string]string {
	return map[string]string{"endpoint": endpoint, "region": "us-east-1", "access_key_env": AccessKeyEnv, "secret_key_env": SecretKeyEnv}
}

// SetKeys puts the keys into the environment, for TestMain.
func SetKeys() error {
	return errors.Join(os.Setenv(AccessKeyEnv, AccessKey), os.Setenv(SecretKeyEnv, SecretKey), os.Setenv(AzureKeyEnv, azuriteKey))
}
