package shell

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// historyLength is how many entries are kept. The file may grow to twice as many before it is cut.
const historyLength = 1000

// secret finds what a statement that holds a password looks like. It would rather leave out too much.
var secret = regexp.MustCompile(`(?i)passw(or)?d|passphrase|secret|credential|access_?key|private_?key|://[^/\s:@]*:[^/\s@]*@`)

// history holds what was typed at the prompt, in memory and in a file that only its owner may read. What looks like a
// password stays in memory.
type history struct {
	path    string // "": no file
	entries []string
}

var _ term.History = (*history)(nil)

// HistoryPath is where history is kept: the state directory of the XDG rules. Empty: this user has no home.
func HistoryPath(lookup func(name string) (value string, ok bool)) string {
	if dir, ok := lookup("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "spillway", "history")
	}
	if home, ok := lookup("HOME"); ok && home != "" {
		return filepath.Join(home, ".local", "state", "spillway", "history")
	}
	return ""
}

// openHistory reads the file. With an error the history works too, without its file.
func openHistory(path string) (*history, error) {
	h := &history{path: path}
	if path == "" {
		return h, nil
	}
	err := h.load()
	if err != nil {
		h.path = ""
		return h, fmt.Errorf("history is not kept: %w", err)
	}
	return h, nil
}

func (h *history) load() error {
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return err
	}
	f, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			h.entries = append(h.entries, line)
		}
		if err != nil {
			break
		}
	}
	long := len(h.entries) > 2*historyLength
	h.trim()
	if long {
		return h.rewrite()
	}
	return f.Chmod(0o600)
}

// rewrite cuts the file to what is kept. What another prompt adds at this very moment is lost, which is no loss to speak of.
func (h *history) rewrite() error {
	tmp, err := os.CreateTemp(filepath.Dir(h.path), ".history-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // after the rename there is nothing to remove
	if _, err := tmp.WriteString(strings.Join(h.entries, "\n") + "\n"); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), h.path)
}

func (h *history) trim() {
	if n := len(h.entries) - historyLength; n > 0 {
		h.entries = slices.Delete(h.entries, 0, n)
	}
}

// record adds what was typed up to the end of a statement: as one line if that means the same, else as its lines.
func (h *history) record(text string) error {
	lines := []string{strings.TrimSpace(text)}
	if one, ok := parse.OneLine(text); ok {
		lines[0] = one
	} else {
		lines = strings.Split(lines[0], "\n")
	}
	add := ""
	for _, l := range lines {
		l = strings.TrimRight(l, "\r")
		if strings.TrimSpace(l) == "" || len(h.entries) > 0 && h.entries[len(h.entries)-1] == l {
			continue
		}
		h.entries = append(h.entries, l)
		add += l + "\n"
	}
	h.trim()
	if h.path == "" || add == "" || secret.MatchString(text) {
		return nil
	}
	return h.append(add)
}

func (h *history) append(text string) error {
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Add is called by the terminal for each line. Whole statements are recorded instead.
func (h *history) Add(string) {}

// Len is for the terminal.
func (h *history) Len() int { return len(h.entries) }

// At is for the terminal; the newest entry is number 0.
func (h *history) At(i int) string { return h.entries[len(h.entries)-1-i] }
