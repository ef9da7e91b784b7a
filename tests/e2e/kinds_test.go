package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

// heldChunk starts a job whose first chunk cannot be marked as done, and returns what lets it.
func (u *up) heldChunk(t *testing.T, s session, sql string) (id string, release func()) {
	t.Helper()
	lock := u.db.Connect(t, u.db.SuperURL)
	_, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE spillway.chunks IN EXCLUSIVE MODE")
	must(t, err)
	id = s.startOne(sql)
	await.Until(t, "a chunk is held", func() bool {
		return pgtest.Value[int](t, u.db, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO "spillway".chunks%'`) > 0
	})
	return id, func() { rollback(t, lock) }
}

func rollback(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	_, err := conn.Exec(t.Context(), "ROLLBACK")
	must(t, err)
}

// pausesAndGoesOn pauses a job with a chunk in flight, which ends, and resumes it.
func pausesAndGoesOn(t *testing.T, s session, id string, release func()) {
	t.Helper()
	if rows := s.rows("PAUSE JOB '" + id + "'"); rows[0]["status"] != "pausing" {
		t.Errorf("PAUSE answered %v", rows)
	}
	release()
	if j := s.wait(id, "paused"); j.ChunksDone == 0 {
		t.Errorf("%+v", j)
	}
	if rows := s.rows("RESUME JOB '" + id + "'"); rows[0]["job_id"] != id || rows[0]["status"] != "running" {
		t.Errorf("RESUME answered %v", rows)
	}
}

// A26 A30: jobs that put rows back, that read segments and that clean up are paused, resumed and killed by SQL as flushes are.
func TestPauseResumeAndKillOfEveryKind(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb, g, id, _ := halfRestored(t, u, "kinds")
	s := u.super(t)
	pausesAndGoesOn(t, s, id, g.open)
	if j := s.wait(id, "completed"); j.Rows != middleRows || tb.hot() != middleRows {
		t.Errorf("%+v, %d rows are hot", j, tb.hot())
	}
	s.wait(s.flush(tb, "WITH ("+small+", partition_by = (tenant))").id, "completed")
	if n := len(tb.segments()); n < 17 {
		t.Fatalf("%d segments are one chunk", n)
	}

	verify := "VERIFY TABLE " + tb.String() + " WITH (parallelism = 1)"
	id, release := u.heldChunk(t, s, verify)
	pausesAndGoesOn(t, s, id, release)
	if s.wait(id, "completed"); len(s.findings(id)) != 0 {
		t.Errorf("found %v", s.findings(id))
	}
	id, release = u.heldChunk(t, s, verify)
	s.rows("KILL JOB '" + id + "'")
	s.wait(id, "cancelled")
	release()

	// Two chunks of attempts that nobody goes on with.
	var orphans []string
	for i := range 25 {
		name := fmt.Sprintf("2026-01-01T00-00-00.000Z-orphan-%02d", i)
		orphans = append(orphans, filepath.Join(tb.dir(), name+".parquet"))
		must(t, os.WriteFile(orphans[i], []byte("orphan"), 0o640))
		u.db.Super(t, fmt.Sprintf(`INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start)
			VALUES (gen_random_uuid(), 'flush:app.kinds:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f', %d, 'default', 'app/kinds/%s', 1, now())`, i, name))
	}
	left := func() (n int) {
		for _, path := range orphans {
			if _, err := os.Stat(path); err == nil {
				n++
			}
		}
		return n
	}
	id, release = u.heldChunk(t, s, "CLEANUP")
	s.rows("KILL JOB '" + id + "'")
	s.wait(id, "cancelled")
	release()
	if n := left(); n != 5 { // the first chunk had removed its own when it was killed, and the second never began
		t.Errorf("%d orphans are left", n)
	}
	id, release = u.heldChunk(t, s, "CLEANUP")
	pausesAndGoesOn(t, s, id, release)
	if s.wait(id, "completed"); left() != 0 {
		t.Errorf("%d orphans are left", left())
	}
	u.Terminate()
}
