package e2e

import (
	"context"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

// A29, A57: KILL while a chunk is committing. The COMMIT hangs in synchronous replication; it has taken place when its backend
// is ended, so its rows are cold, and the job that was killed says so.
func TestKillWhileCommitting(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	u := startUp(t, pgtest.DatabaseOn(t, srv))
	u.furnish()
	tb := u.table(t, "committing", 2000)
	gate := tb.gate("OLD.id = 500")
	s := u.super(t)
	a := s.flush(tb, fire(small, "parallelism = 1"))
	pids := gate.held(a.id, 1)
	before := tb.hot()

	// From now on every commit waits for a standby that does not exist, also those of the ledger.
	u.db.HoldCommits(t)
	gate.open()
	await.Until(t, "the COMMIT hangs", func() bool {
		return pgtest.Value[bool](t, u.db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY($1) AND wait_event = 'SyncRep' AND query = 'COMMIT')", pids)
	})
	killed := make(chan error, 1)
	go func() { // its own record in the audit hangs too
		_, err := s.Exec(context.Background(), "KILL JOB '"+a.id+"'")
		killed <- err
	}()
	await.Until(t, "the backend is ended", func() bool { return gone(t, u.db, pids) })
	u.db.ReleaseCommits(t)
	must(t, <-killed)
	j := u.super(t).wait(a.id, "cancelled")
	if tb.hot() >= before || tb.hot() != 2000-j.Rows {
		t.Errorf("%d rows were hot before the commit, %d are now; the job says that it moved %d", before, tb.hot(), j.Rows)
	}
	if stray := len(tb.objects()) - len(tb.segments()); stray != 0 {
		t.Errorf("%d stray objects", stray)
	}
	if j := u.super(t).wait(u.super(t).flush(tb, fire(small)).id, "completed"); tb.hot() != 0 {
		t.Errorf("the flush after: %+v, %d rows hot", j, tb.hot())
	}
	u.Terminate()
}
