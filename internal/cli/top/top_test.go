package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/spillwaydb/spillway/internal/cli/clitest"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// hintInTest knows the hints that errors carry themselves.
func hintInTest(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// stage plays the front-end, and the clock.
type stage struct {
	jobRows, workerRows, tableRows []sqlclient.Row
	err                            error
	deeds                          []string
	deedErr                        error
	clock                          time.Time
}

func (s *stage) jobs(context.Context) ([]sqlclient.Row, error)    { return s.jobRows, s.err }
func (s *stage) workers(context.Context) ([]sqlclient.Row, error) { return s.workerRows, s.err }
func (s *stage) tables(context.Context) ([]sqlclient.Row, error)  { return s.tableRows, s.err }

func (s *stage) act(_ context.Context, verb, id string) error {
	s.deeds = append(s.deeds, verb+" "+id)
	return s.deedErr
}

func jobRow(id, target, status string, done, total, segments, age int) sqlclient.Row {
	return sqlclient.Row{
		"job_id": id, "target": target, "status": status, "progress": strconv.FormatFloat(float64(done)/float64(total), 'f', 4, 64), "rows_flushed": strconv.Itoa(done),
		"rows_total": strconv.Itoa(total), "segments": strconv.Itoa(segments), "bytes_written": strconv.Itoa(done * 21), "age": strconv.Itoa(age),
		"chunks_done": strconv.Itoa(segments), "chunks_total": "20", "statement": "FLUSH TABLE " + target,
	}
}

func newStage() *stage {
	running := jobRow("flush:app.events:a1", "app.events", "running", 100_000, 1_000_000, 4, 75)
	running["phase"] = "moving"
	failed := jobRow("flush:app.audit:c3", "app.audit", "failed", 0, 5000, 0, 900)
	failed["finished_at"], failed["error_class"], failed["error"] = "2026-01-01", "storage_full", "no space\x1b[31m left"
	verify := jobRow("verify:app.clicks:b2", "app.clicks", "running", 0, 1, 12, 7)
	verify["progress"] = "0.5"
	return &stage{
		clock:   time.Unix(1_800_000_000, 0),
		jobRows: []sqlclient.Row{running, verify, jobRow("restore:app.日本:d4", "app.日本", "paused", 50, 200, 1, 90_000), failed},
		tableRows: []sqlclient.Row{
			{"name": "app.events", "bytes_hot": "83600000", "rows_dead": "8128", "rows_cold": "1234567", "bytes_cold": "6600000", "segments": "74", "flushed": "233"},
			{"name": "app.gone", "rows_cold": "0", "bytes_cold": "0", "segments": "0"},
		},
		workerRows: []sqlclient.Row{
			{"identity": "71@a@", "host": "a", "pid": "71", "status": "running", "slots_used": "3", "slots_total": "4", "version": "v1.2.0", "age": "7300", "silent": "2"},
			{"identity": "9@b@", "host": "b", "pid": "9", "status": "silent", "version": "v1.1.0", "age": "7300", "silent": "-1"},
		},
	}
}

// play makes a model of the stage that has looked twice, ten seconds apart.
func (s *stage) play(width, height int) *model {
	m := newModel(context.Background(), s, func() time.Time { return s.clock }, &Options{Refresh: time.Second, Hint: hintInTest})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	s.look(m)
	s.clock = s.clock.Add(10 * time.Second)
	s.jobRows[0]["rows_flushed"], s.jobRows[0]["progress"] = "300000", "0.3"
	s.look(m)
	return m
}

func (s *stage) look(m *model) {
	m.Update(m.look()())
	m.Update(m.lookAtTables()())
}

// press types keys, and does what they ask for, but for waiting.
func press(m *model, keys ...string) {
	for _, k := range keys {
		msg := tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		if code, ok := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "down": tea.KeyDown, "up": tea.KeyUp, "end": tea.KeyEnd,
			"pgdown": tea.KeyPgDown, "home": tea.KeyHome, "backspace": tea.KeyBackspace}[k]; ok {
			msg = tea.KeyPressMsg{Code: code}
		}
		if _, cmd := m.Update(msg); cmd != nil {
			m.Update(cmd())
		}
	}
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// shownBy is what a model shows, without its styles; every line fits, and they fill the window.
func shownBy(t *testing.T, m *model) string {
	t.Helper()
	lines := strings.Split(escapes.ReplaceAllString(m.View().Content, ""), "\n")
	if m.height >= leastHeight && m.width >= leastWidth && len(lines) != m.height {
		t.Errorf("%d lines in a window of %d", len(lines), m.height)
	}
	for i, l := range lines {
		if show.Width(l) > m.width {
			t.Errorf("line %d is %d wide in a window of %d: %q", i+1, show.Width(l), m.width, l)
		}
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestScreens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		width, height int
		keys          []string
	}{
		"wide":     {width: 120, height: 28},
		"ended":    {width: 120, height: 28, keys: []string{"a", "end"}},
		"narrow":   {width: 60, height: 24},
		"low":      {width: 80, height: 10, keys: []string{"tab"}},
		"tiny":     {width: 20, height: 5},
		"detail":   {width: 70, height: 24, keys: []string{"a", "end", "enter"}},
		"help":     {width: 80, height: 20, keys: []string{"?"}},
		"kill":     {width: 100, height: 20, keys: []string{"down", "k"}},
		"killed":   {width: 100, height: 20, keys: []string{"down", "k", "y"}},
		"filter":   {width: 100, height: 20, keys: []string{"/", "C", "l", "i"}},
		"filtered": {width: 100, height: 20, keys: []string{"/", "n", "o", "n", "e", "enter"}},
		"sorted":   {width: 100, height: 20, keys: []string{"s", "S", "down"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newStage().play(c.width, c.height)
			press(m, c.keys...)
			got, path := shownBy(t, m), filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

// A question names a job, and the answer means that one, wherever the list has moved to meanwhile.
func TestDeeds(t *testing.T) {
	t.Parallel()
	s := newStage()
	m := s.play(100, 20)
	press(m, "down", "k")
	s.jobRows = append([]sqlclient.Row{jobRow("flush:app.new:e5", "app.new", "running", 1, 2, 1, 0)}, s.jobRows...)
	s.look(m)
	press(m, "y")
	press(m, "p", "n", "p", "esc", "r", "y") // the cursor is still on that job
	if got := strings.Join(s.deeds, "; "); got != "KILL verify:app.clicks:b2; RESUME verify:app.clicks:b2" {
		t.Errorf("deeds: %s", got)
	}
	s.deedErr = fail.Hint(errors.New(`job "x" not found`), "it may have been forgotten")
	press(m, "home", "k", "y")
	clitest.Contains(t, shownBy(t, m), `job "x" not found; it may have been forgotten`)
	press(m, "a", "end", "k") // one that has ended: no question
	clitest.Contains(t, shownBy(t, m), "job flush:app.audit:c3 has ended: failed")
	press(m, "2", "k", "y")
	if len(s.deeds) != 3 {
		t.Errorf("deeds: %q", s.deeds)
	}
}

// A look that fails leaves what was seen, says so, and the next one mends it.
func TestTrouble(t *testing.T) {
	t.Parallel()
	s := newStage()
	m := s.play(100, 20)
	s.err = fmt.Errorf("no answer within %s\x1b[2J", feedPatience)
	s.look(m)
	clitest.Contains(t, shownBy(t, m), `not up to date: no answer within 5s\x1b[2J`, "app.events", "a:71")
	s.err = nil
	s.look(m)
	if got := shownBy(t, m); strings.Contains(got, "not up to date") || strings.Contains(got, "no answer") {
		t.Errorf("the trouble is over:\n%s", got)
	}
	s.jobRows, s.workerRows, s.tableRows = []sqlclient.Row{}, nil, nil
	s.look(m)
	press(m, "enter", "pgdown", "up", "k")
	clitest.Contains(t, shownBy(t, m), "no job runs", "no table has a policy", "no worker is there", "choose a job first")
}

// No size of the window breaks the picture.
func TestSizes(t *testing.T) {
	t.Parallel()
	s := newStage()
	for i := range 40 {
		s.jobRows = append(s.jobRows, jobRow(fmt.Sprintf("flush:app.t%d:x", i), fmt.Sprintf("app.t%d", i), "pending", 0, 10, 0, i))
		s.tableRows = append(s.tableRows, sqlclient.Row{"name": fmt.Sprintf("app.%s%d", strings.Repeat("long", i), i), "bytes_hot": "1"})
	}
	m := s.play(80, 24)
	press(m, "end")
	for height := 1; height < 60; height++ {
		for width := 1; width < 140; width += 3 {
			m.Update(tea.WindowSizeMsg{Width: width, Height: height})
			got := shownBy(t, m)
			if height >= leastHeight && width >= 60 && !strings.Contains(got, "app.t39") {
				t.Fatalf("%d × %d: the row under the cursor is not shown:\n%s", width, height, got)
			}
		}
	}
}

func TestStyles(t *testing.T) {
	t.Parallel()
	m := newStage().play(100, 24)
	if v := m.View(); !v.AltScreen || !strings.Contains(v.Content, styleTurned) || !strings.Contains(v.Content, styleYellow) {
		t.Errorf("styles: %q", v.Content)
	}
}
