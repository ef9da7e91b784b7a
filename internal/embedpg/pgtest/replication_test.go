package pgtest_test

import (
	"context"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

func TestHoldCommits(t *testing.T) {
	t.Parallel()
	db := pgtest.DatabaseOn(t, pgtest.Own(t, map[string]string{"fsync": "off"}))
	db.Exec(t, "CREATE TABLE app.t (id int)")
	super := db.Connect(t, db.SuperURL)
	for range 5 {
		db.HoldCommits(t)
		done := make(chan error, 1)
		go func() {
			_, err := super.Exec(context.Background(), "INSERT INTO app.t VALUES (1)")
			done <- err
		}()
		await.Until(t, "the commit is held", func() bool {
			return pgtest.Value[bool](t, db, "SELECT wait_event IS NOT DISTINCT FROM 'SyncRep' FROM pg_stat_activity WHERE pid = $1", super.PgConn().PID())
		})
		db.ReleaseCommits(t)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM app.t"); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
}
