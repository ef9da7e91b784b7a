package command

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// lineReader reads lines after a prompt: with editing and history at a terminal, plainly elsewhere.
type lineReader struct {
	out   io.Writer
	plain *bufio.Scanner // nil at a terminal
	fd    int
	term  *term.Terminal
}

func newLineReader(env *Env) (*lineReader, error) {
	in, ok := env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		sc := bufio.NewScanner(env.Stdin)
		sc.Buffer(nil, 16<<20)
		return &lineReader{out: env.Stdout, plain: sc}, nil
	}
	rw := struct {
		io.Reader
		io.Writer
	}{in, env.Stdout}
	return &lineReader{out: env.Stdout, fd: int(in.Fd()), term: term.NewTerminal(rw, "")}, nil
}

// read returns the next line without its end, or io.EOF. The terminal is raw only while the user types, so that Ctrl-C
// reaches the process while a statement runs.
func (l *lineReader) read(prompt string) (string, error) {
	if l.plain != nil {
		fmt.Fprint(l.out, prompt)
		if !l.plain.Scan() {
			if err := l.plain.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		}
		return l.plain.Text(), nil
	}
	state, err := term.MakeRaw(l.fd)
	if err != nil {
		return "", fmt.Errorf("terminal: %w", err)
	}
	defer term.Restore(l.fd, state)
	if w, h, err := term.GetSize(l.fd); err == nil {
		_ = l.term.SetSize(w, h) // only the wrapping of long lines depends on it
	}
	l.term.SetPrompt(prompt)
	return l.term.ReadLine()
}

func (l *lineReader) close() {
	if l.plain == nil {
		fmt.Fprintln(l.out)
	}
}
