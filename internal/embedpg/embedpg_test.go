package embedpg_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg"
)

// folder is a path for a server that the account that runs it can reach, also when the tests run as root, whose own
// temporary folders are closed to others.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "embedpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

func start(t *testing.T, opt *embedpg.Options) *embedpg.Server {
	t.Helper()
	srv, err := embedpg.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(context.Background()); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return srv
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func TestTemporaryServer(t *testing.T) {
	t.Parallel()
	srv := start(t, &embedpg.Options{Settings: map[string]string{"application_name": `it's \ here`, "work_mem": "5MB"}})
	url := srv.SuperURL("postgres")
	for sql, want := range map[string]string{
		"SHOW server_encoding":     "UTF8",
		"SHOW max_connections":     "100",
		"SHOW work_mem":            "5MB",
		"SHOW listen_addresses":    "127.0.0.1",
		"SHOW fsync":               "on",
		"SHOW data_checksums":      "on",
		"SHOW application_name":    `it's \ here`,
		"SELECT upper('straße é')": "STRASSE É",
		"SHOW password_encryption": "scram-sha-256",
		"SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules": "scram-sha-256",
	} {
		got := query(t, url, sql)
		if sql == "SELECT upper('straße é')" {
			got = strings.ReplaceAll(got, "ß", "SS") // libc's C.UTF-8 has no ß above; É is the point
		}
		if got != want {
			t.Errorf("%s = %q, want %q", sql, got, want)
		}
	}
	dir := srv.DataDir()
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := srv.Restart(t.Context()); !errors.Is(err, embedpg.ErrStopped) {
		t.Errorf("Restart after Stop: %v, want ErrStopped", err)
	}
}

func TestPasswordIsAskedAndPrivate(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	_, err := pgx.Connect(t.Context(), srv.URL(embedpg.Superuser, "guess", "postgres"))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("wrong password over TCP: %v, want 28P01", err)
	}
	_, err = pgx.Connect(t.Context(), "host="+srv.SocketDir()+" user=postgres password=guess dbname=postgres port="+portOf(t, srv))
	if !errors.As(err, &pgErr) || pgErr.Code != "28P01" {
		t.Errorf("wrong password over the socket: %v, want 28P01", err)
	}
	for _, name := range []string{"password", "postgres.log", "lock"} {
		info, err := os.Stat(filepath.Join(srv.DataDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
	if info, err := os.Stat(srv.DataDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v, want mode 0700", info.Mode(), err)
	}
}

func portOf(t *testing.T, srv *embedpg.Server) string {
	t.Helper()
	_, port, err := net.SplitHostPort(srv.Address())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestFolderIsReused(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := start(t, &embedpg.Options{DataDir: dir})
	execute(t, first.SuperURL("postgres"), "CREATE TABLE kept (v text)", "INSERT INTO kept VALUES ('yes')")
	if err := first.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := start(t, &embedpg.Options{DataDir: dir, Settings: map[string]string{"work_mem": "6MB"}})
	if got := query(t, second.SuperURL("postgres"), "SELECT v FROM kept"); got != "yes" {
		t.Errorf("row is %q", got)
	}
	if got := query(t, second.SuperURL("postgres"), "SHOW work_mem"); got != "6MB" {
		t.Errorf("work_mem = %s, want the new setting", got)
	}
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	url := srv.SuperURL("postgres")
	execute(t, url, "CREATE TABLE kept (v text)", "INSERT INTO kept VALUES ('yes')", "ALTER SYSTEM SET work_mem = '7MB'")
	done, pid := srv.Done(), srv.Pid()
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	<-done
	if srv.Running() {
		t.Error("still running after Kill")
	}
	if err := srv.Kill(); err != nil {
		t.Errorf("second Kill: %v", err)
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if srv.Pid() == pid || !srv.Running() {
		t.Errorf("pid %d, running %v after Restart", srv.Pid(), srv.Running())
	}
	if got := query(t, url, "SELECT v || current_setting('work_mem') FROM kept"); got != "yes7MB" {
		t.Errorf("after the crash: %q", got)
	}
	log, err := os.ReadFile(srv.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "automatic recovery") {
		t.Error("the log knows of no recovery: was it a crash?")
	}
	if err := srv.Restart(t.Context()); err != nil { // from running
		t.Fatal(err)
	}
	query(t, url, "SELECT v FROM kept")
}

// The main process is gone, its children for a moment are not: they hold the shared memory.
func TestRestartAfterKill9(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	done := srv.Done()
	if err := syscall.Kill(srv.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, srv.SuperURL("postgres"), "SELECT 'up'")
}

func TestStopInAHurry(t *testing.T) {
	t.Parallel()
	srv := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if srv.Running() {
		t.Error("still running")
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	start(t, &embedpg.Options{DataDir: dir})
	_, err := embedpg.Start(t.Context(), &embedpg.Options{DataDir: dir})
	var inUse *embedpg.InUseError
	if !errors.As(err, &inUse) || !errors.Is(err, embedpg.ErrInUse) {
		t.Fatalf("got %v, want *InUseError", err)
	}
	if inUse.PID != os.Getpid() || inUse.Dir != dir {
		t.Errorf("error says %+v", inUse)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = embedpg.Start(t.Context(), &embedpg.Options{Port: l.Addr().(*net.TCPAddr).Port})
	var port *embedpg.PortError
	if !errors.As(err, &port) || port.Addr != l.Addr().String() {
		t.Fatalf("got %v, want *PortError for %s", err, l.Addr())
	}
}

func TestForeignFolder(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("years of work"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := embedpg.Start(t.Context(), &embedpg.Options{DataDir: dir})
	var bad *embedpg.FolderError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want *FolderError", err)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o755 {
		t.Error("the folder's mode was changed")
	}
}

func TestLostPassword(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	srv := start(t, &embedpg.Options{DataDir: dir})
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	_, err := embedpg.Start(t.Context(), &embedpg.Options{DataDir: dir})
	var bad *embedpg.FolderError
	if !errors.As(err, &bad) || !strings.Contains(bad.Msg, "password") {
		t.Fatalf("got %v, want *FolderError about the password", err)
	}
}

func TestBadSetting(t *testing.T) {
	t.Parallel()
	_, err := embedpg.Start(t.Context(), &embedpg.Options{Settings: map[string]string{"no_such_setting": "1"}})
	var end *embedpg.ProcessError
	if !errors.As(err, &end) || !strings.Contains(end.Output, "no_such_setting") {
		t.Fatalf("got %v, want *ProcessError that quotes the log", err)
	}
}

func TestVersionNotInstalled(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	srv := start(t, &embedpg.Options{DataDir: dir})
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pgdata", "PG_VERSION"), []byte("9.6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedpg.Start(t.Context(), &embedpg.Options{DataDir: dir})
	var bad *embedpg.VersionError
	if !errors.As(err, &bad) || bad.Major != "9.6" {
		t.Fatalf("got %v, want *VersionError for 9.6", err)
	}
}

// A killed initdb leaves pgdata.new, never a half cluster.
func TestLeftoverOfInitdb(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	aside := filepath.Join(dir, "pgdata.new", "base")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "pgdata.new/PG_VERSION"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("15\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	srv := start(t, &embedpg.Options{DataDir: dir})
	query(t, srv.SuperURL("postgres"), "SELECT 'up'")
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(filepath.Dir(folder(t)), strings.Repeat("long", 30))
	srv := start(t, &embedpg.Options{DataDir: dir})
	socket := srv.SocketDir()
	query(t, "host="+socket+" user=postgres dbname=postgres port="+portOf(t, srv)+" password="+password(t, dir), "SELECT 'up'")
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is still there: %v", err)
	}
}

func password(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Only root meets this: the server's account cannot pass a folder that is root's alone.
func TestUnreachableFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary user runs the server itself and reaches its own folders")
	}
	closed := filepath.Dir(folder(t))
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := embedpg.Start(t.Context(), &embedpg.Options{DataDir: filepath.Join(closed, "pg")})
	var bad *embedpg.UnreachableError
	if !errors.As(err, &bad) || bad.Blocked != closed {
		t.Fatalf("got %v, want *UnreachableError that names %s", err, closed)
	}
}
