package temporaljobs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
)

// A62: a flush and a restore of one table exclude each other, and both are found, killed and paused by their own ids.
func TestFlushAndRestoreExcludeEachOther(t *testing.T) {
	t.Parallel()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(4)
	s.Hold()
	restore := flushOf(events)
	restore.Type, restore.Statement = "restore", "RESTORE TABLE app.events WHERE secret = 4711"

	id := mustStart(t, m, restore)
	if !strings.HasPrefix(id.String(), "restore:app.events:") {
		t.Errorf("job id %s", id)
	}
	s.AwaitBegun(t)
	if again, err := m.StartJob(t.Context(), restore); err != nil || !again.Existing || again.ID != id {
		t.Errorf("the same restore: %+v, %v", again, err)
	}
	var busy *jobmanager.BusyError
	if _, err := m.StartJob(t.Context(), flushOf(events)); !errors.As(err, &busy) || busy.Running != id {
		t.Errorf("a flush beside a restore: %v, want busy with %s", err, id)
	}
	if err := m.PauseJob(t.Context(), id); err != nil {
		t.Errorf("pause: %v", err)
	}
	if err := m.ResumeJob(t.Context(), id); err != nil {
		t.Errorf("resume: %v", err)
	}
	for info, err := range m.ListJobs(t.Context(), jobmanager.JobFilter{}) {
		if err != nil || info.ID != id || info.Phase != "moving" {
			t.Errorf("listed %+v, %v", info, err)
		}
	}
	if err := m.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	mustWait(t, m, id, jobmanager.Cancelled)

	flush := mustStart(t, m, flushOf(events))
	s.AwaitBegun(t)
	if _, err := m.StartJob(t.Context(), restore); !errors.As(err, &busy) || busy.Running != flush {
		t.Errorf("a restore beside a flush: %v, want busy with %s", err, flush)
	}
	if info, err := m.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Cancelled {
		t.Errorf("the restore whose workflow id the flush has: %+v, %v", info, err)
	}
	s.Open()
	mustWait(t, m, flush, jobmanager.Completed)
}
