package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// errLineCancelled is returned by a lineSource when the user pressed Ctrl-C instead of ending the line.
var errLineCancelled = errors.New("line cancelled")

// lineSource is where statements come from, line by line.
type lineSource interface {
	// next returns the next line without its end. The error is io.EOF after the last one.
	next(ctx context.Context, prompt string) (string, error)
	// release is called before anything is printed.
	release()
}

// script reads lines of a file or a pipe.
type script struct {
	lines *bufio.Reader
	echo  io.Writer // takes the prompts; nil: there are none
	begun bool
}

func newScript(r io.Reader) *script { return &script{lines: bufio.NewReader(r)} }

func (s *script) next(ctx context.Context, prompt string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if s.echo != nil {
		fmt.Fprint(s.echo, prompt)
	}
	line, err := s.lines.ReadString('\n')
	if line == "" && err != nil {
		return "", err
	}
	if !s.begun {
		s.begun = true
		line = strings.TrimPrefix(line, "\ufeff") // some editors begin a file with it
	}
	return strings.TrimSuffix(line, "\n"), nil
}

func (s *script) release() {}

// screen reads lines at a terminal, with editing, history and completion. The terminal is raw only while the user types, so
// that Ctrl-C reaches the process while a statement runs.
type screen struct {
	fd   int
	keys *keyReader
	term *term.Terminal
	raw  *term.State // how the terminal was before; nil: it is so now
}

// newScreen makes a screen of the terminal behind stdin and stdout, false if there is none.
func newScreen(stdin io.Reader, stdout io.Writer, h *history, complete func(line string, pos int, key rune) (string, int, bool)) (*screen, bool) {
	in, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, false
	}
	s := &screen{fd: int(in.Fd()), keys: &keyReader{r: in}}
	s.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{s.keys, stdout}, "")
	s.term.History = h
	s.term.AutoCompleteCallback = complete
	return s, true
}

type typedLine struct {
	text string
	err  error
}

func (s *screen) next(ctx context.Context, prompt string) (string, error) {
	if err := s.grab(); err != nil {
		return "", err
	}
	s.term.SetPrompt(prompt)
	lines := make(chan typedLine, 1)
	go func() {
		text, err := s.term.ReadLine()
		lines <- typedLine{text, err}
	}()
	select {
	case <-ctx.Done(): // the reader stays behind; the process is about to end
		s.release()
		return "", context.Cause(ctx)
	case l := <-lines:
		switch {
		case errors.Is(l.err, term.ErrPasteIndicator):
		case l.err != nil:
			s.release()
			return "", l.err
		case s.keys.took(l.text):
			return "", errLineCancelled
		}
		return l.text, nil
	}
}

// grab makes the terminal raw. Lines of one statement are read without a release between them, or what is pasted would be
// echoed twice.
func (s *screen) grab() error {
	if s.raw != nil {
		return nil
	}
	state, err := term.MakeRaw(s.fd)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	s.raw = state
	if w, h, err := term.GetSize(s.fd); err == nil && w > 0 {
		_ = s.term.SetSize(w, h) // only the wrapping of long lines depends on it
	}
	s.term.SetBracketedPasteMode(true) // a pasted Tab is then no completion
	return nil
}

func (s *screen) release() {
	if s.raw == nil {
		return
	}
	s.term.SetBracketedPasteMode(false)
	_ = term.Restore(s.fd, s.raw) // there is nothing else to try
	s.raw = nil
}

// keyReader turns Ctrl-C into ^C, as terminals show it, and the end of the line: package term would take it for the end of
// all input.
type keyReader struct {
	r         io.Reader
	ready     []byte
	cancelled bool // since the last line
}

func (k *keyReader) Read(p []byte) (int, error) {
	if len(k.ready) == 0 {
		buf := make([]byte, 256)
		n, err := k.r.Read(buf)
		if n == 0 {
			return 0, err
		}
		const ctrlC, toEnd, enter = "\x03", "\x05", "\r"
		k.ready = []byte(strings.ReplaceAll(string(buf[:n]), ctrlC, toEnd+"^C"+enter))
		k.cancelled = k.cancelled || len(k.ready) > n
	}
	n := copy(p, k.ready)
	k.ready = k.ready[n:]
	return n, nil
}

// took reports whether the line was ended by Ctrl-C.
func (k *keyReader) took(line string) bool {
	if !k.cancelled || !strings.HasSuffix(line, "^C") {
		return false
	}
	k.cancelled = false
	return true
}
