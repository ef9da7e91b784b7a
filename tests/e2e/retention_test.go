package e2e

import (
	"testing"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

// A47: finished jobs leave system.jobs by themselves, and what they moved stays. A job that somebody terminates in Temporal
// gets its end, which goes the same way.
func TestRetention(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--retention", "15s", "--heartbeat-timeout", "2s")
	tb := u.table(t, "forgotten", 600)
	s := u.super(t)
	done := s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")

	m := reachMiddle(t, u, "terminated")
	c, err := sdk.Dial(sdk.Options{HostPort: u.info.TemporalAddress, Namespace: u.info.Namespace})
	must(t, err)
	defer c.Close()
	workflow := s.rows("SELECT workflow_id FROM system.jobs WHERE job_id = '" + m.id + "'")[0]["workflow_id"].(string)
	must(t, c.TerminateWorkflow(t.Context(), workflow, "", "by hand"))
	await.Until(t, "the end of the terminated job is recorded", func() bool {
		return pgtest.Value[int](t, u.db, "SELECT count(*)::int FROM spillway.job_history WHERE job_id = $1 AND status = 'cancelled' AND error_class = 'terminated'", m.id) == 1
	})
	m.gate.open()
	if n := pgtest.Value[int](t, u.db, "SELECT count(*)::int FROM spillway.claims WHERE job_id = $1", m.id); n != 0 {
		t.Error("the terminated job still has its table")
	}
	await.Until(t, "both jobs are forgotten", func() bool { return len(s.jobs("")) == 0 })
	if n := pgtest.Value[int](t, u.db, "SELECT count(*)::int FROM spillway.segments WHERE job_id = $1", done.ID); n == 0 {
		t.Error("the segments went with the job")
	}
	m.unchanged()
	again := s.wait(s.flush(m.tb, fire(small)).id, "completed")
	if m.tb.hot() != 0 || again.Rows == 0 {
		t.Errorf("the next flush: %+v", again)
	}
	u.Terminate()
}
