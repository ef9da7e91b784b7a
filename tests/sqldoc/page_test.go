package sqldoc

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/tests/product"
)

// step is one example, or one thing to prepare.
type step struct {
	line   int
	verb   string // "sql", or that of a comment
	text   string
	answer string // of sql
}

var directive = regexp.MustCompile(`^<!-- (super|quiet|hold|release|as)(?:: (.*))? -->$`)

// page reads the steps of docs/sql.md.
func page(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(product.Root(), "docs", "sql.md"))
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	var block *strings.Builder
	fence := ""
	for i, line := range strings.Split(string(text), "\n") {
		mark, inFence := strings.CutPrefix(line, "```")
		switch {
		case block != nil && inFence:
			if err := closeBlock(&steps, fence, block.String()); err != nil {
				t.Fatalf("docs/sql.md:%d: %v", i+1, err)
			}
			block = nil
		case block != nil:
			block.WriteString(line + "\n")
		case inFence:
			block, fence = &strings.Builder{}, mark
			if mark == "sql" {
				steps = append(steps, step{line: i + 1, verb: "sql"})
			}
		default:
			if m := directive.FindStringSubmatch(line); m != nil {
				steps = append(steps, step{line: i + 1, verb: m[1], text: m[2]})
			}
		}
	}
	if last := steps[len(steps)-1]; last.verb == "sql" && last.answer == "" {
		t.Fatalf("docs/sql.md:%d: an example without its answer", last.line)
	}
	return steps
}

func closeBlock(steps *[]step, fence, text string) error {
	n := len(*steps)
	open := n > 0 && (*steps)[n-1].verb == "sql" && (*steps)[n-1].answer == ""
	switch {
	case fence == "sql" && n > 1 && (*steps)[n-2].verb == "sql" && (*steps)[n-2].answer == "":
		return fmt.Errorf("the example at line %d has no answer", (*steps)[n-2].line)
	case fence == "sql":
		(*steps)[n-1].text = strings.TrimSpace(text)
	case fence == "text" && !open:
		return fmt.Errorf("an answer without an example")
	case fence == "text":
		(*steps)[n-1].answer = strings.TrimSpace(text)
	}
	return nil
}

var (
	ids    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	times  = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?|Z)?`)
	rule   = regexp.MustCompile(`-{2,}|\+-+`)
	blanks = regexp.MustCompile(`\s+`)
)

// plain takes from a line what may differ.
func plain(line string) string {
	line = times.ReplaceAllString(line, "TIME")
	line = rule.ReplaceAllString(line, "-")
	return strings.TrimSpace(blanks.ReplaceAllString(line, " "))
}

// book knows which job of this run stands for which id of the page.
type book map[string]string

// match reports whether a line is as expected. Ids that are met for the first time are noted.
func (b book) match(want, got string) bool {
	want, got = plain(want), plain(got)
	var unknown []string
	pattern := regexp.QuoteMeta(want)
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	pattern = ids.ReplaceAllStringFunc(pattern, func(id string) string {
		if real, ok := b[id]; ok {
			return real
		}
		unknown = append(unknown, id)
		return "(" + ids.String() + ")"
	})
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(got)
	if m == nil {
		return false
	}
	for i, id := range unknown {
		b[id] = m[i+1]
	}
	return true
}

// translate puts this run's ids into a statement of the page.
func (b book) translate(sql string) string {
	return ids.ReplaceAllStringFunc(sql, func(id string) string {
		if real, ok := b[id]; ok {
			return real
		}
		return id
	})
}

// compare says where an answer differs from the page. A line that is … alone stands for any number of lines, and notices that
// the page does not show tell of progress.
func (b book) compare(want, got string) error {
	lines := strings.Split(got, "\n")
	any := false
	for _, w := range strings.Split(want, "\n") {
		if w == "…" {
			any = true
			continue
		}
		for len(lines) > 0 && (any || strings.HasPrefix(lines[0], "NOTICE:")) && !b.match(w, lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			return fmt.Errorf("missing: %s", w)
		}
		if !b.match(w, lines[0]) {
			return fmt.Errorf("expected: %s\ngot:      %s", plain(w), plain(lines[0]))
		}
		lines, any = lines[1:], false
	}
	if len(lines) > 0 && !any {
		return fmt.Errorf("more than expected: %s", strings.Join(lines, "\n"))
	}
	return nil
}

func TestCompare(t *testing.T) {
	t.Parallel()
	const a, b = "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "11111111-2222-3333-4444-555555555555"
	known := book{}
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"x | " + a + "\n(1 row)", "x  |   " + b + "\n(1 row)", true},
		{a, b, true},
		{a, a, false},
		{"at 2026-01-01 00:00:00+00", "at 2031-12-31 23:59:59.123+02", true},
		{"… rows", "NOTICE:  working\n17 rows", true},
		{"NOTICE:  done", "NOTICE:  working\nNOTICE:  done", true},
		{"one\n…\nfour", "one\ntwo\nthree\nfour", true},
		{"one\n…", "one", true},
		{"…\nfour", "one\nfive", false},
		{"one\ntwo", "one", false},
		{"one", "one\ntwo", false},
		{"a.b", "axb", false},
	} {
		if err := known.compare(c.want, c.got); (err == nil) != c.ok {
			t.Errorf("%q and %q: %v", c.want, c.got, err)
		}
	}
	if got := known.translate("KILL JOB 'flush:app.t:" + a + "'"); got != "KILL JOB 'flush:app.t:"+b+"'" {
		t.Error(got)
	}
}
