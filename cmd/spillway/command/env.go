package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

// Env is what commands may touch of their surroundings. Tests hand in their own.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(name string) (string, bool)
	Environ        func() []string

	Interactive bool // Stdin is a terminal
	Width       int  // of the terminal behind Stdout; 0: there is none
	Bar         bool // Stderr is a terminal: progress may redraw its line

	last  *lastRites  // nil: nobody will be in such a hurry
	ctrlC *interrupts // nil: nobody can press it
}

// interrupts lets a prompt have Ctrl-C for itself: there it stops a statement, and not the process.
type interrupts struct {
	mu    sync.Mutex
	takes []func()
}

// divert sends each Ctrl-C to f, until the returned function is called. The latest diversion counts.
func (i *interrupts) divert(f func()) (giveBack func()) {
	if i == nil {
		return func() {}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.takes = append(i.takes, f)
	depth := len(i.takes)
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.takes = i.takes[:depth-1]
	}
}

// press hands a Ctrl-C to whoever diverted it, and reports whether there is one.
func (i *interrupts) press() bool {
	i.mu.Lock()
	if len(i.takes) == 0 {
		i.mu.Unlock()
		return false
	}
	f := i.takes[len(i.takes)-1]
	i.mu.Unlock()
	f()
	return true
}

// lastRites are functions to run when the user cannot wait for a graceful stop: each must return within a second or so.
type lastRites struct {
	mu    sync.Mutex
	next  int
	funcs map[int]func()
}

// add registers f; the returned function takes it back.
func (l *lastRites) add(f func()) (remove func()) {
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.funcs == nil {
		l.funcs = make(map[int]func())
	}
	id := l.next
	l.next++
	l.funcs[id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.funcs, id)
	}
}

// run calls every function at once and waits for all of them, at most for limit.
func (l *lastRites) run(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range l.funcs {
		wg.Go(f)
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// Main runs the command line of this process and returns its exit code. The first interrupt asks for a graceful stop, the
// second ends the process at once.
func Main(args []string) int {
	env := &Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv, Environ: os.Environ,
		Interactive: term.IsTerminal(int(os.Stdin.Fd())), Bar: term.IsTerminal(int(os.Stderr.Fd())),
		last: &lastRites{}, ctrlC: &interrupts{},
	}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		env.Width = 80
		if w, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && w > 0 {
			env.Width = w
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go env.obey(signals, func() { cancel(fail.ErrInterrupted) })
	return Run(ctx, env, args)
}

// obey stops the process gracefully at the first signal, at once at the second. A diverted Ctrl-C counts as neither.
func (e *Env) obey(signals <-chan os.Signal, stop func()) {
	asked := false
	for s := range signals {
		switch {
		case s == os.Interrupt && e.ctrlC.press():
		case !asked:
			asked = true
			stop()
		default:
			e.last.run(3 * time.Second)
			os.Exit(exitInterrupted)
		}
	}
}

// Run executes one command line, prints its error if it has one, and returns the exit code.
func Run(ctx context.Context, env *Env, args []string) int {
	root := New(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(context.Cause(ctx), fail.ErrInterrupted) && !errors.Is(err, fail.ErrInterrupted) {
		err = &interruptedError{err: err}
	}
	if err != nil {
		report(env.Stderr, err)
	}
	return ExitCode(err)
}
