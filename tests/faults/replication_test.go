package faults

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/tests/await"
)

// A57 A64: the COMMIT of T1 waits for a standby that does not answer, its process hears nothing, and another process ends its backend
// and goes on. A backend that is ended while it waits has committed: being ended is not being condemned.
func TestEndedWhileWaitingForAStandby(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, map[string]string{"fsync": "off"}) // what it waits for is a setting of the whole server
	for _, op := range []operation{opFlush, opScatter, opRemainder} {
		t.Run(string(op), func(t *testing.T) {
			l := newLaneOn(t, pgtest.DatabaseOn(t, srv))
			j := l.furnish(t, op)
			ctx := context.Background()
			waiting := make(chan struct{})
			var first sync.Once
			hook := func(_ context.Context, p fault.Point, effect func() error) error {
				if p != fault.Commit {
					return effect()
				}
				first.Do(func() {
					l.db.HoldCommits(t)
					close(waiting)
				})
				return effect()
			}
			victim := l.victim()
			defer victim.close()
			done := make(chan error, 1)
			go func() { done <- victim.drive(fault.With(ctx, hook), j, 1) }()
			<-waiting
			l.await("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'spillway:%'")
			victim.stopped.Store(true) // it does what it is at, and no more
			_, err := l.healthy.f.Sweep(ctx, j.ID)
			l.db.ReleaseCommits(t)
			if err != nil {
				t.Fatalf("sweep: %v", err)
			}
			<-done
			if n := value[int](l, "SELECT count(*) FROM spillway.chunks WHERE job_id = $1", j.ID); n != 1 {
				t.Errorf("%d chunks have committed, want the one that waited", n)
			}
			if err := l.healthy.drive(ctx, j, 3); err != nil {
				t.Fatal(err)
			}
			l.settle()
			l.judge()
		})
	}
}

// await waits until a query says true.
func (l *lane) await(sql string) {
	l.t.Helper()
	if !await.Within(time.Minute, func() bool { return value[bool](l, sql) }) {
		l.t.Fatalf("waited in vain: %s", sql)
	}
}
