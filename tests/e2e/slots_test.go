package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

// A49: ten jobs on five slots: five chunks run, five jobs wait as pending, and all finish.
func TestTenJobsOnFiveSlots(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--slots", "5")
	s := u.super(t)
	var gates []*gate
	var ids []string
	for i := range 10 {
		tb := u.table(t, fmt.Sprintf("ten_%d", i), 300)
		gates = append(gates, tb.gate("OLD.id = 1"))
		ids = append(ids, s.flush(tb, fire(small, "parallelism = 1")).id)
	}
	held := func() []string {
		return pgtest.Value[[]string](t, u.db, `SELECT coalesce(array_agg(job_id), '{}') FROM pg_stat_activity
			JOIN spillway.attempts ON backend_pid = pid WHERE wait_event = 'PgSleep'`)
	}
	await.Until(t, "five chunks are held", func() bool { return len(held()) == 5 })
	running := held()
	for _, id := range ids {
		want := "pending"
		if slices.Contains(running, id) {
			want = "running"
		}
		if j := s.job(id); j.Status != want {
			t.Errorf("%s is %s, want %s", id, j.Status, want)
		}
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.attempts"); n != 5 {
		t.Errorf("%d attempts, with five slots", n)
	}
	for _, g := range gates {
		g.open()
		if n := len(held()); n > 5 {
			t.Errorf("%d chunks at once", n)
		}
	}
	for _, id := range ids {
		if j := s.wait(id, "completed"); j.Rows != 300 {
			t.Errorf("%+v", j)
		}
	}
	u.Terminate()
}

// A49: a small job that is started after a giant one ends before it, on a single slot.
func TestSmallJobAfterAGiantOne(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--slots", "1")
	giant, little := u.table(t, "giant", 12000), u.table(t, "little", 100)
	gate := giant.gate("OLD.id = 1")
	s := u.super(t)
	g := s.flush(giant, fire(small, "parallelism = 8"))
	gate.held(g.id, 1)
	l := s.flush(little, "")
	gate.open()
	small, big := s.wait(l.id, "completed"), s.wait(g.id, "completed")
	if !small.FinishedAt.Before(*big.FinishedAt) {
		t.Errorf("the small job ended at %s, the giant one at %s", small.FinishedAt, big.FinishedAt)
	}
	u.Terminate()
}
