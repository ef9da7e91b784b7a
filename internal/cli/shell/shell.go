package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

var (
	// errQuit is returned by a run that \q ended.
	errQuit = errors.New("quit")
	// errStopped is the cause of a context whose statement the user stopped by Ctrl-C.
	errStopped = errors.New("stopped")
)

// cancelPatience is how long the prompt waits for a statement to obey Ctrl-C. A second Ctrl-C waits no longer.
const cancelPatience = 5 * time.Minute

// shell runs statements and backslash commands, one after the other on one connection.
type shell struct {
	o *Options
	c *sqlclient.Client

	view        show.View
	timing      bool
	goOn        bool // after errors
	interactive bool
	screen      *screen // nil: no terminal
	history     *history
	names       nameCache
	typing      *parse.Input // what is typed now, for completion
	data        bool         // rows of a COPY are typed, and a Tab is a Tab
	shown       string       // the line whose candidates were listed last

	last   string // the statement that \g and \watch repeat
	depth  int    // of \i
	failed int    // statements
}

// connect opens the shell's connection.
func (sh *shell) connect(ctx context.Context) error {
	c, err := sh.o.Dial(ctx)
	if err != nil {
		return err
	}
	c.OnNotice = func(n *pgconn.Notice) { sqlclient.PrintNotice(sh.o.Err, n) }
	c.OnNotification = func(n *pgconn.Notification) {
		sh.say("Notification %q with payload %q from backend %d.", n.Channel, n.Payload, n.PID)
	}
	if sh.interactive {
		c.WaitForCancel(cancelPatience)
	}
	sh.c = c
	return nil
}

// prompt talks to a person until \q or the end of input.
func (sh *shell) prompt(ctx context.Context, historyFile string) error {
	sh.interactive = true
	sh.c.WaitForCancel(cancelPatience)
	defer sh.o.Divert(func() {})()
	fmt.Fprintln(sh.o.Out, `Statements end with a semicolon; \? lists commands, \q or Ctrl-D leaves.`)
	var lines lineSource
	h, err := openHistory(historyFile)
	if s, ok := newScreen(sh.o.In, sh.o.Out, h, sh.complete); ok {
		lines, sh.screen, sh.history = s, s, h
		if err != nil {
			fmt.Fprintf(sh.o.Err, "spillway: %v\n", err)
		}
	} else {
		plain := newScript(sh.o.In)
		plain.echo = sh.o.Out
		lines = plain
	}
	err = sh.run(ctx, &run{lines: lines, name: ""})
	lines.release()
	if err == nil { // Ctrl-D leaves the cursor behind the prompt
		fmt.Fprintln(sh.o.Out)
	}
	return orNil(err, errQuit)
}

// orNil forgets an error that only says how something ended well.
func orNil(err, fine error) error {
	if errors.Is(err, fine) {
		return nil
	}
	return err
}

// failures is the error of a run that went on after errors.
func (sh *shell) failures() error {
	if sh.failed == 0 || sh.interactive {
		return nil
	}
	return fmt.Errorf("%d statements failed", sh.failed)
}

// run runs all statements of a source. At its end the last statement needs no semicolon, unless a person typed it.
func (sh *shell) run(ctx context.Context, r *run) error {
	in := &parse.Input{}
	if sh.interactive && sh.depth == 0 {
		sh.typing = in
	}
	typed := ""
	for {
		sh.shown = ""
		line, err := r.lines.next(ctx, sh.promptText(in))
		switch {
		case errors.Is(err, errLineCancelled):
			in.Reset()
			typed = ""
			continue
		case errors.Is(err, io.EOF):
			return sh.runRest(ctx, in, r)
		case err != nil:
			return err
		}
		if line, err = sh.word(in, line); err != nil {
			return err
		}
		in.Add(line + "\n")
		typed += line + "\n"
		if err := sh.drain(ctx, in, r, &typed); err != nil {
			return err
		}
	}
}

// word turns what people type at a prompt to leave or to be helped into the command.
func (sh *shell) word(in *parse.Input, line string) (string, error) {
	if !sh.interactive || sh.depth > 0 || in.Waiting() != '=' {
		return line, nil
	}
	switch strings.ToLower(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), ";"))) {
	case "exit", "quit":
		return "", errQuit
	case "help":
		return `\?`, nil
	}
	return line, nil
}

func (sh *shell) runRest(ctx context.Context, in *parse.Input, r *run) error {
	t := in.Rest()
	if t.Text == "" || sh.interactive && sh.depth == 0 {
		return nil
	}
	sh.last = t.Text
	return sh.settle(ctx, r, t.Line, sh.execute(ctx, t.Text, in, r))
}

// drain runs what has its end.
func (sh *shell) drain(ctx context.Context, in *parse.Input, r *run, typed *string) error {
	for {
		in.BackslashQuotes = sh.c.Conn.ParameterStatus("standard_conforming_strings") == "off"
		t, ok := in.Next()
		if !ok {
			if in.Waiting() == '=' {
				sh.remember(typed)
			}
			return nil
		}
		r.lines.release()
		var err error
		if t.End == parse.EndCommand {
			rest, _ := in.Line()
			err = sh.command(ctx, t.Text, rest, in, r)
		} else {
			sh.last = t.Text
			err = sh.execute(ctx, t.Text, in, r)
		}
		if errors.Is(err, errQuit) {
			sh.remember(typed)
		}
		if err := sh.settle(ctx, r, t.Line, err); err != nil {
			return err
		}
	}
}

// remember records what was typed in the history.
func (sh *shell) remember(typed *string) {
	if sh.history != nil && sh.depth == 0 {
		if err := sh.history.record(*typed); err != nil {
			sh.history.path = ""
			fmt.Fprintf(sh.o.Err, "spillway: history is not kept: %v\n", err)
		}
	}
	*typed = ""
}

// settle decides what an error means for the run: the end of a script; a report at the prompt, which goes on.
func (sh *shell) settle(ctx context.Context, r *run, line int, err error) error {
	switch {
	case err == nil || errors.Is(err, errQuit):
		return err
	case ctx.Err() != nil:
		return err
	case sh.c.Conn.IsClosed():
		return sh.lost(ctx, err)
	case sh.depth == 0 && sh.interactive || sh.goOn:
		sh.failed++
		sh.o.Report(sh.o.Err, located(r.name, line, err))
		return nil
	}
	return located(r.name, line, err)
}

// located says where in a script an error happened.
func located(name string, line int, err error) error {
	if name == "" {
		return err
	}
	return fmt.Errorf("%s:%d: %w", name, line, err)
}

// lost deals with a connection that is gone: a prompt gets another one, a script ends.
func (sh *shell) lost(ctx context.Context, err error) error {
	gone := &fail.Unreachable{What: "the connection is gone", Err: err, Todo: "is `spillway up` still running?"}
	if !sh.interactive {
		return gone
	}
	sh.o.Report(sh.o.Err, gone)
	if err := sh.connect(ctx); err != nil {
		return err
	}
	fmt.Fprintln(sh.o.Err, "Connected again. Settings, temporary tables and an open transaction are gone.")
	return nil
}

// promptText is psql's: what the input waits for, and the state of the transaction.
func (sh *shell) promptText(in *parse.Input) string {
	state := ""
	switch sh.c.Conn.TxStatus() {
	case 'T':
		state = "*"
	case 'E':
		state = "!"
	}
	end := ">"
	if sh.c.Conn.ParameterStatus("is_superuser") == "on" {
		end = "#"
	}
	return "spillway" + string(in.Waiting()) + state + end + " "
}

// say prints a line that is no result: at a prompt among the results, elsewhere out of their way.
func (sh *shell) say(format string, args ...any) {
	w := sh.o.Err
	if sh.interactive {
		w = sh.o.Out
	}
	fmt.Fprintf(w, format+"\n", args...)
}

// stoppable lets Ctrl-C at a prompt end ctx; pressed again, it gives up the connection.
func (sh *shell) stoppable(ctx context.Context) (context.Context, func()) {
	if !sh.interactive {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	conn := sh.c.Conn.Conn()
	giveBack := sh.o.Divert(func() {
		if ctx.Err() != nil {
			_ = conn.SetDeadline(time.Now()) // whoever waits learns of it
			return
		}
		cancel(errStopped)
	})
	return ctx, func() {
		giveBack()
		cancel(nil)
	}
}

// execute runs one statement and prints what comes.
func (sh *shell) execute(ctx context.Context, text string, in *parse.Input, r *run) error {
	ctx, done := sh.stoppable(ctx)
	defer done()
	began := time.Now()
	err := sh.send(ctx, text, in, r)
	sh.names.at = time.Time{} // it may have made or dropped something
	if sh.timing {
		sh.say("Time: %.3f ms", float64(time.Since(began).Microseconds())/1000)
	}
	return err
}

func (sh *shell) send(ctx context.Context, text string, in *parse.Input, r *run) error {
	switch parse.Copy(text, &parse.Options{BackslashQuotes: in.BackslashQuotes}) {
	case parse.CopyOut:
		_, err := sh.c.Conn.CopyTo(ctx, sh.o.Out, text)
		return sqlclient.OfStatement(err, text)
	case parse.CopyIn:
		return sh.copyIn(ctx, text, in, r)
	}
	return sh.c.Run(ctx, text, sh.view.Sink(sh.o.Out))
}

// copyIn runs COPY … FROM STDIN with the lines that follow it.
func (sh *shell) copyIn(ctx context.Context, text string, in *parse.Input, r *run) error {
	lines := &copyLines{next: func() (string, error) {
		if line, ok := in.Line(); ok {
			return line, nil
		}
		return r.lines.next(ctx, ">> ")
	}}
	var data io.Reader = lines
	in.EndLine() // data begins on the next one
	switch {
	case r.data != nil:
		data = r.data
	case sh.interactive && sh.depth == 0:
		// All of it first: a person can still change his mind, and sees an error afterwards.
		sh.say(`Enter the rows, columns separated by a tab, and then a line with \. alone.`)
		sh.data = true
		all, err := io.ReadAll(lines)
		sh.data = false
		r.lines.release()
		if errors.Is(err, errLineCancelled) {
			return nil
		} else if err != nil {
			return err
		}
		data = bytes.NewReader(all)
	}
	tag, err := sh.c.Conn.CopyFrom(ctx, data, text)
	if err == nil && sh.view.Form == "table" {
		fmt.Fprintln(sh.o.Out, tag)
	}
	if r.data == nil && !sh.c.Conn.IsClosed() {
		_, _ = io.Copy(io.Discard, lines) // what a refused COPY left is no statement
	}
	return sqlclient.OfStatement(err, text)
}

// copyLines reads lines up to one that is \. alone.
type copyLines struct {
	next func() (string, error)
	rest []byte
	err  error
}

func (c *copyLines) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		line, err := c.next()
		switch {
		case err != nil:
			c.err = err
			return 0, err
		case strings.TrimSuffix(line, "\r") == `\.`:
			c.err = io.EOF
			return 0, io.EOF
		}
		c.rest = []byte(line + "\n")
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
