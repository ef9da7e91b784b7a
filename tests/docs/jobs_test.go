package docs

import (
	"regexp"
	"strings"
	"testing"
)

// docs/job-states.md explains every phase and every class of errors, and says which classes are tried again.
func TestPhasesAndClasses(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/job-states.md")
	named := func(source, pattern string) map[string]string {
		found := map[string]string{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, source), -1) {
			found[m[1]] = m[2]
		}
		if len(found) < 2 {
			t.Errorf("%s: only %d names found", source, len(found))
		}
		return found
	}
	for _, name := range named("workflows/input.go", `(?m)^\t(Phase\w+) +Phase = "(\w+)"`) {
		if name != "ended" && !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("the phase %s is not explained", name)
		}
	}
	for _, name := range named("jobmanager/temporaljobs/errors.go", `(?m)^\t(class\w+) += "(\w+)"`) {
		if !strings.Contains(page, "\n| `"+name+"` | ") {
			t.Errorf("the class %s is not explained", name)
		}
	}
	_, curable, _ := strings.Cut(read(t, "internal/jobstep/class.go"), "retryable = map[string]bool{")
	curable, _, _ = strings.Cut(curable, "}")
	for constant, name := range named("internal/jobstep/class.go", `(?m)^\t(Class\w+) += "(\w+)"`) {
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\| .* \\|(.*)\\|$").FindStringSubmatch(page)
		if row == nil {
			t.Errorf("the class %s is not explained", name)
			continue
		}
		if want, got := strings.Contains(curable, constant+": true"), strings.TrimSpace(row[1]) == "yes"; want != got {
			t.Errorf("the class %s: tried again: %v in the code, %v on the page", name, want, got)
		}
	}
}
