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

	last *lastRites // nil: nobody will be in such a hurry
}

// errInterrupted is the cause of a context that ended because the user asked the process to stop.
var errInterrupted = errors.New("interrupted")

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
		last: &lastRites{},
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
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		env.last.run(3 * time.Second)
		os.Exit(exitInterrupted)
	}()
	return Run(ctx, env, args)
}

// Run executes one command line, prints its error if it has one, and returns the exit code.
func Run(ctx context.Context, env *Env, args []string) int {
	root := New(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) && !errors.Is(err, errInterrupted) {
		err = &interruptedError{err: err}
	}
	if err != nil {
		report(env.Stderr, err)
	}
	return ExitCode(err)
}
