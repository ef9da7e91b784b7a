package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
)

// A26
func TestKillInTheMiddle(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "killed", 3000)
	gate := tb.gate("OLD.id = 1500")
	s := u.super(t)
	a := s.flush(tb, fire(small, "parallelism = 1"))
	gate.held(a.id, 1)
	if rows := s.rows("KILL JOB '" + a.id + "'"); rows[0]["job_id"] != a.id || rows[0]["status"] != "cancelling" {
		t.Errorf("KILL answered %v", rows)
	}
	j := s.wait(a.id, "cancelled")
	if j.CancelledAt == nil || j.FinishedAt == nil || j.FinishedAt.Before(*j.CancelledAt) || j.Rows == 0 || j.Rows >= 1500 || j.Error != nil {
		t.Errorf("%+v", j)
	}
	// The gate is still closed: what has not moved is hot, and nobody holds it.
	conn := u.db.Connect(t, u.db.OwnerURL)
	tag, err := conn.Exec(context.Background(), "SELECT FROM app.killed FOR UPDATE NOWAIT")
	must(t, err)
	if tag.RowsAffected() != 3000-j.Rows {
		t.Errorf("%d rows are hot and free, the job moved %d of 3000", tag.RowsAffected(), j.Rows)
	}
	if stray := len(tb.objects()) - len(tb.segments()); stray != 0 {
		t.Errorf("%d stray objects after the end of the job", stray)
	}
	gate.open()
	if again := s.wait(s.flush(tb, fire(small)).id, "completed"); again.Rows != 3000-j.Rows || tb.hot() != 0 {
		t.Errorf("a later flush: %+v, %d rows hot", again, tb.hot())
	}
}

// A27, A33
func TestKillErrors(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "finished", 20)
	s := u.owner(t)
	done := s.wait(s.flush(tb, "").id, "completed")
	failed := s.wait(s.flush(tb, "WHERE 1 / (id - id) > 0").id, "completed") // no row, nothing to fail on
	tb.insert(100, 120)
	failed = s.wait(s.flush(tb, "WHERE 1 / (id - id) > 0").id, "failed")
	for _, c := range []struct{ id, code, says string }{
		{"flush:app.finished:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "42704", `job "flush:app.finished:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f" not found`},
		{"flush:app.gone:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "42704", "not found"},
		{"flush:app.finished", "22023", "malformed"},
		{"", "22023", "malformed"},
		{done.ID, "55000", "completed"},
		{failed.ID, "55000", "failed"},
	} {
		for _, verb := range []string{"KILL", "CANCEL"} {
			e := s.refused(verb + " JOB '" + c.id + "'")
			if e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Position != int32(len(verb)+len(" JOB ")+1) {
				t.Errorf("%s %q: %s %q at %d", verb, c.id, e.Code, e.Message, e.Position)
			}
		}
	}
	if again := s.job(done.ID); again.Status != "completed" || !again.FinishedAt.Equal(*done.FinishedAt) || again.CancelledAt != nil {
		t.Errorf("a KILL changed a finished job: %+v", again)
	}
	if again := s.job(failed.ID); again.Status != "failed" || text(again.Error) != text(failed.Error) || again.CancelledAt != nil {
		t.Errorf("a KILL changed a failed job: %+v", again)
	}
}

// A33: a job that was cancelled stays so, also for those who kill it again.
func TestCancelledForEver(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "for_ever", 500)
	gate := tb.gate("OLD.id = 1")
	s := u.super(t)
	a := s.flush(tb, fire(small))
	gate.held(a.id, 1)
	s.rows("KILL JOB '" + a.id + "'")
	j := s.wait(a.id, "cancelled")
	gate.open()
	if e := s.refused("KILL JOB '" + a.id + "'"); e.Code != "55000" || !strings.Contains(e.Message, "cancelled") {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	if again := s.wait(s.flush(tb, fire(small)).id, "completed"); again.ID == a.id {
		t.Error("a new flush got the id of the cancelled one")
	}
	if after := s.job(a.id); after.Status != "cancelled" || after.Rows != j.Rows || !after.FinishedAt.Equal(*j.FinishedAt) {
		t.Errorf("%+v, before %+v", after, j)
	}
}

// A28
func TestOnlyTheKilledOne(t *testing.T) {
	t.Parallel()
	u := shared(t)
	s := u.super(t)
	var tables []*table
	var gates []*gate
	var ids []string
	for _, name := range []string{"trio_one", "trio_two", "trio_three"} {
		tb := u.table(t, name, 600)
		g := tb.gate("OLD.id = 300")
		a := s.flush(tb, fire(small))
		tables, gates, ids = append(tables, tb), append(gates, g), append(ids, a.id)
	}
	var pids [][]int32
	for i, g := range gates {
		pids = append(pids, g.held(ids[i], 1))
	}
	s.rows("KILL JOB '" + ids[1] + "'")
	s.wait(ids[1], "cancelled")
	for _, i := range []int{0, 2} {
		if j := s.job(ids[i]); j.Status != "running" {
			t.Errorf("%s is %s", ids[i], j.Status)
		}
		if gone(t, u.db, pids[i]) {
			t.Errorf("the backend of %s was ended", ids[i])
		}
	}
	for i, g := range gates {
		g.open()
		if i != 1 {
			if j := s.wait(ids[i], "completed"); j.Rows != 600 || j.Attempt != 1 {
				t.Errorf("%+v", j)
			}
		}
	}
	if tables[1].hot() == 0 {
		t.Error("the killed job moved everything")
	}
}

// A29: KILL at each step of a chunk that can be held from outside.
func TestKillAtEachStep(t *testing.T) {
	t.Parallel()
	u := shared(t)
	for _, c := range []struct {
		name string
		hold func(tb *table) (held func(job string) []int32, release func())
	}{
		{"step_claimed", func(tb *table) (func(string) []int32, func()) {
			// The table's lock is taken: the chunk has claimed its attempt, and waits.
			conn := u.db.Connect(t, u.db.OwnerURL)
			_, err := conn.Exec(context.Background(), "BEGIN; LOCK TABLE "+tb.String()+" IN SHARE MODE")
			must(t, err)
			held := func(string) []int32 { return waiting(t, u.db, tb.String()) }
			return held, func() { _, _ = conn.Exec(context.Background(), "ROLLBACK") }
		}},
		{"step_copying", func(tb *table) (func(string) []int32, func()) {
			g := tb.gate("OLD.id = 700")
			return func(job string) []int32 { return g.held(job, 1) }, g.open
		}},
		{"step_uploaded", func(tb *table) (func(string) []int32, func()) {
			g := tb.close()
			return func(job string) []int32 { return g.held(job, 1) }, g.open
		}},
		{"step_registered", func(tb *table) (func(string) []int32, func()) {
			g := tb.close()
			return func(job string) []int32 { return g.held(job, 1) }, g.open
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tb := u.table(t, c.name, 800) // one chunk
			held, release := c.hold(tb)
			s := u.super(t)
			a := s.flush(tb, fire("lock_timeout = '60s'"))
			pids := held(a.id)
			began := time.Now()
			s.rows("KILL JOB '" + a.id + "'")
			await.Until(t, "the backend is gone", func() bool { return gone(t, u.db, pids) })
			if took := time.Since(began); took > time.Second {
				t.Errorf("the backend was gone %s after the KILL", took)
			}
			j := s.wait(a.id, "cancelled")
			if j.Rows != 0 || tb.hot() != 800 || len(tb.segments()) != 0 {
				t.Errorf("%+v, %d rows hot, %d segments", j, tb.hot(), len(tb.segments()))
			}
			if files := tb.objects(); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
			release()
			if j := s.wait(s.flush(tb, fire()).id, "completed"); j.Rows != 800 {
				t.Errorf("the flush after: %+v", j)
			}
		})
	}
}

// waiting returns the backends that wait for a lock on the table.
func waiting(t testing.TB, db *pgtest.DB, table string) []int32 {
	t.Helper()
	var pids []int32
	await.Until(t, "somebody waits for "+table, func() bool {
		pids = pgtest.Value[[]int32](t, db, "SELECT coalesce(array_agg(pid), '{}') FROM pg_locks WHERE NOT granted AND relation = '"+table+"'::regclass")
		return len(pids) > 0
	})
	return pids
}

// A39
func TestDropTableDuringItsFlush(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "dropped", 2000)
	gate := tb.gate("OLD.id = 1000")
	s := u.super(t)
	a := s.flush(tb, fire(small, "parallelism = 1"))
	gate.held(a.id, 1)
	owner := u.db.Connect(t, u.db.OwnerURL)
	drop := make(chan error, 1)
	go func() {
		_, err := owner.Exec(context.Background(), "DROP TABLE app.dropped")
		drop <- err
	}()
	waiting(t, u.db, "app.dropped") // the DROP waits for the chunk; whoever comes after it waits for the DROP
	gate.open()
	if err := <-drop; err != nil {
		t.Errorf("DROP TABLE: %v", err)
	}
	tb.want = nil // what was hot is gone for good, as its owner wanted
	j := s.wait(a.id, "failed")
	if text(j.Class) != "missing_table" || j.Error == nil || j.Rows < 1000 || j.Rows >= 2000 {
		t.Errorf("%+v, error %s, class %s", j, text(j.Error), text(j.Class))
	}
	rows := int64(0)
	for _, g := range tb.segments() {
		rows += g.Rows
	}
	if rows != j.Rows {
		t.Errorf("the segments hold %d rows, the job says %d", rows, j.Rows)
	}
	// What went cold can still be found.
	if cold := s.rows("SHOW COLD TABLE app.dropped"); len(cold) != len(tb.segments()) {
		t.Errorf("SHOW COLD TABLE: %d rows, %d segments", len(cold), len(tb.segments()))
	}
	if e := s.refused("FLUSH TABLE app.dropped"); e.Code != "42P01" {
		t.Errorf("%+v", e)
	}
}

// A32: an error that no retry cures is not retried.
func TestErrorThatNoRetryCures(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "incurable", 500)
	s := u.owner(t)
	j := s.wait(s.flush(tb, "WHERE 100 / (id - 400) < 1000").id, "failed")
	if j.Attempt != 1 || text(j.Class) != "data" || !strings.Contains(text(j.Error), "division by zero") {
		t.Errorf("%+v: %s", j, text(j.Error))
	}
	tries := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.failures WHERE job_id = $1", j.ID)
	if tries != 1 || tb.hot() != 500 {
		t.Errorf("%d tries, %d rows hot", tries, tb.hot())
	}
}
