package product

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 90 * time.Second

// Process is a spillway that runs as a process of its own.
type Process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err output
	done     chan struct{} // closed when it has ended
}

// output collects what a process prints while others read it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Start runs a binary with an environment of just these variables; nil is this process's own. The process is killed when the test ends, if it still
// runs then, and what it said is shown if the test failed.
func Start(t testing.TB, binary string, environ []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = &p.out, &p.err, environ
	p.cmd.Dir = t.TempDir() // so that no ./spillway-data is found by chance
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start spillway: %v", err)
	}
	go func() {
		_ = p.cmd.Wait() // the state is asked for its code
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended by then, unless the test failed
		<-p.done
		if t.Failed() {
			t.Logf("spillway %s\n%s%s", args[0], p.out.String(), p.err.String())
		}
	})
	return p
}

// Ready waits for the line that says that the process is ready, and returns it.
func (p *Process) Ready() string {
	p.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if line, _, whole := strings.Cut(p.out.String(), "\n"); whole && strings.Contains(line, "is ready") {
			return line
		}
		select {
		case <-p.done:
			p.t.Fatalf("the process ended with code %d instead of becoming ready", p.cmd.ProcessState.ExitCode())
		case <-deadline:
			p.t.Fatal("the process does not become ready")
		case <-tick.C:
		}
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log is what the process has printed to standard error so far.
func (p *Process) Log() string { return p.err.String() }

// Terminate asks the process to stop, and wants it to end well.
func (p *Process) Terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("terminate: %v", err)
	}
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			p.t.Errorf("exit code %d after SIGTERM", code)
		}
	case <-time.After(patience):
		p.t.Fatal("the process does not end")
	}
}

// Result is a command that has ended.
type Result struct {
	Code     int
	Out, Err string
}

// Run runs a binary to its end with an environment of just these variables. One that does not end is killed, and fails the
// test.
func Run(t testing.TB, binary string, environ []string, args ...string) Result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = t.TempDir(), &out, &errOut, environ
	if err := cmd.Start(); err != nil {
		t.Fatalf("run spillway: %v", err)
	}
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run spillway: %v", err)
	}
	if cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("spillway %s does not end\n%s", strings.Join(args, " "), errOut.String())
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Out: out.String(), Err: errOut.String()}
}
