package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/policy"
)

// noticed is how late a threshold that is passed may be noticed here: where other tests keep the machine busy and a count takes a
// tenth of a second, the next one waits for twenty times that. That 2 s are kept, TestRowThreshold shows, and the benchmark where
// there are many tables (`-only policies`).
const noticed = 5 * time.Second

// A40: the interval has passed and there are rows: a flush starts, and again after the same interval.
func TestInterval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"interval": "1s"}`)
	set := r.duty("events").SetAt
	r.insert("events", 3)
	r.watch(quick)
	first := r.awaitStarts("events", 1)[0]
	if wait := first.at.Sub(set); wait < time.Second || wait > time.Second+noticed {
		t.Errorf("it started %s after the policy was set", wait)
	}
	if first.d.SetBy != "ann" || first.d.Statement == "" {
		t.Errorf("started for %+v", first.d)
	}
	r.await("the end of the flush", func() bool { return r.duty("events").LastFlushAt != nil })
	flushed := *r.duty("events").LastFlushAt
	r.insert("events", 1)
	second := r.awaitStarts("events", 2)[1]
	if wait := second.at.Sub(flushed); wait < time.Second || wait > time.Second+noticed {
		t.Errorf("the second one started %s after the first had ended", wait)
	}
	if d := r.duty("events"); d.JobID == "" || d.TriedAt == nil || d.Failures != 0 || d.Error != "" {
		t.Errorf("state %+v", d)
	}
}

// A41: the rows are reached: it starts within 2 s, also where PostgreSQL's counters lag behind. Passing it by the last row of a
// session that has just told its counts is what they are slowest to tell. Other tests keep the machine busy, so the best of three counts.
func TestRowThreshold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"rows": 10}`)
	w, _ := r.watch(quick)
	conn := r.db.Connect(t, r.db.OwnerURL)
	var late time.Duration
	for n := range 3 {
		for range 9 {
			if _, err := conn.Exec(t.Context(), "INSERT INTO app.events (note) VALUES ('x')"); err != nil {
				t.Fatal(err)
			}
		}
		r.awaitTicks(w, 5)
		if got := len(r.starts("events")); got > n { // A44
			t.Fatalf("%d starts below the threshold", got-n)
		}
		at := time.Now()
		if _, err := conn.Exec(t.Context(), "INSERT INTO app.events (note) VALUES ('x')"); err != nil {
			t.Fatal(err)
		}
		if late = r.awaitStarts("events", n+1)[n].at.Sub(at); late <= 2*time.Second {
			return
		}
		r.awaitEnd("events")
	}
	t.Errorf("noticed after %s", late)
}

// A41: the same for bytes.
func TestBytesThreshold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"bytes": 1000000}`)
	w, _ := r.watch(quick)
	r.insert("events", 5000) // of about 60 bytes
	r.awaitTicks(w, 8)
	if n := len(r.starts("events")); n > 0 { // A44
		t.Fatalf("%d starts below the threshold", n)
	}
	at := time.Now()
	r.db.Exec(t, "INSERT INTO app.events (note) SELECT string_agg(md5(i::text), '') FROM generate_series(1, 30000) AS i")
	if late := r.awaitStarts("events", 1)[0].at.Sub(at); late > noticed+time.Second {
		t.Errorf("noticed after %s", late)
	}
}

// A42: whichever comes first. A43: after a flush both begin anew, a manual one too.
func TestWhicheverComesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"rows": 10, "interval": "3s"}`)
	set := r.duty("events").SetAt
	w, _ := r.watch(quick)
	r.insert("events", 10)
	if early := r.awaitStarts("events", 1)[0].at.Sub(set); early > 3*time.Second {
		t.Errorf("by rows: started after %s", early)
	}
	r.await("the end of the flush", func() bool { return r.duty("events").LastFlushAt != nil })
	// A flush that somebody asked for: the interval counts from it, and its rows count no more.
	r.insert("events", 9)
	r.sql("DELETE FROM app.events")
	r.awaitTicks(w, 10)
	manual := time.Now()
	r.must(r.ledger.TouchTable(t.Context(), "app", "events", manual, "flush:app.events:manual"))
	r.insert("events", 9)
	second := r.awaitStarts("events", 2)[1]
	if wait := second.at.Sub(manual); wait < 3*time.Second || wait > 3*time.Second+noticed {
		t.Errorf("by interval: started %s after the manual flush", wait)
	}
	if n := len(r.starts("events")); n != 2 {
		t.Errorf("%d starts", n)
	}
}

// A44: below both, and with nothing to move, no job starts; the flush starts when rows come.
func TestNothingToMove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"interval": "200ms", "min_rows": 3, "flush": {"where": "kind = 'old'"}}`)
	w, _ := r.watch(quick)
	r.insert("events", 50)
	r.db.Exec(t, "INSERT INTO app.events (kind) VALUES ('old'), ('old')")
	r.await("the interval", func() bool { return time.Since(r.duty("events").SetAt) > time.Second })
	r.awaitTicks(w, 3)
	if n := len(r.starts("events")); n > 0 {
		t.Fatalf("%d starts without rows to move", n)
	}
	at := time.Now()
	r.db.Exec(t, "INSERT INTO app.events (kind) VALUES ('old')")
	if late := r.awaitStarts("events", 1)[0].at.Sub(at); late > noticed {
		t.Errorf("noticed after %s", late)
	}
}

// What counts is what would move: of an age, by a predicate, beyond what is kept. Rows become old by themselves.
func TestOnlyWhatWouldMoveCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, p := range map[string]string{
		"aged": `{"rows": 5, "flush": {"older_than": "2 seconds", "age_column": "at"}}`,
		"kept": `{"rows": 5, "flush": {"keep_rows": "7", "age_column": "id"}}`,
		"kind": `{"rows": 5, "flush": {"where": "kind = 'old'", "keep_rows": "2", "age_column": "id"}}`,
	} {
		r.table(name)
		r.policy(name, p)
	}
	w, _ := r.watch(quick)
	r.insert("aged", 5)
	r.insert("kept", 11)
	r.db.Exec(t, "INSERT INTO app.kind (kind) SELECT 'old' FROM generate_series(1, 6)") // two of which are kept
	inserted := time.Now()
	r.awaitTicks(w, 5)
	for _, name := range []string{"kept", "kind"} {
		if n := len(r.starts(name)); n > 0 {
			t.Errorf("%s: %d starts below the threshold", name, n)
		}
	}
	if wait := r.awaitStarts("aged", 1)[0].at.Sub(inserted); wait < 1500*time.Millisecond || wait > 2*time.Second+noticed {
		t.Errorf("aged: started after %s", wait)
	}
	r.insert("kept", 1)
	r.insert("kind", 1) // now one of the six has to be kept no longer
	r.awaitStarts("kept", 1)
	r.awaitStarts("kind", 1)
}

// A partitioned table counts as one, and new partitions belong to it.
func TestPartitioned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.db.Exec(t, "CREATE TABLE app.parts (id int, note text) PARTITION BY RANGE (id)", "CREATE TABLE app.parts_0 PARTITION OF app.parts FOR VALUES FROM (0) TO (100)",
		"GRANT SELECT, DELETE ON app.parts, app.parts_0 TO "+r.db.Worker)
	r.policy("parts", `{"rows": 10}`)
	w, _ := r.watch(quick)
	r.db.Exec(t, "INSERT INTO app.parts SELECT i FROM generate_series(1, 5) AS i")
	r.awaitTicks(w, 3)
	r.db.Exec(t, "CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM (100) TO (200)", "GRANT SELECT, DELETE ON app.parts_1 TO "+r.db.Worker)
	at := time.Now()
	r.db.Exec(t, "INSERT INTO app.parts SELECT i FROM generate_series(100, 104) AS i")
	if late := r.awaitStarts("parts", 1)[0].at.Sub(at); late > noticed {
		t.Errorf("noticed after %s", late)
	}
}

// A45: what became due while nothing ran is found by the next watcher; a job that the last one started is not started again.
func TestStartFindsWhatBecameDue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"events", "busy"} {
		r.table(name)
		r.policy(name, `{"interval": "300ms"}`)
	}
	r.finish["busy"] = func(*ledger.HistoryRow) bool { return false }
	_, stop := r.watch(quick)
	r.insert("busy", 1)
	job := r.awaitStarts("busy", 1)[0].job
	r.await("the record of the start", func() bool { return r.duty("busy").JobID == job })
	stop()
	r.insert("events", 1)
	r.await("the interval", func() bool { return time.Since(r.duty("events").SetAt) > time.Second })
	if n := len(r.starts("events")); n > 0 {
		t.Fatalf("%d starts without a watcher", n)
	}
	w, _ := r.watch(quick)
	r.awaitStarts("events", 1)
	r.awaitTicks(w, 15) // longer than Relook
	if n := len(r.starts("busy")); n != 1 {
		t.Errorf("%d starts of the table whose job goes on", n)
	}
}

// A table whose flush keeps failing rests, longer each time, and tells why; others go on, and a success ends it.
func TestFailingTableRests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"bad", "refused", "good"} {
		r.table(name)
		r.policy(name, `{"rows": 1}`)
		r.insert(name, 1)
	}
	text, class := "a value that has no place", "unrepresentable"
	r.finish["bad"] = func(h *ledger.HistoryRow) bool {
		h.Status, h.Error, h.ErrorClass = "failed", &text, &class
		return true
	}
	r.answer["refused"] = func(ledger.Duty) (string, error) {
		return "", &policy.StartError{Class: "invalid", Err: errors.New("no such option")}
	}
	w, _ := r.watch(quick)
	starts := r.awaitStarts("bad", 4)
	for i, want := range []time.Duration{600, 1200, 2400} {
		if gap := starts[i+1].at.Sub(starts[i].at); gap < want*time.Millisecond {
			t.Errorf("rest %d took %s, want %s or more", i+1, gap, want*time.Millisecond)
		}
	}
	r.await("the record of the failures", func() bool { return r.duty("bad").Failures == 4 })
	if d := r.duty("bad"); d.Error != text || d.Class != class || d.NextTry == nil {
		t.Errorf("state %+v", d)
	}
	if d := r.duty("refused"); d.Error != "no such option" || d.Class != "invalid" || d.Failures < 2 || d.NextTry == nil || d.TriedAt == nil {
		t.Errorf("state %+v", d)
	}
	if rep := w.Report(); rep.Failing != 2 || len(rep.Failed) != 2 || rep.Tables != 3 {
		t.Errorf("report %+v", rep)
	}
	for n := 2; n <= 4; n++ {
		r.insert("good", 1)
		r.awaitStarts("good", n)
	}
	r.mu.Lock()
	delete(r.finish, "bad")
	r.mu.Unlock()
	r.await("the success", func() bool {
		d := r.duty("bad")
		return d.Failures == 0 && d.Error == "" && d.Class == "" && d.NextTry == nil
	})
}

// A flush that is killed rests for a while, and has not failed. A policy that somebody pauses does nothing.
func TestKilledAndPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("killed")
	r.table("paused")
	r.finish["killed"] = func(h *ledger.HistoryRow) bool { h.Status = "cancelled"; return true }
	r.policy("killed", `{"rows": 1}`)
	r.policy("paused", `{"rows": 1}`)
	r.sql(`UPDATE spillway.tables SET policy_paused_at = now(), policy_paused_by = 'ann' WHERE table_name = 'paused'`)
	r.insert("killed", 1)
	r.insert("paused", 1)
	w, _ := r.watch(quick)
	starts := r.awaitStarts("killed", 3)
	for i := range 2 {
		if gap := starts[i+1].at.Sub(starts[i].at); gap < quick.Backoff || gap > quick.Backoff+noticed {
			t.Errorf("it started again after %s", gap)
		}
	}
	if d := r.duty("killed"); d.Failures != 0 || d.Error != "" {
		t.Errorf("state %+v", d)
	}
	if n := len(r.starts("paused")); n > 0 || w.Report().Paused != 1 {
		t.Errorf("%d starts of the paused one; %+v", n, w.Report())
	}
	r.sql(`UPDATE spillway.tables SET policy_paused_at = NULL, policy_paused_by = NULL WHERE table_name = 'paused'`)
	r.awaitStarts("paused", 1)
}

// A flush that moves nothing, and leaves what made it due, is not tried in a loop.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("locked")
	r.finish["locked"] = func(h *ledger.HistoryRow) bool { h.RowsSkipped = 5; return true }
	r.policy("locked", `{"rows": 1}`)
	r.insert("locked", 5)
	r.watch(quick)
	starts := r.awaitStarts("locked", 3)
	if gap := starts[2].at.Sub(starts[1].at); gap < 2*quick.Backoff {
		t.Errorf("it started again after %s", gap)
	}
	if d := r.duty("locked"); d.Class != policy.ClassNoProgress || d.Failures < 2 || !strings.Contains(d.Error, "locked") {
		t.Errorf("state %+v", d)
	}
}

// A table that is busy with another job is no failure; it starts when that has ended. A job that nobody knows any more is not
// waited for.
func TestBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, name := range []string{"events", "lost"} {
		r.table(name)
		r.policy(name, `{"rows": 1}`)
	}
	r.sql(`UPDATE spillway.tables SET policy_job_id = 'flush:app.lost:gone', policy_tried_at = now() WHERE table_name = 'lost'`)
	other := "restore:app.events:other"
	busy := true
	r.answer["events"] = func(ledger.Duty) (string, error) {
		if busy {
			return "", &policy.BusyError{JobID: other}
		}
		return "", nil
	}
	r.insert("events", 1)
	r.insert("lost", 1)
	r.watch(quick)
	r.awaitStarts("lost", 1)
	r.awaitStarts("events", 1)
	if d := r.duty("events"); d.Failures != 0 || d.Error != "" || d.NextTry != nil {
		t.Errorf("state %+v", d)
	}
	r.mu.Lock()
	busy = false
	r.mu.Unlock()
	at := time.Now()
	if _, err := r.ledger.InsertHistory(t.Context(), ledger.HistoryRow{JobID: other, JobType: "restore", Schema: "app", Table: "events", Status: "completed", CreatedAt: at}); err != nil {
		t.Fatal(err)
	}
	r.await("the flush", func() bool { return r.duty("events").JobID != "" })
	if late := time.Since(at); late > noticed {
		t.Errorf("noticed after %s", late)
	}
}

// A dropped table is told, and rests until it is there again. One whose predicate no longer fits is told too.
func TestMissingTable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.policy("gone", `{"rows": 1}`)
	r.table("changed")
	r.insert("changed", 1)
	r.policy("changed", `{"rows": 1, "flush": {"where": "nothing > 0"}}`)
	w, _ := r.watch(quick)
	r.await("the note", func() bool { return r.duty("gone").Class == policy.ClassMissingTable })
	r.await("the note", func() bool { return r.duty("changed").Class == "invalid" })
	if rep := w.Report(); rep.Missing != 1 {
		t.Errorf("report %+v", rep)
	}
	r.table("gone")
	r.insert("gone", 1)
	r.awaitStarts("gone", 1)
	r.await("the note to go", func() bool { d := r.duty("gone"); return d.Class == "" && d.Error == "" })
}

// Two watchers at once do no harm: each flush is started once, and a failure counts once.
func TestTwoWatchers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.table("bad")
	text, class := "no", "data"
	r.finish["bad"] = func(h *ledger.HistoryRow) bool {
		h.Status, h.Error, h.ErrorClass = "failed", &text, &class
		return true
	}
	r.policy("events", `{"rows": 5}`)
	r.policy("bad", `{"rows": 5}`)
	a, _ := r.watch(quick)
	b, _ := r.watch(quick)
	r.insert("bad", 5)
	for n := 1; n <= 3; n++ {
		r.insert("events", 5)
		r.awaitStarts("events", n)
		r.await("its end", func() bool {
			return pgtest.Value[int](t, r.db, "SELECT count(*)::int FROM app.events") == 0
		})
	}
	r.awaitTicks(a, 3)
	r.awaitTicks(b, 3)
	if n := len(r.starts("events")); n > 4 { // one may find the rows of a flush that is about to end
		t.Errorf("%d starts", n)
	}
	r.await("the failures", func() bool { return len(r.starts("bad")) >= 2 })
	r.awaitTicks(a, 3)
	if d, n := r.duty("bad"), len(r.starts("bad")); d.Failures > n {
		t.Errorf("%d failures of %d tries", d.Failures, n)
	}
}

// Where nothing is committed, nothing is asked but for the position of the WAL.
func TestQuietDatabaseCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.table("events")
	r.policy("events", `{"rows": 100, "interval": "1h"}`)
	r.insert("events", 99)
	w, err := policy.New(r.ledger, r.hot, r, &quick)
	r.must(err)
	r.await("a tick that counts nothing", func() bool {
		r.must(w.Tick(t.Context()))
		c := w.Cost()
		return c.Leaves == 0 && c.Counts == 0 && c.Measured == 0 && c.Located == 0
	})
}
