package docs

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/jobmanager"
)

const root = "../.."

var update = flag.Bool("update", false, "write the tests into docs/acceptance.md")

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The picture of the job states has exactly the arrows that CanBecome allows.
func TestJobStates(t *testing.T) {
	t.Parallel()
	text := read(t, "docs/job-states.md")
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\S+) --> (\S+)$`).FindAllStringSubmatch(text, -1) {
		drawn[m[1]+" "+m[2]] = true
	}
	arrow := func(from, to string, want bool) {
		if drawn[from+" "+to] != want {
			t.Errorf("%s --> %s: drawn %v, in the code %v", from, to, !want, want)
		}
		delete(drawn, from+" "+to)
	}
	arrow("[*]", string(jobmanager.Pending), true)
	for _, from := range jobmanager.Statuses {
		for _, to := range jobmanager.Statuses {
			arrow(string(from), string(to), from.CanBecome(to))
		}
		arrow(string(from), "[*]", from.Terminal())
		if !strings.Contains(text, "| `"+string(from)+"` |") {
			t.Errorf("the table does not explain %s", from)
		}
	}
	for rest := range drawn {
		t.Errorf("drawn, but no status of ours: %s", rest)
	}
}

// Every relative link leads to a file, and every anchor to a heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s: link to %s: no such heading", page, m[1])
			}
		}
	}
}

// Every decision says context, choice and what was given up, and stands in the list.
func TestDecisions(t *testing.T) {
	t.Parallel()
	list := read(t, "docs/decisions/README.md")
	files, err := filepath.Glob(filepath.Join(root, "docs/decisions/0*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions: %v", err)
	}
	for i, f := range files {
		name := filepath.Base(f)
		if !strings.HasPrefix(name, fmt.Sprintf("%04d-", i+1)) {
			t.Errorf("%s: expected number %04d", name, i+1)
		}
		text := read(t, "docs/decisions/"+name)
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		if entry := "- [" + title + "](" + name + ")\n"; !strings.Contains(list, entry) {
			t.Errorf("%s is not in the list: %s", name, entry)
		}
		for _, heading := range []string{"# " + name[:4] + " ", "\n## Context\n", "\n## Choice\n", "\n## What we gave up\n"} {
			if !strings.Contains(text, heading) {
				t.Errorf("%s: no %q", name, heading)
			}
		}
	}
}

// docs/acceptance.md has a row for every number, with exactly the tests that name it. `make docs` writes them.
func TestAcceptance(t *testing.T) {
	t.Parallel()
	const page = "docs/acceptance.md"
	row := regexp.MustCompile(`(?m)^\| (A\d+) \| ([^|]+) \| ([^|]*?) ?\|$`)
	found := numberedTests(t)
	seen := map[string]int{}
	want := row.ReplaceAllStringFunc(read(t, page), func(line string) string {
		m := row.FindStringSubmatch(line)
		seen[m[1]]++
		cell := m[3]
		if len(found[m[1]]) > 0 || strings.HasPrefix(cell, "`") {
			slices.Sort(found[m[1]])
			cell = ""
			if len(found[m[1]]) > 0 {
				cell = "`" + strings.Join(found[m[1]], "` `") + "`"
			}
		}
		return "| " + m[1] + " | " + m[2] + " | " + cell + " |"
	})
	for i := 1; i <= 64; i++ {
		if n := seen[fmt.Sprintf("A%d", i)]; n != 1 {
			t.Errorf("A%d has %d rows", i, n)
		}
	}
	for _, m := range row.FindAllStringSubmatch(want, -1) {
		if m[3] == "" {
			t.Errorf("%s has no test and does not say what comes later", m[1])
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, page), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != read(t, page) {
		t.Errorf("%s does not have the tests that name its numbers: run `make docs`", page)
	}
}

// numberedTests returns the tests whose comments name acceptance numbers, as folder.TestName, by number.
func numberedTests(t *testing.T) map[string][]string {
	t.Helper()
	number := regexp.MustCompile(`\bA\d+\b`)
	function := regexp.MustCompile(`^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string][]string{}
	for _, path := range files(t, "_test.go") {
		folder := filepath.ToSlash(filepath.Dir(path))
		var pending []string
		current := ""
		for line := range strings.SplitSeq(read(t, path), "\n") {
			_, comment, isComment := strings.Cut(line, "//")
			switch {
			case function.MatchString(line):
				current = folder + "." + function.FindStringSubmatch(line)[1]
				pending = append(pending, number.FindAllString(comment, -1)...)
			case isComment && line == strings.TrimLeft(line, " \t"):
				pending = append(pending, number.FindAllString(comment, -1)...)
				continue
			case isComment && current != "":
				pending = number.FindAllString(comment, -1)
			case strings.TrimSpace(line) == "" || !strings.HasPrefix(line, "\t") && line != "}":
				pending = nil
				continue
			}
			if current == "" {
				continue
			}
			for _, n := range pending {
				if !slices.Contains(found[n], current) {
					found[n] = append(found[n], current)
				}
			}
			pending = nil
			if line == "}" {
				current = ""
			}
		}
	}
	return found
}

// anchors are the headings of a page as its host links to them.
func anchors(text string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		slug := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		list = append(list, regexp.MustCompile(`[^\pL\pN_-]`).ReplaceAllString(slug, ""))
	}
	return list
}

func pages(t *testing.T) []string { return files(t, ".md") }

// files lists the files of the project that end in suffix, relative to its root.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return filepath.SkipDir
		case strings.HasSuffix(path, suffix):
			rel, err := filepath.Rel(root, path)
			list = append(list, rel)
			return err
		}
		return nil
	})
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s files: %v", suffix, err)
	}
	return list
}
