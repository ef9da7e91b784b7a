package embedtemporal

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.temporal.io/server/common/log/tag"
)

// A port of an inner service is taken: the server would end the process.
func TestFatalIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opt, err := (&Options{NoUI: true, Logger: slog.New(slog.DiscardHandler)}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(opt)
	if s.store, err = openStore(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if s.ports, err = pickPorts(loopback, 0); err != nil {
		t.Fatal(err)
	}
	s.ports.matching = l.Addr().(*net.TCPAddr).Port
	err = s.boot()
	var failed *ServerError
	if !errors.As(err, &failed) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want *ServerError for a taken port", err)
	}
	select {
	case <-s.Failed():
	default:
		t.Error("Failed is not closed")
	}
	if err := s.Stop(); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

func TestLoggerLevels(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})), slog.LevelWarn)
	l.Info("hidden")
	l.SLog().Info("hidden")
	l.SLog().With("a", 1).WithGroup("g").Info("hidden")
	l.With(tag.NewStringTag("part", "history")).Warn("first", tag.NewInt("n", 7))
	l.SLog().With("a", 1).Warn("second")
	l.state.quiet.Store(true)
	l.Error("hidden")
	l.SLog().Error("hidden")
	got := buf.String()
	for _, want := range []string{"msg=first part=history n=7", "msg=second a=1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "hidden") {
		t.Errorf("too much in\n%s", got)
	}
}

func TestPragmas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := openStore(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	db, err := sql.Open(driverName, "file:"+filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var mode string
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode = %q, %v: the file itself is not in WAL mode", mode, err)
	}
	// Without our pragmas the check must find fault.
	var bad *StoreError
	if err := s.checkPragmas(t.Context(), db); !errors.As(err, &bad) {
		t.Errorf("a connection without pragmas passes the check: %v", err)
	}
}

func TestStoreVersions(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"another version": "UPDATE spillway_store SET version = '0.0/0.0'",
		"not ours":        "DROP TABLE spillway_store",
	} {
		dir := t.TempDir()
		s, err := openStore(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open(driverName, s.dsn())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Close(), s.release()); err != nil {
			t.Fatal(err)
		}
		_, err = openStore(t.Context(), dir)
		var bad *StoreError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%s: got %v, want *StoreError with a remedy", name, err)
		}
	}
}

// Not parallel: it looks at the goroutines of the whole process.
func TestNothingOfOursStays(t *testing.T) {
	srv, err := Start(t.Context(), &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(stack, "internal/embedtemporal.") && !strings.Contains(stack, "testing.tRunner") && !strings.Contains(stack, "testing.(*M)") {
			t.Errorf("still running:\n%s", stack)
		}
	}
}

func TestDialHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "::1": "::1", "10.1.2.3": "10.1.2.3"} {
		if got := dialHost(host); got != want {
			t.Errorf("dialHost(%s) = %s, want %s", host, got, want)
		}
	}
}
