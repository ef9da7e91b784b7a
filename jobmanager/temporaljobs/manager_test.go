package temporaljobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/freeport"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

var events = jobmanager.Table{Namespace: "app", Name: "events"}

func flushOf(t jobmanager.Table) jobmanager.JobSpec {
	return jobmanager.JobSpec{
		Type: "flush", Table: t, RequestedBy: "alice", Trigger: jobmanager.TriggerCommand,
		Params:    map[string]string{"where": "secret = 4711"},
		Statement: "FLUSH TABLE app.events WHERE secret = 4711",
	}
}

func mustStart(t *testing.T, m jobmanager.JobManager, spec jobmanager.JobSpec) jobmanager.JobID {
	t.Helper()
	s, err := m.StartJob(t.Context(), spec)
	if err != nil || s.Existing {
		t.Fatalf("start: %+v, %v", s, err)
	}
	return s.ID
}

func mustWait(t *testing.T, m jobmanager.Waiter, id jobmanager.JobID, want jobmanager.Status) jobmanager.JobInfo {
	t.Helper()
	info, err := m.WaitJob(t.Context(), id)
	if err != nil || info.Status != want {
		t.Fatalf("job %s: %s (%s), %v; want %s", id, info.Status, info.ErrorClass, err, want)
	}
	return info
}

// TestWhatTemporalShows: the Web UI tells the story of a job, and nothing of its rows.
func TestWhatTemporalShows(t *testing.T) {
	t.Parallel()
	h, m, s, id := heldFlush(t, 3)
	s.Pass(1)
	s.AwaitBegun(t)
	s.AwaitBegun(t) // one is done

	info, err := m.JobStatus(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	wid := workflows.WorkflowID(h.name, true, "flush", events)
	if info.WorkflowID != wid || info.RunID != id.UUID.String() ||
		info.UIURL != "http://ui.test/namespaces/default/workflows/"+strings.NewReplacer("%", "%25", "/", "%2F").Replace(wid)+"/"+info.RunID+"/history" {
		t.Errorf("workflow %q, run %q, link %q", info.WorkflowID, info.RunID, info.UIURL)
	}
	if info.Phase != "moving" || info.StartedAt == nil || info.ChunksTotal == nil || *info.ChunksTotal != 3 || info.RowsTotal == nil || *info.RowsTotal != 30 {
		t.Errorf("%+v", info)
	}

	d, err := h.client.DescribeWorkflowExecution(t.Context(), wid, "")
	if err != nil {
		t.Fatal(err)
	}
	attrs := d.WorkflowExecutionInfo.SearchAttributes.IndexedFields
	for name, want := range map[string]string{
		"SpillwayInstallation": jobmanager.EscapeName(h.name), "SpillwayJobID": id.String(), "SpillwayJobType": "flush", "SpillwayTable": "app.events",
		"SpillwayStatus": "running", "SpillwayPhase": "moving", "SpillwayTrigger": "command", "SpillwayUser": "alice",
	} {
		if got := decoded[string](t, attrs[name]); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]int64{"SpillwayRows": 10, "SpillwayChunksDone": 1, "SpillwayChunksTotal": 3} {
		if got := decoded[int64](t, attrs[name]); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	meta := d.GetExecutionConfig().GetUserMetadata()
	if got := decoded[string](t, meta.GetSummary()); got != "flush app.events" {
		t.Errorf("summary %q", got)
	}
	if got := decoded[string](t, meta.GetDetails()); !strings.Contains(got, "`app.events`") || !strings.Contains(got, "`alice`") {
		t.Errorf("details %q", got)
	}
	v, err := h.client.QueryWorkflow(t.Context(), wid, "", workflows.ProgressQuery)
	if err != nil {
		t.Fatal(err)
	}
	var p workflows.Progress
	if err := v.Get(&p); err != nil || p.Rows != 10 || p.InFlight != 2 || p.Phase != workflows.PhaseMoving {
		t.Errorf("progress %+v, %v", p, err)
	}
	s.Open()
	mustWait(t, m, id, jobmanager.Completed)
	history := historyText(t, h.client, wid, id.UUID.String())
	for _, secret := range []string{"4711", "WHERE", "secret"} {
		if strings.Contains(history, secret) {
			t.Errorf("workflow history holds %q", secret)
		}
	}
	if !strings.Contains(history, "app.events") {
		t.Error("the history is not readable, so the test above says nothing")
	}
}

// TestTextOfErrorsStaysOut: what an error says of a row is not in history.
func TestTextOfErrorsStaysOut(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(1)
	s.SetFailure(func(int, int) error { return &jobmanagertest.Failure{Class: jobstep.ClassUnrepresentable} })
	id := mustStart(t, m, flushOf(events))
	mustWait(t, m, id, jobmanager.Failed)
	history := historyText(t, h.client, workflows.WorkflowID(h.name, true, "flush", events), id.UUID.String())
	if strings.Contains(history, "the value of a row") || !strings.Contains(history, "unrepresentable") {
		t.Error("history must hold the class of an error and not its text")
	}
}

// TestTerminated: a job ended by force is cancelled, in its status and in lists, and the next one starts.
func TestTerminated(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(3 * jobmanagertest.ChunksPerRun)
	s.Hold()
	id := mustStart(t, m, flushOf(events))
	for range jobmanagertest.ChunksPerRun + 1 { // into the second run
		s.AwaitBegun(t)
		s.Pass(1)
	}
	s.AwaitBegun(t)
	wid := workflows.WorkflowID(h.name, true, "flush", events)
	if err := h.client.TerminateWorkflow(t.Context(), wid, "", "by hand"); err != nil {
		t.Fatal(err)
	}
	check := func(when string, info jobmanager.JobInfo, err error) {
		t.Helper()
		if err != nil || info.ID != id || info.Status != jobmanager.Cancelled || info.ErrorClass != "terminated" || info.FinishedAt == nil || info.CancelledAt == nil {
			t.Errorf("%s: %+v, %v", when, info, err)
		}
	}
	info, err := m.JobStatus(t.Context(), id)
	check("status", info, err)
	info, err = m.WaitJob(t.Context(), id)
	check("wait", info, err)
	var fin *jobmanager.FinishedError
	if err := m.CancelJob(t.Context(), id); !errors.As(err, &fin) || fin.Status != jobmanager.Cancelled {
		t.Errorf("cancel: %v", err)
	}
	s.Open()
	s.SetChunks(0)
	next := mustStart(t, m, flushOf(events))
	mustWait(t, m, next, jobmanager.Completed)
	info, err = m.JobStatus(t.Context(), id) // by its chain now: its workflow id has another job
	check("status after the next job", info, err)
	await.Until(t, "the terminated job is listed", func() bool {
		return listed(t, m, jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Cancelled}})[id]
	})
	if got := listed(t, m, jobmanager.JobFilter{All: true}); len(got) != 2 || !got[id] || !got[next] {
		t.Errorf("listed %v", got)
	}
	if got := listed(t, m, jobmanager.JobFilter{}); len(got) != 0 {
		t.Errorf("active: %v", got)
	}
}

// TestLaterRunIsNoJob: the id of a later run names no job.
func TestLaterRunIsNoJob(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	w.Table(events).SetChunks(2 * jobmanagertest.ChunksPerRun)
	id := mustStart(t, m, flushOf(events))
	info := mustWait(t, m, id, jobmanager.Completed)
	if info.RunID == id.UUID.String() {
		t.Fatal("the job had one run only")
	}
	later := id
	later.UUID = uuid.MustParse(info.RunID)
	if _, err := m.JobStatus(t.Context(), later); !errors.Is(err, jobmanager.ErrJobNotFound) {
		t.Errorf("status: %v", err)
	}
	if err := m.CancelJob(t.Context(), later); !errors.Is(err, jobmanager.ErrJobNotFound) {
		t.Errorf("cancel: %v", err)
	}
	h.ledger.Forget(id.String())
	if info, err := m.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Completed {
		t.Errorf("status without a history row: %s, %v", info.Status, err)
	}
}

// TestCancelThatComesTooLate: the end that is written first stays. A33
func TestCancelThatComesTooLate(t *testing.T) {
	t.Parallel()
	writing, written := make(chan struct{}), make(chan struct{})
	var first sync.Once // the step may be tried again, for the cancel came into its workflow task
	h := newHarness(t, jobmanagertest.NewWork(), func(jobstep.FinishInput) {
		first.Do(func() { close(writing); <-written })
	})
	m := h.manager(t, h.client)
	id := mustStart(t, m, flushOf(events))
	<-writing
	if err := m.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	close(written)
	mustWait(t, m, id, jobmanager.Completed)
	err := h.client.GetWorkflow(t.Context(), workflows.WorkflowID(h.name, true, "flush", events), id.UUID.String()).Get(t.Context(), nil)
	if err != nil {
		t.Errorf("the workflow closed with %v, but the job is completed", err)
	}
	if got := listed(t, m, jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Cancelled}}); len(got) != 0 {
		t.Errorf("cancelled jobs: %v", got)
	}
}

// TestStartWhileTheEndIsBeingTold: a job whose end is written is over, though its workflow still closes.
func TestStartWhileTheEndIsBeingTold(t *testing.T) {
	t.Parallel()
	h, m, s, id := heldFlush(t, 1)
	h.ledger.Record(ledger.HistoryRow{JobID: id.String(), Status: "completed"}, "")
	next := make(chan jobmanager.Started, 1)
	go func() {
		st, err := m.StartJob(t.Context(), flushOf(events))
		if err != nil {
			t.Error(err)
		}
		next <- st
	}()
	s.Open()
	if st := <-next; st.Existing || st.ID == id {
		t.Errorf("start found %+v", st)
	} else {
		mustWait(t, m, st.ID, jobmanager.Completed)
	}
}

// TestForeignWorkflowInTheWay: somebody else's workflow under our id is nobody's job.
func TestForeignWorkflowInTheWay(t *testing.T) {
	t.Parallel()
	h := newHarness(t, jobmanagertest.NewWork(), nil)
	m := h.manager(t, h.client)
	_, err := h.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: workflows.WorkflowID(h.name, true, "flush", events), TaskQueue: "nobody",
	}, "Foreign")
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.StartJob(t.Context(), flushOf(events))
	var busy *jobmanager.BusyError
	if err == nil || errors.As(err, &busy) || !strings.Contains(err.Error(), "Foreign") {
		t.Errorf("start: %v", err)
	}
	if n := h.ledger.RequestCount(); n != 0 {
		t.Errorf("%d requests are left behind", n)
	}
	if err := h.client.TerminateWorkflow(t.Context(), workflows.WorkflowID(h.name, true, "flush", events), "", ""); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	port, err := freeport.Pick("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewLazyClient(client.Options{HostPort: fmt.Sprintf("127.0.0.1:%d", port), Logger: worker.Logger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := &harness{name: "unreachable", ledger: steptest.NewLedger()}
	m := h.manager(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := jobmanager.JobID{Type: "flush", Table: events, UUID: uuid.New()}
	if _, err := m.StartJob(ctx, flushOf(events)); !errors.Is(err, jobmanager.ErrUnavailable) {
		t.Errorf("start: %v", err)
	}
	if _, err := m.JobStatus(ctx, id); !errors.Is(err, jobmanager.ErrUnavailable) {
		t.Errorf("status: %v", err)
	}
	for _, err := range m.ListJobs(ctx, jobmanager.JobFilter{}) {
		if !errors.Is(err, jobmanager.ErrUnavailable) {
			t.Errorf("list: %v", err)
		}
	}
	// What the ledger knows needs no Temporal.
	h.ledger.Record(ledger.HistoryRow{JobID: id.String(), Status: "completed"}, "")
	if info, err := m.JobStatus(ctx, id); err != nil || info.Status != jobmanager.Completed {
		t.Errorf("status of an ended job: %s, %v", info.Status, err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	c := temporaltest.Client(t)
	types := map[jobmanager.JobType]temporaljobs.Type{"flush": temporaljobs.Flush(nil, workflows.Tuning{})}
	for name, f := range map[string]func() error{
		"no client": func() error {
			_, err := temporaljobs.New(nil, steptest.NewLedger(), &temporaljobs.Options{Installation: "x", Types: types})
			return err
		},
		"no ledger": func() error {
			_, err := temporaljobs.New(c, nil, &temporaljobs.Options{Installation: "x", Types: types})
			return err
		},
		"no options": func() error { _, err := temporaljobs.New(c, steptest.NewLedger(), nil); return err },
		"no installation": func() error {
			_, err := temporaljobs.New(c, steptest.NewLedger(), &temporaljobs.Options{Types: types})
			return err
		},
		"no types": func() error {
			_, err := temporaljobs.New(c, steptest.NewLedger(), &temporaljobs.Options{Installation: "x"})
			return err
		},
		"no workflow": func() error {
			_, err := temporaljobs.New(c, steptest.NewLedger(), &temporaljobs.Options{Installation: "x", Types: map[jobmanager.JobType]temporaljobs.Type{"flush": {}}})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func decoded[T any](t *testing.T, p *commonpb.Payload) T {
	t.Helper()
	var v T
	if p == nil {
		t.Error("no value")
	} else if err := converter.GetDefaultDataConverter().FromPayload(p, &v); err != nil {
		t.Error(err)
	}
	return v
}

// historyText returns a run's history as text, payloads decoded.
func historyText(t *testing.T, c client.Client, workflowID, runID string) string {
	t.Helper()
	var b strings.Builder
	it := c.GetWorkflowHistory(t.Context(), workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		ev, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := ev.Marshal() // payloads are JSON, so plain in the encoded bytes
		if err != nil {
			t.Fatal(err)
		}
		b.Write(raw)
	}
	return b.String()
}

func listed(t *testing.T, m jobmanager.JobManager, f jobmanager.JobFilter) map[jobmanager.JobID]bool {
	t.Helper()
	out := map[jobmanager.JobID]bool{}
	for info, err := range m.ListJobs(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out[info.ID] = true
	}
	return out
}
