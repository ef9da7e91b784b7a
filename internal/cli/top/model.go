package top

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

const (
	jobList = iota
	sizeList
	workerList
)

// tablesEvery is how often sizes of tables are asked for: they cost more than the rest, and change less.
const tablesEvery = 5 * time.Second

// model is the state of `spillway top`. Messages change it; view.go draws it.
type model struct {
	ctx     context.Context // of the looks: it ends with the program
	source  source
	now     func() time.Time
	hint    func(error) string
	refresh time.Duration

	width, height int
	lists         [3]list
	focus         int
	all           bool // ended jobs too
	detail, help  bool
	typing        bool // what is typed is the filter
	asking        *deed
	note          string // what became of the last deed
	noteBad       bool
	trouble       string // why what is shown may be old
	seen          time.Time
	tablesAt      time.Time
	paces         map[string]*jobPace // by job
}

// deed is what a key asks for and a question guards. It holds the job's id: the list may move below the cursor meanwhile.
type deed struct{ verb, jobID string }

// jobPace is how fast a job goes: for its rate, and for its end.
type jobPace struct{ rows, share show.Pace }

func newModel(ctx context.Context, source source, now func() time.Time, o *Options) *model {
	m := &model{ctx: ctx, source: source, now: now, hint: o.Hint, refresh: o.Refresh, all: o.All, paces: map[string]*jobPace{}}
	m.lists = [3]list{
		jobList:    {title: "Jobs", key: "job_id", columns: m.jobColumns(), sorted: -1},
		sizeList:   {title: "Tables", key: "name", columns: sizeColumns, sorted: -1},
		workerList: {title: "Workers", key: "identity", columns: workerColumns, sorted: -1},
	}
	return m
}

// The messages.
type (
	tick struct{}
	seen struct { // an answer, or several
		jobs, workers []sqlclient.Row
		err           error
	}
	tablesSeen struct {
		rows []sqlclient.Row
		err  error
	}
	done struct { // a deed
		deed deed
		err  error
	}
)

func (m *model) Init() tea.Cmd { return tea.Batch(m.look(), m.lookAtTables()) }

// look asks for jobs and workers. The next look is due a while after its answer: a server that is slow is asked less.
func (m *model) look() tea.Cmd {
	return func() tea.Msg {
		jobs, err := m.source.jobs(m.ctx)
		if err != nil {
			return seen{err: err}
		}
		workers, err := m.source.workers(m.ctx)
		return seen{jobs: jobs, workers: workers, err: err}
	}
}

func (m *model) lookAtTables() tea.Cmd {
	m.tablesAt = m.now()
	return func() tea.Msg {
		rows, err := m.source.tables(m.ctx)
		return tablesSeen{rows: rows, err: err}
	}
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		if m.typing {
			m.current().filter += show.Printable([]byte(msg.Content))
		}
	case seen:
		m.take(msg)
		return m, tea.Tick(m.refresh, func(time.Time) tea.Msg { return tick{} })
	case tick:
		return m, m.look()
	case tablesSeen:
		if m.lists[sizeList].trouble = m.troubleOf(msg.err); msg.err == nil {
			m.lists[sizeList].rows = msg.rows
		}
		wait := max(0, tablesEvery-m.now().Sub(m.tablesAt))
		return m, tea.Tick(max(wait, m.refresh), func(time.Time) tea.Msg { return tablesDue{} })
	case tablesDue:
		return m, m.lookAtTables()
	case done:
		m.finish(msg)
		return m, nil // the next look shows what became of it
	}
	return m, nil
}

// tablesDue says that it is time to look at the tables.
type tablesDue struct{}

// take keeps what a look brought. What it could not find out stays as it was, and the screen says so.
func (m *model) take(msg seen) {
	if m.trouble = m.troubleOf(msg.err); msg.jobs == nil && msg.err != nil {
		return
	}
	now := m.now()
	m.seen = now
	m.lists[jobList].rows = msg.jobs
	if msg.err == nil {
		m.lists[workerList].rows = msg.workers
	}
	alive := map[string]*jobPace{}
	segments := map[string]string{}
	for _, t := range m.lists[sizeList].rows {
		segments[t["name"]] = t["segments"]
	}
	for _, job := range msg.jobs {
		id := job["job_id"]
		progress.CountSegments(job, segments[job["target"]])
		p := m.paces[id]
		if p == nil {
			p = &jobPace{}
		}
		alive[id] = p
		p.rows.Add(now, progress.Number(job[progress.UnitOf(job).Column]))
		p.share.Add(now, progress.Share(job))
	}
	m.paces = alive
}

// troubleOf says an error in one line.
func (m *model) troubleOf(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	text := err.Error()
	if h := m.hint(err); h != "" {
		text += "; " + h
	}
	return show.Printable([]byte(text))
}

func (m *model) current() *list { return &m.lists[m.focus] }

// press obeys a key.
func (m *model) press(k tea.KeyPressMsg) tea.Cmd {
	key := k.String()
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case m.asking != nil:
		return m.answer(key)
	case m.typing:
		m.typeFilter(key, k.Text)
		return nil
	}
	if m.current().move(key, m.rows(m.focus), m.room(m.focus)) {
		return nil
	}
	m.note = ""
	switch key {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help = !m.help
	case "esc":
		m.back()
	case "enter":
		m.detail = !m.detail && m.focus == jobList && m.selected() != nil
	case "tab", "right":
		m.focusOn((m.focus + 1) % len(m.lists))
	case "shift+tab", "left":
		m.focusOn((m.focus + len(m.lists) - 1) % len(m.lists))
	case "1", "2", "3":
		m.focusOn(int(key[0] - '1'))
	case "/":
		m.typing = true
	case "s":
		m.current().sortNext()
	case "S":
		m.current().backwards = !m.current().backwards
	case "a":
		m.all = !m.all
	case "k":
		m.ask("KILL")
	case "p":
		m.ask("PAUSE")
	case "r":
		m.ask("RESUME")
	}
	return nil
}

func (m *model) focusOn(list int) { m.focus, m.detail = list, false }

// back takes back one thing, the uppermost.
func (m *model) back() {
	switch {
	case m.help:
		m.help = false
	case m.detail:
		m.detail = false
	default:
		m.current().filter = ""
	}
}

func (m *model) typeFilter(key, text string) {
	l := m.current()
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, l.filter = false, ""
	case "backspace":
		if r := []rune(l.filter); len(r) > 0 {
			l.filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		l.filter = ""
	default:
		l.filter += show.Printable([]byte(text))
	}
}

// ask puts the question that guards a deed. What the job's status rules out is said at once.
func (m *model) ask(verb string) {
	job := m.selected()
	if m.focus != jobList || job == nil {
		m.note, m.noteBad = "choose a job first: 1 goes to the list of jobs", true
		return
	}
	if jobmanager.Status(job["status"]).Terminal() {
		m.note, m.noteBad = fmt.Sprintf("job %s has ended: %s", job["job_id"], job["status"]), true
		return
	}
	m.asking = &deed{verb: verb, jobID: job["job_id"]}
}

// answer takes y for yes and all else for no.
func (m *model) answer(key string) tea.Cmd {
	d := *m.asking
	m.asking = nil
	if key != "y" && key != "Y" {
		m.note, m.noteBad = "left as it is", false
		return nil
	}
	m.note, m.noteBad = fmt.Sprintf("%s JOB '%s' …", d.verb, d.jobID), false
	return func() tea.Msg { return done{deed: d, err: m.source.act(m.ctx, d.verb, d.jobID)} }
}

func (m *model) finish(msg done) {
	if msg.err != nil {
		m.note, m.noteBad = m.troubleOf(msg.err), true
		return
	}
	m.note, m.noteBad = fmt.Sprintf("%s JOB '%s': done", msg.deed.verb, msg.deed.jobID), false
}

// selected returns the job under the cursor, or nil.
func (m *model) selected() sqlclient.Row {
	rows := m.rows(jobList)
	if i := m.lists[jobList].at(rows); i >= 0 {
		return rows[i]
	}
	return nil
}

// rows returns the rows of a list as they are shown: filtered and sorted.
func (m *model) rows(list int) []sqlclient.Row {
	l := &m.lists[list]
	rows := l.rows
	if list == jobList && !m.all {
		rows = nil
		for _, r := range l.rows {
			if r["finished_at"] == "" {
				rows = append(rows, r)
			}
		}
	}
	return l.show(rows)
}

// summary counts jobs by their status, for the first line.
func (m *model) summary() string {
	counts := map[string]int{}
	for _, r := range m.lists[jobList].rows {
		counts[r["status"]]++
	}
	var parts []string
	for _, s := range jobmanager.Statuses {
		if n := counts[string(s)]; n > 0 && !s.Terminal() {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if parts == nil {
		parts = []string{"no job runs"}
	}
	used, total := 0.0, 0.0
	for _, w := range m.lists[workerList].rows {
		used += progress.Number(w["slots_used"])
		total += progress.Number(w["slots_total"])
	}
	workers := "workers"
	if len(m.lists[workerList].rows) == 1 {
		workers = "worker"
	}
	return fmt.Sprintf("%s · %d %s, %.0f of %.0f slots used", strings.Join(parts, ", "), len(m.lists[workerList].rows), workers, used, total)
}
