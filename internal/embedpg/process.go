package embedpg

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a started postmaster.
type process struct {
	pid  int
	done chan struct{}
	err  error // how it ended; read after done
}

// spawn starts cmd and waits for it in the background. On Linux the child gets a signal when the thread that started it
// ends, so that thread is kept for as long as the child lives.
func spawn(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop asks for a shutdown, first the kind that sig means, and harder ones when ctx ends or time passes.
func (p *process) stop(ctx context.Context, sig syscall.Signal) error {
	for _, step := range escalation(sig) {
		if err := p.signal(step.sig); err != nil {
			return err
		}
		timer := time.NewTimer(step.wait)
		select {
		case <-p.done:
			timer.Stop()
			return nil
		case <-step.until(ctx):
			timer.Stop()
		case <-timer.C:
		}
	}
	<-p.done // after SIGKILL there is nothing left to try
	return nil
}

func (p *process) signal(sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// step is one way to stop a server, and how long it may take.
type step struct {
	sig     syscall.Signal
	wait    time.Duration
	patient bool // goes on although the caller's context has ended
}

// until ends the step early when the caller is in a hurry. The immediate shutdown always gets its time: the server needs
// it to end its children, and after SIGKILL they would live on.
func (s step) until(ctx context.Context) <-chan struct{} {
	if s.patient {
		return nil
	}
	return ctx.Done()
}

func escalation(sig syscall.Signal) []step {
	steps := []step{
		{sig: syscall.SIGINT, wait: 60 * time.Second},
		{sig: syscall.SIGQUIT, wait: 10 * time.Second, patient: true},
		{sig: syscall.SIGKILL, wait: 10 * time.Second, patient: true},
	}
	if sig == syscall.SIGQUIT {
		return steps[1:]
	}
	return steps
}
