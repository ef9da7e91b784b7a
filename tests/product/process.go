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

	"github.com/spillwaydb/spillway/tests/await"
)

// Process is a spillway that runs as a process of its own.
type Process struct {
	Out, Err Output // what it has printed so far

	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Output collects what a process prints while others read it.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Tail returns the last n bytes.
func (o *Output) Tail(n int) string {
	s := o.String()
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// Lines returns the lines that hold all of the given parts.
func (o *Output) Lines(parts ...string) []string {
	var found []string
next:
	for line := range strings.Lines(o.String()) {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// Start runs a binary with an environment of just these variables; nil is this process's own. The process is killed when the test ends, if it still
// runs then, and what it said is shown if the test failed.
func Start(t testing.TB, binary string, environ []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = &p.Out, &p.Err, environ
	p.cmd.Dir = t.TempDir() // so that no ./spillway-data is found by chance
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start spillway: %v", err)
	}
	go func() {
		_ = p.cmd.Wait() // the state is asked for its code
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("spillway %s\n%s%s", args[0], p.Out.String(), p.Err.Tail(6000))
		}
	})
	return p
}

// Ready waits for the line that says that the process is ready, and returns it.
func (p *Process) Ready() (line string) {
	p.t.Helper()
	await.Until(p.t, "the process is ready", func() bool {
		if !p.Running() {
			p.t.Fatalf("the process ended with code %d instead of becoming ready\n%s", p.cmd.ProcessState.ExitCode(), p.Err.String())
		}
		var whole bool
		line, _, whole = strings.Cut(p.Out.String(), "\n")
		return whole && strings.Contains(line, "is ready")
	})
	return line
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal. It fails the test if the process is gone.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s: %v", s, err)
	}
}

// Kill ends the process as kill -9 does, frozen or not, and waits until it is gone. It may be gone before.
func (p *Process) Kill() {
	if !p.Running() {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && p.Running() {
		p.t.Errorf("kill: %v", err)
		return
	}
	<-p.done
}

// Exit waits for the process's end and returns its exit code.
func (p *Process) Exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(await.Patience):
		p.t.Fatalf("the process does not end\n%s", p.Err.Tail(2000))
	}
	return p.cmd.ProcessState.ExitCode()
}

// Terminate asks the process to stop, and wants it to end well.
func (p *Process) Terminate() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Exit(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM\n%s", code, p.Err.Tail(2000))
	}
}

// Result is a command that has ended.
type Result struct {
	Code     int
	Out, Err string
}

// Run runs a binary to its end with an environment of just these variables; nil is this process's own. One that does not end is
// killed, and fails the test.
func Run(t testing.TB, binary string, environ []string, args ...string) Result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = t.TempDir(), &out, &errOut, environ
	if err := cmd.Start(); err != nil {
		t.Fatalf("run spillway: %v", err)
	}
	timer := time.AfterFunc(await.Patience, func() { _ = cmd.Process.Kill() })
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

// MustRun is Run for a command that has to succeed. It returns what that printed.
func MustRun(t testing.TB, binary string, environ []string, args ...string) string {
	t.Helper()
	r := Run(t, binary, environ, args...)
	if r.Code != 0 {
		t.Fatalf("spillway %s: exit code %d\n%s", strings.Join(args, " "), r.Code, r.Err)
	}
	return r.Out
}
