package top

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// list is one of the lists of `spillway top`. The cursor stays with its row, by key, when rows come and go.
type list struct {
	title, key string
	columns    []column
	rows       []sqlclient.Row
	trouble    string

	cursor    string // key of the row; "": the first
	last      int    // where it was, for when its row has gone
	top       int    // index of the first row that is shown
	sorted    int    // column; -1: as the server sorts
	backwards bool
	filter    string
}

// column is a column of a list. Where the terminal is narrow, those of the highest rank go first.
type column struct {
	name  string
	right bool
	rank  int
	cell  func(sqlclient.Row) string
	order func(sqlclient.Row) float64 // how it sorts; nil: by its text
}

// show filters and sorts.
func (l *list) show(rows []sqlclient.Row) []sqlclient.Row {
	var out []sqlclient.Row
	for _, r := range rows {
		if l.filter == "" || l.holds(r) {
			out = append(out, r)
		}
	}
	if l.sorted >= 0 {
		c := l.columns[l.sorted]
		slices.SortStableFunc(out, func(a, b sqlclient.Row) int {
			if c.order != nil {
				return cmp.Compare(c.order(a), c.order(b))
			}
			return cmp.Compare(c.cell(a), c.cell(b))
		})
	}
	if l.backwards {
		slices.Reverse(out)
	}
	return out
}

// holds reports whether the filter's text is in a row: in what is shown of it, or in its key or its error.
func (l *list) holds(r sqlclient.Row) bool {
	want := strings.ToLower(l.filter)
	for _, c := range l.columns {
		if strings.Contains(strings.ToLower(c.cell(r)), want) {
			return true
		}
	}
	return strings.Contains(strings.ToLower(r[l.key]), want) || strings.Contains(strings.ToLower(r["error"]), want)
}

// at returns the index of the row under the cursor; -1: there is none. If its row has gone, the one in its place is.
func (l *list) at(rows []sqlclient.Row) int {
	if len(rows) == 0 {
		return -1
	}
	if l.cursor == "" {
		return 0
	}
	for i, r := range rows {
		if r[l.key] == l.cursor {
			l.last = i
			return i
		}
	}
	return min(l.last, len(rows)-1)
}

// move obeys the keys that move the cursor in a list of which room rows are shown.
func (l *list) move(key string, rows []sqlclient.Row, room int) bool {
	at := l.at(rows)
	switch key {
	case "up":
		at--
	case "down":
		at++
	case "pgup":
		at -= max(1, room)
	case "pgdown":
		at += max(1, room)
	case "home":
		at = 0
	case "end":
		at = len(rows) - 1
	default:
		return false
	}
	if len(rows) > 0 {
		l.last = min(max(at, 0), len(rows)-1)
		l.cursor = rows[l.last][l.key]
	}
	return true
}

// scroll returns the rows to show, and the index of the first, so that the cursor is among them.
func (l *list) scroll(rows []sqlclient.Row, room int) ([]sqlclient.Row, int) {
	at := max(0, l.at(rows))
	l.top = max(0, min(l.top, at, len(rows)-1), at-room+1)
	if len(rows)-l.top < room {
		l.top = max(0, len(rows)-room)
	}
	return rows[l.top:min(len(rows), l.top+room)], l.top
}

// sortNext sorts by the next column, and after the last one as the server does.
func (l *list) sortNext() {
	if l.sorted++; l.sorted >= len(l.columns) {
		l.sorted = -1
	}
	l.backwards = false
}

func byNumber(column string) func(sqlclient.Row) float64 {
	return func(r sqlclient.Row) float64 { return progress.Number(r[column]) }
}

// ago writes seconds as a time span; "" stays.
func ago(seconds string) string {
	if seconds == "" {
		return ""
	}
	return show.Span(time.Duration(progress.Number(seconds)) * time.Second)
}

// known is text, or "" where a column of it is NULL.
func known(column string, text func(string) string) func(sqlclient.Row) string {
	return func(r sqlclient.Row) string {
		if r[column] == "" {
			return ""
		}
		return text(r[column])
	}
}

func plain(column string) func(sqlclient.Row) string {
	return func(r sqlclient.Row) string { return show.Printable([]byte(r[column])) }
}

// jobColumns need the model: it knows how fast jobs go.
func (m *model) jobColumns() []column {
	return []column{
		{name: "JOB", cell: func(r sqlclient.Row) string {
			return strings.TrimSpace(progress.JobType(r) + " " + show.Printable([]byte(r["target"])))
		}},
		{name: "STATUS", rank: 1, cell: jobStatus},
		{name: "PROGRESS", rank: 2, cell: func(r sqlclient.Row) string {
			return show.Bar(progress.Share(r), 12) + " " + padLeft(strconv.Itoa(int(progress.Share(r)*100)), 3) + " %"
		}, order: progress.Share},
		{name: "DONE", right: true, rank: 4, cell: func(r sqlclient.Row) string { return progress.DoneText(r) }, order: func(r sqlclient.Row) float64 { return progress.Number(r[progress.UnitOf(r).Column]) }},
		{name: "RATE", right: true, rank: 3, cell: m.rateOf, order: func(r sqlclient.Row) float64 { return m.speedOf(r) }},
		{name: "LEFT", right: true, rank: 3, cell: m.leftOf},
		{name: "SIZE", right: true, rank: 6, cell: func(r sqlclient.Row) string { return show.Bytes(r["bytes_written"]) }, order: byNumber("bytes_written")},
		{name: "AGE", right: true, rank: 5, cell: func(r sqlclient.Row) string { return ago(r["age"]) }, order: byNumber("age")},
	}
}

// jobStatus shows with the status what the job is at, or whether it stumbled.
func jobStatus(r sqlclient.Row) string {
	switch {
	case r["finished_at"] != "":
		if r["error_class"] != "" {
			return r["status"] + " (" + r["error_class"] + ")"
		}
		return r["status"]
	case r["error"] != "":
		return r["status"] + ", retries"
	case r["phase"] != "":
		return r["status"] + ", " + show.Printable([]byte(r["phase"]))
	}
	return r["status"]
}

// speedOf is how fast a job goes; one that does not run has no speed.
func (m *model) speedOf(r sqlclient.Row) float64 {
	p := m.paces[r["job_id"]]
	if p == nil || r["status"] != "running" {
		return 0
	}
	return p.rows.PerSecond(m.seen)
}

func (m *model) rateOf(r sqlclient.Row) string { return progress.UnitOf(r).Rate(m.speedOf(r)) }

func (m *model) leftOf(r sqlclient.Row) string {
	p := m.paces[r["job_id"]]
	if p == nil || r["status"] != "running" {
		return ""
	}
	d, ok := p.share.Left(m.seen, 1)
	if !ok {
		return ""
	}
	return show.Span(d)
}

var sizeColumns = []column{
	{name: "TABLE", cell: plain("name")},
	{name: "HOT", right: true, rank: 1, cell: known("bytes_hot", show.Bytes), order: byNumber("bytes_hot")},
	{name: "DEAD ROWS", right: true, rank: 4, cell: known("rows_dead", show.Groups), order: byNumber("rows_dead")},
	{name: "COLD", right: true, rank: 2, cell: known("bytes_cold", show.Bytes), order: byNumber("bytes_cold")},
	{name: "COLD ROWS", right: true, rank: 3, cell: known("rows_cold", show.Groups), order: byNumber("rows_cold")},
	{name: "SEGMENTS", right: true, rank: 5, cell: known("segments", show.Groups), order: byNumber("segments")},
	{name: "FLUSHED", right: true, rank: 3, cell: func(r sqlclient.Row) string {
		if r["flushed"] == "" {
			return "never"
		}
		return ago(r["flushed"]) + " ago"
	}, order: byNumber("flushed")},
}

var workerColumns = []column{
	{name: "WORKER", cell: func(r sqlclient.Row) string {
		if r["host"] == "" {
			return show.Printable([]byte(r["identity"]))
		}
		return show.Printable([]byte(r["host"] + ":" + r["pid"]))
	}},
	{name: "STATUS", rank: 1, cell: plain("status")},
	{name: "SLOTS", right: true, rank: 2, cell: func(r sqlclient.Row) string {
		if r["slots_total"] == "" {
			return ""
		}
		return r["slots_used"] + " of " + r["slots_total"]
	}, order: byNumber("slots_used")},
	{name: "VERSION", rank: 5, cell: plain("version")},
	{name: "UP", right: true, rank: 3, cell: func(r sqlclient.Row) string { return ago(r["age"]) }, order: byNumber("age")},
	{name: "SEEN", right: true, rank: 4, cell: func(r sqlclient.Row) string {
		if r["silent"] == "" {
			return ""
		}
		return ago(strconv.FormatFloat(max(0, progress.Number(r["silent"])), 'f', 0, 64)) + " ago" // clocks differ a little
	}, order: byNumber("silent")},
}

// padLeft fills a text with spaces to a width.
func padLeft(text string, width int) string {
	return strings.Repeat(" ", max(0, width-show.Width(text))) + text
}
