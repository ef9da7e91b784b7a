// Package transcript compares what a page of the docs shows with what the product printed now. Ids, times and the width of
// columns may differ; which id stands for which stays the same through a page.
package transcript

import (
	"fmt"
	"regexp"
	"strings"
)

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

// Book knows which job of this run stands for which id of the page.
type Book map[string]string

// match reports whether a line is as expected. Ids that are met for the first time are noted.
func (b Book) match(want, got string) bool {
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

// Translate puts this run's ids into a statement or a command of the page.
func (b Book) Translate(sql string) string {
	return ids.ReplaceAllStringFunc(sql, func(id string) string {
		if real, ok := b[id]; ok {
			return real
		}
		return id
	})
}

// Compare says where an answer differs from the page. A line that is … alone stands for any number of lines, and notices that
// the page does not show tell of progress.
func (b Book) Compare(want, got string) error {
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
