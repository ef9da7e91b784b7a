package guides

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// command is one line behind a prompt, and what the page shows below it.
type command struct {
	line   int // of the page, from 1
	text   string
	answer []string
	fails  bool // it is meant to
}

// page is one guide.
type page struct {
	path     string
	prepare  []string // SQL, as the superuser, before the first command
	bucket   bool     // the page writes to the bucket company-cold
	commands []command
}

var directive = regexp.MustCompile(`^<!-- (prepare|fails|bucket)(?:: (.*))? -->$`)

// read takes the commands out of the console blocks of a page. A comment "prepare: SQL" makes what the page takes for granted;
// "fails" says that the last command of the next block ends with an error, "bucket" that there is an S3 server.
func read(t *testing.T, path string) *page {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{path: path}
	inside, fails := false, false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "```console":
			inside = true
		case inside && line == "```":
			if n := len(p.commands); n > 0 && fails {
				p.commands[n-1].fails, fails = true, false
			}
			inside = false
		case inside:
			p.add(t, i+1, line)
		default:
			if m := directive.FindStringSubmatch(line); m != nil && m[1] == "prepare" {
				p.prepare = append(p.prepare, m[2])
			} else if m != nil && m[1] == "bucket" {
				p.bucket = true
			} else if m != nil {
				fails = true
			}
		}
	}
	return p
}

// add takes a line of a console block: a command, the rest of one that ends in a backslash, or output.
func (p *page) add(t *testing.T, n int, line string) {
	t.Helper()
	if text, ok := strings.CutPrefix(line, "$ "); ok {
		p.commands = append(p.commands, command{line: n, text: text})
		return
	}
	if len(p.commands) == 0 {
		t.Fatalf("%s:%d: output without a command", p.path, n)
	}
	last := &p.commands[len(p.commands)-1]
	if len(last.answer) == 0 && strings.HasSuffix(last.text, `\`) {
		last.text += "\n" + line
		return
	}
	last.answer = append(last.answer, line)
}
