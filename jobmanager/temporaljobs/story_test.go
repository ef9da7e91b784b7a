package temporaljobs_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	sdkpb "go.temporal.io/api/sdk/v1"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/workflows"
)

// TestWebUITellsTheStory: what the Temporal Web UI shows of a job in each of its states, to the letter. Four chunks, one at a
// time as the gate lets them.
func TestWebUITellsTheStory(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	begin := func(name string) (*jobmanagertest.Script, jobmanager.JobID) {
		table := jobmanager.Table{Namespace: "app", Name: name}
		s := w.Table(table)
		s.SetChunks(4)
		s.Hold()
		id := mustStart(t, m, flushOf(table))
		for range jobmanagertest.Parallelism {
			s.AwaitBegun(t)
		}
		s.Pass(1)
		s.AwaitBegun(t) // one is moved, two are in flight
		return s, id
	}

	s, running := begin("running")
	h.wantStory(t, running, story{status: "running", phase: "moving", done: 1, total: 4, inFlight: 2, written: "1000 B"})
	s.Open()
	mustWait(t, m, running, jobmanager.Completed)
	h.wantStory(t, running, story{status: "completed", phase: "ended", done: 4, total: 4, written: "3.9 KiB", left: true})

	s, paused := begin("paused")
	if err := m.PauseJob(t.Context(), paused); err != nil {
		t.Fatal(err)
	}
	h.wantStory(t, paused, story{status: "pausing", phase: "moving", done: 1, total: 4, inFlight: 2, written: "1000 B", hold: true})
	s.Pass(2)
	for info, err := m.JobStatus(t.Context(), paused); info.Status != jobmanager.Paused; info, err = m.JobStatus(t.Context(), paused) {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.wantStory(t, paused, story{status: "paused", phase: "moving", done: 3, total: 4, written: "2.9 KiB", hold: true})
	if err := m.CancelJob(t.Context(), paused); err != nil {
		t.Fatal(err)
	}
	mustWait(t, m, paused, jobmanager.Cancelled)
	h.wantStory(t, paused, story{status: "cancelled", phase: "ended", done: 3, total: 4, written: "2.9 KiB"})

	table := jobmanager.Table{Namespace: "app", Name: "failed"}
	s = w.Table(table)
	s.SetChunks(1)
	s.SetFailure(func(int, int) error { return &jobmanagertest.Failure{Class: jobstep.ClassUnrepresentable} })
	failed := mustStart(t, m, flushOf(table))
	mustWait(t, m, failed, jobmanager.Failed)
	h.wantStory(t, failed, story{status: "failed", phase: "ended", total: 1, written: "0 B", class: jobstep.ClassUnrepresentable})
}

// story is what a job's page has to show.
type story struct {
	status, phase string
	done, total   int
	inFlight      int
	written       string // bytes of the chunks that are done, 1000 each
	left          bool   // it looked for rows that were left, and found none
	class         string // of its error
	hold          bool
}

// details is the text of the page's current details, but for the rate, which depends on the machine.
func (s story) details(id jobmanager.JobID) string {
	head := "**" + id.Table.String() + "** · " + s.status
	if s.phase != "ended" {
		head += " · " + s.phase
	}
	cells := 20 * s.done / s.total
	rows := []string{
		head, "", fmt.Sprintf("`%s%s` %d %%", strings.Repeat("█", cells), strings.Repeat("░", 20-cells), 100*s.done/s.total), "",
		"| | |", "|---|---|",
		fmt.Sprintf("| job | `%s` |", id),
		fmt.Sprintf("| chunks | %d of %d, %d in flight |", s.done, s.total, s.inFlight),
		fmt.Sprintf("| rows | %d of about %d |", s.done*jobmanagertest.RowsPerChunk, s.total*jobmanagertest.RowsPerChunk),
		fmt.Sprintf("| written | %s in %d segments |", s.written, s.done),
	}
	if s.hold {
		rows = append(rows, fmt.Sprintf("| on hold | until `RESUME JOB '%s'` |", id))
	}
	if s.left {
		rows = append(rows, "| left hot | 0 rows |")
	}
	if s.class != "" {
		rows = append(rows, "| last error | class `"+s.class+"` |")
	}
	return strings.Join(rows, "\n") + "\n"
}

var rateRow = regexp.MustCompile(`(?m)^\| rate \|.*\n`)

// wantStory looks at the newest run of a job as the Web UI does.
func (h *harness) wantStory(t *testing.T, id jobmanager.JobID, want story) {
	t.Helper()
	wid := workflows.WorkflowID(h.name, true, "flush", id.Table)
	d, err := h.client.DescribeWorkflowExecution(t.Context(), wid, "")
	if err != nil {
		t.Fatal(err)
	}
	meta := d.GetExecutionConfig().GetUserMetadata()
	if got, want := decoded[string](t, meta.GetSummary()), "flush "+id.Table.String(); got != want {
		t.Errorf("%s: summary %q, want %q", want, got, want)
	}
	about := fmt.Sprintf("A flush job on table `%s`, started by a command of user `alice`.\n\n"+
		"Its statement, options and errors are in `system.jobs`: they may hold values of rows, which have no place here.", id.Table)
	if got := decoded[string](t, meta.GetDetails()); got != about {
		t.Errorf("%s: details\n%s\nwant\n%s", want.status, got, about)
	}
	v, err := h.client.QueryWorkflow(t.Context(), wid, "", "__temporal_workflow_metadata")
	if err != nil {
		t.Fatal(err)
	}
	var now sdkpb.WorkflowMetadata
	if err := v.Get(&now); err != nil {
		t.Fatal(err)
	}
	if got, want := rateRow.ReplaceAllString(now.GetCurrentDetails(), ""), want.details(id); got != want {
		t.Errorf("current details\n%s\nwant\n%s", got, want)
	}
	attrs := d.GetWorkflowExecutionInfo().GetSearchAttributes().GetIndexedFields()
	texts := map[string]string{
		"SpillwayInstallation": jobmanager.EscapeName(h.name), "SpillwayJobID": id.String(), "SpillwayJobType": "flush", "SpillwayTable": id.Table.String(),
		"SpillwayStatus": want.status, "SpillwayPhase": want.phase, "SpillwayTrigger": "command", "SpillwayUser": "alice",
	}
	if want.class != "" {
		texts["SpillwayErrorClass"] = want.class
	}
	for name, text := range texts {
		if got := decoded[string](t, attrs[name]); got != text {
			t.Errorf("%s: %s = %q, want %q", want.status, name, got, text)
		}
	}
	numbers := map[string]int64{
		"SpillwayRows": int64(want.done * jobmanagertest.RowsPerChunk), "SpillwayChunksDone": int64(want.done), "SpillwayChunksTotal": int64(want.total),
	}
	for name, n := range numbers {
		if got := decoded[int64](t, attrs[name]); got != n {
			t.Errorf("%s: %s = %d, want %d", want.status, name, got, n)
		}
	}
	for name := range attrs {
		_, isText := texts[name]
		_, isNumber := numbers[name]
		if strings.HasPrefix(name, "Spillway") && !isText && !isNumber && name != "SpillwayStarted" {
			t.Errorf("%s: there is a search attribute %s too", want.status, name)
		}
	}
}
