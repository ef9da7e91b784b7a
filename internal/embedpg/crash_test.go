package embedpg_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
)

// roleEnv makes this test program play a parent process that starts a server and is then killed.
const roleEnv = "EMBEDPG_TEST_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(roleEnv); dir != "" {
		os.Exit(parent(dir))
	}
	os.Exit(m.Run())
}

// parent starts a server in dir ("temp": a temporary one), prints where it is and waits to be killed.
func parent(dir string) int {
	if dir == "temp" {
		dir = ""
	}
	srv, err := embedpg.Start(context.Background(), &embedpg.Options{DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(srv.Pid(), srv.DataDir())
	<-srv.Done()
	return 0
}

type child struct {
	cmd *exec.Cmd
	pid int // of PostgreSQL
	dir string
}

func startParent(t *testing.T, dir string, env ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(self)}
	c.cmd.Env = append(append(os.Environ(), roleEnv+"="+dir), env...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("parent: %v", err)
	}
	if _, err := fmt.Sscan(line, &c.pid, &c.dir); err != nil {
		t.Fatalf("parent said %q: %v", line, err)
	}
	return c
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// A parent killed by SIGKILL takes its server with it where the system can do that; in any case the folder serves again.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	c := startParent(t, dir)
	c.kill()
	srv := start(t, &embedpg.Options{DataDir: dir})
	if got := query(t, srv.SuperURL("postgres"), "SELECT 'up'"); got != "up" || srv.Pid() == c.pid {
		t.Errorf("got %q, pid %d, earlier %d", got, srv.Pid(), c.pid)
	}
}

// A server that outlives its parent (as on systems without a parent death signal) is stopped by the next start.
func TestOrphanIsStopped(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	srv := start(t, &embedpg.Options{DataDir: dir})
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	orphan, ended := startOrphan(t, srv)
	again := start(t, &embedpg.Options{DataDir: dir})
	<-ended
	if again.Pid() == orphan {
		t.Error("the orphan was taken over")
	}
	query(t, again.SuperURL("postgres"), "SELECT 'up'")
}

// startOrphan runs a server on the cluster of a stopped one, behind its back. The channel is closed when it has ended.
func startOrphan(t *testing.T, srv *embedpg.Server) (int, <-chan struct{}) {
	t.Helper()
	pgdata := filepath.Join(srv.DataDir(), "pgdata")
	cmd := exec.Command(filepath.Join(srv.Binaries().Dir, "postgres"), "-D", pgdata,
		"-c", "port="+portOf(t, srv), "-c", "listen_addresses=", "-c", "unix_socket_directories="+srv.SocketDir())
	cmd.Dir = srv.DataDir()
	if os.Geteuid() == 0 {
		st := statOf(t, pgdata)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGQUIT)
		<-ended
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(filepath.Join(pgdata, "postmaster.pid"))
		if err == nil && strings.HasPrefix(string(b), strconv.Itoa(cmd.Process.Pid)+"\n") && strings.Contains(string(b), "ready") {
			return cmd.Process.Pid, ended
		}
		select {
		case <-ended:
			t.Fatal("the orphan ended early")
		case <-tick.C:
		}
	}
}

// The id in postmaster.pid has gone to another process.
func TestStalePidFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	srv := start(t, &embedpg.Options{DataDir: dir})
	path := filepath.Join(dir, "pgdata", "postmaster.pid")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	bystander := exec.Command("cat")
	if _, err := bystander.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		bystander.Process.Kill()
		bystander.Wait()
	}()
	_, rest, _ := strings.Cut(string(b), "\n")
	stale := strconv.Itoa(bystander.Process.Pid) + "\n" + rest
	if err := os.WriteFile(path, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		st := statOf(t, filepath.Join(dir, "pgdata"))
		if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	start(t, &embedpg.Options{DataDir: dir})
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the bystander was harmed: %v", err)
	}
}

func statOf(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("no owner known for %s", path)
	}
	return st
}

// A temporary folder of a killed process is removed by a later start in the same place.
func TestForgottenFolderIsSwept(t *testing.T) {
	tmp := filepath.Dir(folder(t))
	c := startParent(t, "temp", "TMPDIR="+tmp)
	if filepath.Dir(c.dir) != tmp {
		t.Fatalf("the parent's folder is %s, not in %s", c.dir, tmp)
	}
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(c.dir, old, old); err != nil {
		t.Fatal(err)
	}
	start(t, nil)
	if _, err := os.Stat(c.dir); err != nil {
		t.Fatalf("the folder of a live process was touched: %v", err)
	}
	c.kill()
	start(t, nil)
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the forgotten folder is still there: %v", err)
	}
}
