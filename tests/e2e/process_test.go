package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before a test gives up.
const patience = 90 * time.Second

// until polls cond until it holds.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// output collects what a process prints, and tells those who wait for a line.
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

// lines returns the lines that hold all of the given parts.
func (o *output) lines(parts ...string) []string {
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

// process is a running spillway.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err output
	done     chan struct{} // closed when it has ended
}

// start runs the binary. The process is killed when the test ends, if it still runs, and its log is shown if the test failed.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
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
		p.kill()
		if t.Failed() {
			t.Logf("spillway %s\n%s%s", args[0], p.out.String(), tail(p.err.String(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends a signal. It fails the test if the process is gone.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s: %v", s, err)
	}
}

// kill ends the process as kill -9 does, frozen or not, and waits until it is gone. It may be gone before.
func (p *process) kill() {
	if !p.running() {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil && p.running() {
		p.t.Errorf("kill: %v", err)
		return
	}
	<-p.done
}

// exit waits for the process's end and returns its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the process does not end\n%s", tail(p.err.String(), 2000))
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate asks the process to stop and wants it to end well.
func (p *process) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM\n%s", code, tail(p.err.String(), 2000))
	}
}

// ready waits for the line that says so.
func (p *process) ready() {
	p.t.Helper()
	until(p.t, "the process is ready", func() bool {
		if !p.running() {
			p.t.Fatalf("the process ended with code %d instead of becoming ready\n%s", p.cmd.ProcessState.ExitCode(), p.err.String())
		}
		return strings.Contains(p.out.String(), "is ready")
	})
}

// result is a command that has ended.
type result struct {
	code     int
	out, err string
}

// run runs the binary to its end.
func run(t testing.TB, args ...string) result {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = t.TempDir()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run spillway: %v", err)
	}
	return result{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errOut.String()}
}

// mustRun is run for a command that has to succeed.
func mustRun(t testing.TB, args ...string) string {
	t.Helper()
	r := run(t, args...)
	if r.code != 0 {
		t.Fatalf("spillway %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
