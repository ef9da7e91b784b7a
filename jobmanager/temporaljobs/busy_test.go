package temporaljobs_test

import (
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/workflows"
)

// A job that waits for a real lag shows it, is paused, resumed and killed while it waits, and moves its rows when the lag is gone.
// Nothing is faked: the lag is that of a slot which nobody reads.
func TestWaitsForRealLag(t *testing.T) {
	t.Parallel()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	r := newReal(t, temporaltest.Client(t))
	m := r.manager
	r.db.Exec(t, `INSERT INTO app.events SELECT i, 'note ' || i FROM generate_series(1, 1000) AS i`)
	want := audit.Hot(t, r.db.SuperURL, "app", "events", "")
	slot := "real_" + r.db.Name
	r.db.Super(t, "GRANT pg_read_all_stats TO "+r.db.Worker, "SELECT pg_create_physical_replication_slot('"+slot+"', true)", "CREATE TABLE app.wal (note text)",
		"INSERT INTO app.wal SELECT repeat('x', 1000) FROM generate_series(1, 80000)")
	dropped := false
	drop := func() {
		if !dropped {
			r.db.Super(t, "SELECT pg_drop_replication_slot('"+slot+"')")
		}
		dropped = true
	}
	t.Cleanup(drop)
	spec := jobmanager.JobSpec{Type: workflows.FlushType, Table: events, Params: map[string]string{"max_replication_lag": "67108864B"}}
	waits := func(id jobmanager.JobID) {
		t.Helper()
		awaitInfo(t, m, id, func(i jobmanager.JobInfo) bool { return strings.HasPrefix(i.Phase, "waiting: replication lag ") })
	}

	killed := mustStart(t, m, spec)
	waits(killed)
	if err := m.CancelJob(t.Context(), killed); err != nil {
		t.Fatal(err)
	}
	if info := mustWait(t, m, killed, jobmanager.Cancelled); info.RowsFlushed != 0 {
		t.Errorf("%+v", info)
	}
	id := mustStart(t, m, spec)
	waits(id)
	if err := m.PauseJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	awaitInfo(t, m, id, func(i jobmanager.JobInfo) bool { return i.Status == jobmanager.Paused })
	drop()
	if err := m.ResumeJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if info := mustWait(t, m, id, jobmanager.Completed); info.RowsFlushed != 1000 {
		t.Errorf("%+v", info)
	}
	audit.Check(t, r.db.SuperURL, "app", "events", want)
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM app.events`); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
}

// awaitInfo looks at a job until it is as it should be.
func awaitInfo(t *testing.T, m *temporaljobs.Manager, id jobmanager.JobID, ok func(jobmanager.JobInfo) bool) {
	t.Helper()
	var info jobmanager.JobInfo
	if !await.Within(await.Patience, func() bool {
		var err error
		if info, err = m.JobStatus(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return ok(info)
	}) {
		t.Fatalf("%+v", info)
	}
}
