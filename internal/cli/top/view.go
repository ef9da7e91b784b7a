package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// The styles. bubbletea leaves colours out where the terminal has none, or NO_COLOR is set.
const (
	styleOff    = "\x1b[m"
	styleBold   = "\x1b[1m"
	styleFaint  = "\x1b[2m"
	styleTurned = "\x1b[7m" // the cursor
	styleRed    = "\x1b[31m"
	styleGreen  = "\x1b[32m"
	styleYellow = "\x1b[33m"
)

func styled(style, text string) string {
	if style == "" || text == "" {
		return text
	}
	return style + text + styleOff
}

const (
	leastWidth  = 30
	leastHeight = 8
	allHeight   = 20 // from here on all lists are shown, below it only one
	smallList   = 6  // rows of a list that has not the focus, at most
)

// View draws the screen. bubbletea sends the terminal only what changed, in one synchronized piece.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "spillway top"
	return v
}

// lines are as many as the terminal has, and none is wider than it.
func (m *model) lines() []string {
	if m.width == 0 || m.height == 0 {
		return nil
	}
	if m.width < leastWidth || m.height < leastHeight {
		return []string{show.Clip("the window is too small", m.width)}
	}
	out := []string{m.head(), ""}
	switch {
	case m.help:
		out = append(out, m.helpLines()...)
	case m.detail && m.selected() != nil:
		out = append(out, m.detailLines(m.selected())...)
	default:
		for list := range m.lists {
			if m.room(list) >= 0 {
				out = append(out, m.list(list)...)
			}
		}
	}
	body := m.height - 2
	if len(out) > body {
		out = out[:body]
	}
	for len(out) < body {
		out = append(out, "")
	}
	return append(out, m.message(), m.keys())
}

func (m *model) head() string {
	text := "spillway top · " + m.summary()
	if m.seen.IsZero() {
		text = "spillway top · looking …"
	}
	return styled(styleBold, show.Clip(text, m.width))
}

// room returns how many rows of a list are shown; -1: it is not shown.
func (m *model) room(list int) int {
	const frame = 2 // title, column heads
	free := m.height - 4
	if m.height < allHeight {
		if list != m.focus {
			return -1
		}
		return free - frame
	}
	free -= 2 // an empty line between lists
	others := 0
	for l := range m.lists {
		if l != m.focus {
			others += frame + min(smallList, max(1, len(m.rows(l))), (free-3*frame)/4)
		}
	}
	if list == m.focus {
		return free - frame - others
	}
	return min(smallList, max(1, len(m.rows(list))), (free-3*frame)/4)
}

// list draws one list: title, heads, and exactly as many lines as it has room.
func (m *model) list(n int) []string {
	l, room := &m.lists[n], m.room(n)
	rows := m.rows(n)
	title := fmt.Sprintf("%d %s (%d)", n+1, l.title, len(rows))
	if l.filter != "" || m.typing && n == m.focus {
		title += "  filter: " + l.filter
		if m.typing && n == m.focus {
			title += "_"
		}
	}
	if l.trouble != "" {
		title += "  " + l.trouble
	}
	style := styleFaint
	if n == m.focus {
		style = styleBold
	}
	shown, first := l.scroll(rows, room)
	columns, widths := l.fitting(shown, m.width)
	out := []string{styled(style, show.Clip(title, m.width)), styled(styleFaint, show.Clip(l.headLine(columns, widths), m.width))}
	at := l.at(rows)
	for i, r := range shown {
		line := show.Clip(rowLine(l, columns, widths, r), m.width)
		switch {
		case n == m.focus && first+i == at:
			line = styled(styleTurned, line+strings.Repeat(" ", m.width-show.Width(line)))
		default:
			line = styled(rowStyle(n, r), line)
		}
		out = append(out, line)
	}
	if len(shown) == 0 {
		out = append(out, styled(styleFaint, show.Clip("  "+m.nothing(n), m.width)))
	}
	for len(out) < room+2 {
		out = append(out, "")
	}
	if n < len(m.lists)-1 && m.height >= allHeight {
		out = append(out, "")
	}
	return out
}

// nothing says why a list is empty.
func (m *model) nothing(n int) string {
	switch l := &m.lists[n]; {
	case m.seen.IsZero():
		return "looking …"
	case l.filter != "":
		return "nothing holds the filter's text; Esc takes it back"
	case n == jobList && len(l.rows) > 0:
		return "no job runs; a shows those that have ended"
	case n == jobList:
		return "no job runs"
	case n == sizeList:
		return "no table has a policy or was flushed before"
	}
	return "no worker is there: jobs wait for one"
}

func rowStyle(list int, r sqlclient.Row) string {
	switch {
	case list == sizeList:
		return ""
	case r["status"] == "running" && r["error"] == "":
		return styleGreen
	case r["status"] == "failed" || r["status"] == "silent":
		return styleRed
	case r["status"] == "completed" || r["status"] == "cancelled":
		return styleFaint
	}
	return styleYellow
}

// fitting returns the columns that fit, and their widths. The first takes what is left over, and gives up what is missing.
func (l *list) fitting(rows []sqlclient.Row, width int) (columns []int, widths []int) {
	const gap, least = 2, 22
	wants := make([]int, len(l.columns))
	for i, c := range l.columns {
		wants[i] = show.Width(c.name) + 1 // room for the sign of the sort
		for _, r := range rows {
			wants[i] = max(wants[i], show.Width(c.cell(r)))
		}
		columns = append(columns, i)
	}
	total := func() (sum int) {
		for _, i := range columns[1:] {
			sum += wants[i] + gap
		}
		return sum
	}
	for len(columns) > 1 && width-total() < min(wants[0], least) {
		worst := 1
		for n := range columns {
			if n > 0 && l.columns[columns[n]].rank >= l.columns[columns[worst]].rank {
				worst = n
			}
		}
		columns = append(columns[:worst:worst], columns[worst+1:]...)
	}
	wants[0] = min(wants[0], width-total())
	for _, i := range columns {
		widths = append(widths, wants[i])
	}
	return columns, widths
}

func (l *list) headLine(columns, widths []int) string {
	return l.line(columns, widths, func(i int) string {
		name := l.columns[i].name
		if i == l.sorted && l.backwards {
			return name + "↓"
		} else if i == l.sorted {
			return name + "↑"
		}
		return name
	})
}

func rowLine(l *list, columns, widths []int, r sqlclient.Row) string {
	return l.line(columns, widths, func(i int) string { return l.columns[i].cell(r) })
}

func (l *list) line(columns, widths []int, cell func(column int) string) string {
	var b strings.Builder
	for n, i := range columns {
		if n > 0 {
			b.WriteString("  ")
		}
		text := show.Clip(cell(i), widths[n])
		if l.columns[i].right {
			b.WriteString(padLeft(text, widths[n]))
		} else {
			b.WriteString(text + strings.Repeat(" ", widths[n]-show.Width(text)))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// message is the line above the keys: a question, what became of a deed, or why the screen may be out of date.
func (m *model) message() string {
	switch {
	case m.asking != nil:
		return styled(styleBold+styleYellow, show.Clip(fmt.Sprintf("%s? y: yes, other keys: no. %s %s", m.asking.verb, m.asking.jobID, consequence[m.asking.verb]), m.width))
	case m.note != "" && m.noteBad:
		return styled(styleRed, show.Clip(m.note, m.width))
	case m.trouble != "":
		return styled(styleRed, show.Clip("not up to date: "+m.trouble, m.width))
	}
	return show.Clip(m.note, m.width)
}

// consequence is what the question before a deed says.
var consequence = map[string]string{
	"KILL": "What has moved stays moved.", "PAUSE": "It holds between chunks.", "RESUME": "It goes on.",
}

func (m *model) keys() string {
	if m.typing {
		return styled(styleFaint, show.Clip("type to filter  Enter keep  Esc take back", m.width))
	}
	return styled(styleFaint, show.Clip("q quit  ? keys  Tab list  Enter details  k kill  p pause  r resume  / filter  s sort  a ended", m.width))
}

func (m *model) helpLines() []string {
	return []string{
		"  Tab, 1 2 3        the next list; jobs, tables, workers",
		"  arrows, PgUp …    move in the list",
		"  Enter             all about the job under the cursor, and back",
		"  k  p  r           kill, pause, resume it; each asks first",
		"  /                 show only rows that hold a text",
		"  s  S              sort by the next column; backwards",
		"  a                 jobs that ended in the last hour, or not",
		"  Esc               take back the filter, this page or a question",
		"  q, Ctrl-C         leave; jobs go on",
	}
}

// detailLines shows a job, a column a line.
func (m *model) detailLines(job sqlclient.Row) []string {
	var out []string
	for _, name := range []string{"job_id", "status", "phase", "progress", "rows_flushed", "rows_total", "segments", "bytes_written", "chunks_done", "chunks_total",
		"attempt", "requested_by", "created_at", "started_at", "finished_at", "error_class", "error", "statement", "ui_url"} {
		if job[name] == "" {
			continue
		}
		text := show.Printable([]byte(job[name]))
		for i, part := range show.Wrap(text, max(10, m.width-17)) {
			label := name
			if i > 0 {
				label = ""
			}
			out = append(out, fmt.Sprintf("  %-14s %s", label, part))
		}
	}
	return out
}
