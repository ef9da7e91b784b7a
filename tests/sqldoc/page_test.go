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
