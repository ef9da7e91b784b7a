package parse

import "strings"

// A future statement is known by its first words, so that it is refused by name and never passed on to PostgreSQL.
type future struct {
	words []string
	hint  string
}

var futures = []future{
	{[]string{"EXPLAIN", "SCHEDULE"}, runCron},
	{[]string{"CREATE", "SCHEDULE"}, runCron},
	{[]string{"DROP", "SCHEDULE"}, runCron},
	{[]string{"PAUSE", "SCHEDULE"}, runCron},
	{[]string{"RESUME", "SCHEDULE"}, runCron},
	{[]string{"TRIGGER", "SCHEDULE"}, runCron},
	{[]string{"SHOW", "SCHEDULES"}, runCron},
}

const runCron = "until then, let cron run: spillway flush schema.table"

// later returns the error for a statement that does not exist yet, or nil.
func (p *parser) later() error {
	first := p.charPos(newScanner(p.sc.src, nil).next().start)
	for _, f := range futures {
		if startsWith(newScanner(p.sc.src, &Options{BackslashQuotes: p.sc.backslash}), f.words) {
			return p.refuse(first, strings.Join(f.words, " "), f.hint)
		}
	}
	return nil
}

func (p *parser) refuse(pos int, what, hint string) error {
	return &Error{Pos: pos, SQLState: NotSupported, Msg: what + " is not supported yet", Hint: hint}
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
