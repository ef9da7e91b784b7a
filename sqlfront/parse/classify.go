package parse

import "strings"

// Classify reports whether a statement is one of ours, right or wrong. It looks at the first words only, and never claims
// a statement that PostgreSQL could run.
func Classify(src string) bool {
	sc := newScanner(src, nil)
	first := sc.next()
	if first.kind != tokWord || first.end-first.start > len("BACKFILL") {
		return false
	}
	switch strings.ToUpper(src[first.start:first.end]) {
	case "FLUSH", "KILL", "CANCEL", "PAUSE", "RESUME", "TRIGGER", "BACKFILL", "STORAGE", "RESTORE", "VERIFY", "CLEANUP":
		return true // no statement of PostgreSQL begins so
	case "SHOW":
		return second(sc, "JOBS", "JOB", "COLD", "SCHEDULES", "SCHEDULE", "STORAGES", "FLUSH")
	case "EXPLAIN":
		return second(sc, "FLUSH", "KILL", "CANCEL", "SCHEDULE", "STORAGE")
	case "CREATE", "DROP":
		return second(sc, "SCHEDULE", "STORAGE")
	case "ALTER":
		return second(sc, "STORAGE") || alterPolicy(newScanner(src, nil))
	}
	return false
}

// second reports whether the next token is one of the words and does not begin a dotted name: SHOW jobs.x is a setting.
func second(sc *scanner, words ...string) bool {
	t := sc.next()
	if t.kind != tokWord {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(sc.src[t.start:t.end], w) {
			after := sc.next()
			return !(after.kind == tokOther && sc.src[after.start] == '.')
		}
	}
	return false
}

// FirstWord returns the first word of a text in upper case, comments skipped, or "" if it begins with something else or
// the word is long.
func FirstWord(src string) string {
	sc := newScanner(src, nil)
	t := sc.next()
	if t.kind != tokWord || t.end-t.start > 16 {
		return ""
	}
	return strings.ToUpper(src[t.start:t.end])
}

// Words returns the first n tokens of a statement that are words or quoted names, names decoded and words in upper case.
func Words(src string, n int) []string {
	sc := newScanner(src, nil)
	var out []string
	for range n {
		t := sc.next()
		switch t.kind {
		case tokWord:
			out = append(out, strings.ToUpper(src[t.start:t.end]))
		case tokQuoted:
			name, _ := decodeName(src[t.start:t.end])
			out = append(out, name)
		default:
			return out
		}
	}
	return out
}

// near lists, for NearMiss, which second words go with a verb.
var near = []struct {
	verb    string
	seconds []string
}{
	{"FLUSH", []string{"TABLE", "ALL"}},
	{"KILL", []string{"JOB", "JOBS"}},
	{"CANCEL", []string{"JOB", "JOBS"}},
	{"PAUSE", []string{"JOB", "SCHEDULE"}},
	{"RESUME", []string{"JOB", "SCHEDULE"}},
	{"SHOW", []string{"JOB", "JOBS", "COLD", "STORAGES", "SCHEDULE", "SCHEDULES", "FLUSH"}},
	{"CREATE", []string{"STORAGE", "SCHEDULE"}},
	{"DROP", []string{"STORAGE", "SCHEDULE"}},
	{"TRIGGER", []string{"SCHEDULE"}},
	{"BACKFILL", []string{"SCHEDULE"}},
	{"ALTER", []string{"STORAGE"}},
	{"RESTORE", []string{"TABLE"}},
	{"VERIFY", []string{"TABLE"}},
	{"CLEANUP", []string{"OBJECT", "WITH"}},
}

// NearMiss returns what a statement that PostgreSQL does not know was probably meant to be ("FLUSH TABLE"), or "": its
// first word is one edit away from a verb of ours, and the second one fits.
func NearMiss(src string) string {
	sc := newScanner(src, nil)
	first := sc.next()
	if first.kind != tokWord || first.end-first.start > len("BACKFILL")+1 {
		return ""
	}
	verb := strings.ToUpper(src[first.start:first.end])
	for _, n := range near {
		if !oneEdit(verb, n.verb) {
			continue
		}
		t := sc.next()
		for _, s := range n.seconds {
			if t.kind == tokWord && strings.EqualFold(src[t.start:t.end], s) {
				return n.verb + " " + s
			}
		}
		return ""
	}
	return ""
}

// oneEdit reports whether b comes from a by one insertion, deletion, replacement or swap of neighbours.
func oneEdit(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	switch len(a) - len(b) {
	case 1:
		return a[1:] == b
	case -1:
		return a == b[1:]
	case 0:
		return len(a) > 0 && (a[1:] == b[1:] || len(a) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:])
	}
	return false
}

// startsWith reports whether the scanner's next tokens are the words.
func startsWith(sc *scanner, words []string) bool {
	for _, w := range words {
		t := sc.next()
		if t.kind != tokWord || !strings.EqualFold(sc.src[t.start:t.end], w) {
			return false
		}
	}
	return true
}
