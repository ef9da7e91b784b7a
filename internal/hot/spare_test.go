package hot_test

import (
	"context"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// A released backend serves the next chunk, under the next chunk's name and lock time-out.
func TestReleasedSession(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Database(t), nil)
	first := session(t, h, "spillway:job:1", time.Hour)
	pid, start := first.PID(), first.Start()
	first.Release()
	second := session(t, h, "spillway:job:2", time.Millisecond)
	if second.PID() != pid || !second.Start().Equal(start) {
		t.Errorf("backend %d of %s, want %d of %s", second.PID(), second.Start(), pid, start)
	}
	var name, lock string
	if err := second.QueryRow(t.Context(), `SELECT current_setting('application_name'), current_setting('lock_timeout')`).Scan(&name, &lock); err != nil || name != "spillway:job:2" || lock != "1ms" {
		t.Errorf("application_name %q, lock_timeout %q, %v", name, lock, err)
	}
	third := session(t, h, "spillway:job:3", 0)
	if third.PID() == pid {
		t.Error("one backend serves two chunks at once")
	}
}

// Only an idle backend may serve again: what a transaction holds must go with it.
func TestReleasedInTransaction(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Database(t), nil)
	s := session(t, h, "spillway:job:1", 0)
	if _, err := s.Exec(t.Context(), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	s.Release()
	awaitGone(t, h, s)
}

// A backend that died while it waited is replaced without a word.
func TestReleasedSessionDied(t *testing.T) {
	t.Parallel()
	h := open(t, pgtest.Database(t), nil)
	s := session(t, h, "spillway:job:1", 0)
	s.Release()
	if err := s.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := session(t, h, "spillway:job:2", 0)
	if _, err := next.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Error(err)
	}
}

// Nobody's sessions stay behind: neither when no chunk comes, nor when the process ends.
func TestReleasedSessionEnds(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, closing := open(t, db, nil), open(t, db, nil)
	s := session(t, h, "spillway:job:1", 0)
	s.Release()
	awaitGone(t, h, s)
	before, after := session(t, closing, "spillway:job:2", 0), session(t, closing, "spillway:job:3", 0)
	before.Release()
	closing.Close()
	after.Release()
	awaitGone(t, h, before)
	awaitGone(t, h, after)
}

func session(t *testing.T, h *hot.DB, name string, lock time.Duration) *hot.Session {
	t.Helper()
	s, err := h.Session(t.Context(), name, &hot.SessionOptions{LockTimeout: lock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// awaitGone waits until a session's backend has ended.
func awaitGone(t *testing.T, h *hot.DB, s *hot.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for there := true; there; {
		err := h.Pool().QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2)`, int32(s.PID()), s.Start()).Scan(&there)
		if err != nil {
			t.Fatalf("backend %d is still there: %v", s.PID(), err)
		}
	}
}
