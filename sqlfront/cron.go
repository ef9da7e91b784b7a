package sqlfront

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// cronError is what is wrong with a cron expression.
type cronError struct {
	at   int // in characters from 0
	msg  string
	hint string
}

func (e *cronError) Error() string { return e.msg }

// cronField is one field of a cron expression.
type cronField struct {
	name      string
	low, high int
	names     []string // that stand for low, low+1, …
	least     int      // letters of a name
}

var (
	cronMonths = strings.Fields("january february march april may june july august september october november december")
	cronDays   = strings.Fields("sunday monday tuesday wednesday thursday friday saturday")

	cronSecond = cronField{name: "second", high: 59}
	cronMinute = cronField{name: "minute", high: 59}
	cronHour   = cronField{name: "hour", high: 23}
	cronDay    = cronField{name: "day of the month", low: 1, high: 31}
	cronMonth  = cronField{name: "month", low: 1, high: 12, names: cronMonths, least: 3}
	cronWeek   = cronField{name: "day of the week", high: 7, names: cronDays, least: 2}
	cronYear   = cronField{name: "year", low: 2000, high: 2100}
)

// cronWords are the words that stand for whole expressions.
var cronWords = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

const cronHint = "five fields: minute, hour, day of the month, month, day of the week, as in '0 3 * * *'; a sixth is the year, and of seven the first is the second"

// checkCron reads a cron expression as Temporal does, and refuses one that never comes after now. The error is *cronError.
func checkCron(expr string, now time.Time) error {
	text := strings.TrimSpace(expr)
	if strings.HasPrefix(text, "@") {
		full, ok := cronWords[text]
		if !ok {
			hint := "there are @hourly, @daily, @weekly, @monthly and @yearly"
			if strings.HasPrefix(text, "@every") {
				hint = "write EVERY '1 hour' in place of CRON '@every 1h'"
			}
			return &cronError{at: offset(expr, text), msg: fmt.Sprintf("invalid cron expression \"%s\"", text), hint: hint}
		}
		return checkCron(full, now)
	}
	var fields []cronField
	words := strings.Fields(text)
	if len(words) > 0 && strings.Contains(words[0], "TZ=") {
		return &cronError{at: offset(expr, text), msg: "a cron expression does not name its time zone here", hint: "the time zone stands behind: CRON '0 3 * * *' TIME ZONE 'Europe/Berlin'"}
	}
	switch len(words) {
	case 5:
		fields = []cronField{cronMinute, cronHour, cronDay, cronMonth, cronWeek}
	case 6:
		fields = []cronField{cronMinute, cronHour, cronDay, cronMonth, cronWeek, cronYear}
	case 7:
		fields = []cronField{cronSecond, cronMinute, cronHour, cronDay, cronMonth, cronWeek, cronYear}
	default:
		return &cronError{at: offset(expr, text), msg: fmt.Sprintf("a cron expression has five to seven fields, not %d", len(words)), hint: cronHint}
	}
	sets := map[string]map[int]bool{}
	rest, before := expr, 0
	for i, w := range words {
		at := before + strings.Index(rest, w)
		set, err := fields[i].read(w)
		if err != nil {
			err.at += len([]rune(expr[:at]))
			return err
		}
		sets[fields[i].name] = set
		before = at + len(w)
		rest = expr[before:]
	}
	if !cronComes(sets, now) {
		return &cronError{at: offset(expr, text), msg: fmt.Sprintf("the cron expression \"%s\" never comes", text), hint: "no day from now until 2100 matches it; a day must match both its day of the month and its day of the week"}
	}
	return nil
}

func offset(expr, text string) int { return len([]rune(expr[:strings.Index(expr, text)])) }

// cronComes reports whether a day matches. Every day has all hours, but for a few that are skipped when clocks change.
func cronComes(sets map[string]map[int]bool, now time.Time) bool {
	years := sets[cronYear.name]
	for d := now.UTC().AddDate(0, 0, -1); d.Year() <= cronYear.high; d = d.AddDate(0, 0, 1) {
		if (years == nil || years[d.Year()]) && sets[cronMonth.name][int(d.Month())] && sets[cronDay.name][d.Day()] && sets[cronWeek.name][int(d.Weekday())] {
			return true
		}
	}
	return false
}

// read reads a field: a list of values, ranges and steps.
func (f cronField) read(text string) (map[int]bool, *cronError) {
	set := map[int]bool{}
	at := 0
	for _, part := range strings.Split(text, ",") {
		low, high, step, err := f.part(part)
		if err != nil {
			err.at = at
			return nil, err
		}
		for n := low; n <= high; n += step {
			if f.name == cronWeek.name {
				set[n%7] = true
			} else {
				set[n] = true
			}
		}
		at += len([]rune(part)) + 1
	}
	return set, nil
}

func (f cronField) part(part string) (low, high, step int, err *cronError) {
	fail := func(format string, args ...any) (int, int, int, *cronError) {
		return 0, 0, 0, &cronError{msg: fmt.Sprintf(format, args...), hint: cronHint}
	}
	span, by, stepped := strings.Cut(part, "/")
	step = 1
	if stepped {
		n, e := strconv.Atoi(by)
		if e != nil || n < 1 || n > 10_000 {
			return fail("invalid step \"%s\" of the %s", by, f.name)
		}
		step = n
	}
	if span == "*" {
		return f.low, f.high, step, nil
	}
	first, last, ranged := strings.Cut(span, "-")
	low, ok := f.value(first)
	if !ok {
		return fail("invalid %s \"%s\": expected a number from %d to %d", f.name, first, f.low, f.high)
	}
	switch {
	case ranged:
		if high, ok = f.value(last); !ok || high < low {
			return fail("invalid %s \"%s\": expected a number from %d to %d", f.name, last, low, f.high)
		}
	case stepped:
		high = f.high
	default:
		high = low
	}
	return low, high, step, nil
}

// value reads a number or a name.
func (f cronField) value(text string) (int, bool) {
	if len(text) >= f.least && f.least > 0 {
		for i, name := range f.names {
			if strings.HasPrefix(name, strings.ToLower(text)) {
				return f.low + i, true
			}
		}
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= f.low && n <= f.high
}

// checkZone says whether a time zone is known.
func checkZone(name string, pos int) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, &pgwire.Error{Code: codeInvalidValue, Position: pos, Message: fmt.Sprintf("time zone \"%s\" not recognized", name),
			Hint: "a time zone has a name of the IANA list, as in 'Europe/Berlin' or 'UTC'"}
	}
	return loc, nil
}
