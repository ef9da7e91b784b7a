package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/spillwaydb/spillway/tests/product"
)

// pausedInTheMiddle pauses a flush that was stopped in its middle, and lets the chunks in flight end.
func pausedInTheMiddle(t *testing.T, u *up, s session, m *middle) {
	t.Helper()
	if rows := s.rows("PAUSE JOB $1", m.id); rows[0]["job_id"] != m.id || rows[0]["status"] != "pausing" {
		t.Errorf("PAUSE answered %v", rows)
	}
	if j := s.job(m.id); j.Status != "pausing" {
		t.Errorf("with two chunks in flight the job is %s", j.Status)
	}
	m.gate.open()
	s.wait(m.id, "paused")
	after := m.tb.segments()
	if len(after) != len(m.segments)+2 {
		t.Errorf("%d segments, then %d: the two chunks in flight should have ended, and no other begun", len(m.segments), len(after))
	}
	m.unchanged()
	m.segments = after
}

// still checks that the paused job does nothing while another one runs from its start to its end.
func (m *middle) still(s session, name string) {
	t := m.tb.t
	t.Helper()
	before := s.job(m.id)
	s.wait(s.flush(m.tb.u.table(t, name, 500), "WITH ("+small+")").id, "completed")
	if j := s.job(m.id); j.Status != "paused" || j.ChunksDone != before.ChunksDone || j.Rows != before.Rows {
		t.Errorf("%+v, before: %+v", j, before)
	}
	if n := len(m.tb.segments()); n != len(m.segments) {
		t.Errorf("%d segments, want %d", n, len(m.segments))
	}
	if n := m.orphans(); n != 0 {
		t.Errorf("%d objects that nobody registered", n)
	}
}

// A30: PAUSE in mid-flush, kill -9, a restart: still paused; RESUME goes on from there.
func TestPauseAcrossKillNine(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	m := reachMiddle(t, u, "paused_and_killed")
	s := u.super(t)
	pausedInTheMiddle(t, u, s, m)
	m.still(s, "beside_the_pause")
	u.Kill()
	u.start()
	s = u.super(t)
	if j := s.job(m.id); j.Status != "paused" {
		t.Fatalf("after the restart the job is %s", j.Status)
	}
	m.still(s, "after_the_restart")
	if again := s.flush(m.tb, fire(small, "parallelism = 2")); again.id != m.id || !again.existing {
		t.Errorf("the same FLUSH found %+v, want the paused job %s", again, m.id)
	}
	if rows := s.rows("RESUME JOB $1", m.id); rows[0]["job_id"] != m.id || rows[0]["status"] != "running" {
		t.Errorf("RESUME answered %v", rows)
	}
	m.completes(s)
	u.Terminate()
}

// A30, A34: kill -9 while the chunks in flight are still ending. They are tried again, and nothing else begins.
func TestKillNineWhilePausing(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	m := reachMiddle(t, u, "pausing_and_killed")
	u.super(t).rows("PAUSE JOB '" + m.id + "'")
	u.Kill()
	u.start()
	m.gate.open()
	s := u.super(t)
	s.wait(m.id, "paused")
	if n := len(m.tb.segments()); n != len(m.segments)+2 {
		t.Errorf("%d segments, then %d", len(m.segments), n)
	}
	m.unchanged()
	product.MustRun(t, binary, nil, "jobs", "resume", m.id, "--sql-url", u.through(u.db.SuperURL))
	m.completes(s)
	u.Terminate()
}

// A26, A30, A38
func TestKillWhilePaused(t *testing.T) {
	t.Parallel()
	u := shared(t)
	m := reachMiddle(t, u, "killed_in_its_pause")
	s := u.super(t)
	if out := product.MustRun(t, binary, nil, "jobs", "pause", m.id, "--sql-url", u.through(u.db.SuperURL)); !strings.Contains(out, "pausing") {
		t.Errorf("jobs pause printed %q", out)
	}
	m.gate.open()
	s.wait(m.id, "paused")
	hot := m.tb.hot()
	s.rows("KILL JOB '" + m.id + "'")
	if j := s.wait(m.id, "cancelled"); j.CancelledAt == nil || j.Rows != middleRows-hot {
		t.Errorf("%+v with %d rows hot", j, hot)
	}
	for _, verb := range []string{"PAUSE", "RESUME"} {
		if e := s.refused(verb + " JOB '" + m.id + "'"); e.Code != "55000" || !strings.Contains(e.Message, "cancelled") {
			t.Errorf("%s: %s %s", verb, e.Code, e.Message)
		}
	}
	if again := s.wait(s.flush(m.tb, fire(small)).id, "completed"); again.Rows != hot || m.tb.hot() != 0 {
		t.Errorf("a later flush: %+v, %d rows hot", again, m.tb.hot())
	}
}

// A30, A38: a planned stop while a job is paused has nothing to wait for, and loses nothing.
func TestStopWhilePaused(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	m := reachMiddle(t, u, "stopped_in_its_pause")
	s := u.super(t)
	pausedInTheMiddle(t, u, s, m)
	u.Signal(syscall.SIGTERM)
	if code := u.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	u.start()
	s = u.super(t)
	if j := s.job(m.id); j.Status != "paused" {
		t.Errorf("after the restart the job is %s", j.Status)
	}
	s.rows("RESUME JOB '" + m.id + "'")
	m.completes(s)
	u.Terminate()
}

// A27, A30
func TestPauseErrors(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "not_to_be_paused", 20)
	s := u.owner(t)
	done := s.wait(s.flush(tb, "").id, "completed")
	for _, c := range []struct{ id, code, says string }{
		{"flush:app.not_to_be_paused:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "42704", "not found"},
		{"flush:app.gone:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "42704", "not found"},
		{"flush:app.events", "22023", "malformed"},
		{done.ID, "55000", "completed"},
	} {
		for _, verb := range []string{"PAUSE", "RESUME"} {
			e := s.refused(verb + " JOB '" + c.id + "'")
			if e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Position != int32(len(verb)+len(" JOB ")+1) {
				t.Errorf("%s %q: %s %q at %d", verb, c.id, e.Code, e.Message, e.Position)
			}
		}
	}
	if e := s.refused("PAUES JOB '" + done.ID + "'"); e.Code != "42601" || !strings.Contains(e.Hint, "PAUSE JOB") {
		t.Errorf("%s, hint %q", e.Code, e.Hint)
	}
}
