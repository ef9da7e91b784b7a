package flush_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// A generation that was cut anew in mid-flush begins where the one before has stopped: in the middle of a partition, behind those
// that are done. Each row moves once.
func TestCutAnewInMidFlush(t *testing.T) {
	t.Parallel()
	r := newRig(t, `CREATE TABLE app.t (id bigint, note text) PARTITION BY RANGE (id)`,
		`CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM (0) TO (10000)`,
		`CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM (10000) TO (20000)`,
		`CREATE TABLE app.t3 PARTITION OF app.t FOR VALUES FROM (20000) TO (30000)`,
		`INSERT INTO app.t SELECT i, repeat('x', 200) FROM generate_series(0, 29999) AS i`, `ANALYZE app.t`)
	r.params["chunk_bytes"] = "1MB"
	r.params["parallelism"] = "1"
	j := r.newJob()
	if j.plan.Chunks != 9 || j.plan.Manners == nil || j.plan.Manners.ChunkTime != flush.DefaultChunkTime || j.plan.Manners.MostChunkBytes != 1<<20 {
		t.Fatalf("%+v %+v", j.plan, j.plan.Manners)
	}
	for n := range 4 { // the first partition, and a third of the second
		res, err := j.chunk(n)
		if err != nil || res.Took <= 0 {
			t.Fatal(res, err)
		}
	}
	before := r.hotCount()
	ctx := context.Background()
	in := jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2, ChunkBytes: 128 << 10, Next: 4}
	next, err := r.f.Plan(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if next.FirstChunk != 9 || next.Chunks < 30 || next.Chunks > 45 || next.Manners.CutBytes > 128<<10 || next.RowsEstimate < 15000 || next.RowsEstimate > 19000 {
		t.Errorf("%+v %+v", next, next.Manners)
	}
	if again, err := r.f.Plan(ctx, in); err != nil || again.Chunks != next.Chunks || again.FirstChunk != next.FirstChunk {
		t.Errorf("asked again: %+v %v", again, err)
	}
	res, err := j.chunk(next.FirstChunk)
	if err != nil || res.Rows == 0 || r.hotCount() != before-res.Rows {
		t.Errorf("its first chunk moved %d rows: %v", res.Rows, err)
	}
	in.Next = 99
	in.Generation = 3
	if _, err := r.f.Plan(ctx, in); err == nil || jobstep.ClassOf(err).Name != jobstep.ClassInternal {
		t.Errorf("a chunk beyond the plan: %v", err)
	}
	j.plan = next
	if end, left := j.run(); left.RowsLeft != 0 || end.Status != "completed" {
		t.Errorf("%+v %+v", end, left)
	}
	if n := r.hotCount(); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
}

// A rewritten table has other blocks: then all of it is covered.
func TestCutAnewAfterARewrite(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(20_000))
	r.params["chunk_bytes"] = "256kB"
	j := r.newJob()
	for n := range 2 {
		if _, err := j.chunk(n); err != nil {
			t.Fatal(err)
		}
	}
	r.db.Super(t, "VACUUM FULL app.t")
	next, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2, ChunkBytes: 1 << 20, Next: 2})
	if err != nil {
		t.Fatal(err)
	}
	j.plan = next
	if _, left := j.run(); left.RowsLeft != 0 || r.hotCount() != 0 {
		t.Errorf("%+v, %d hot", left, r.hotCount())
	}
}

// A low rate makes chunks small, so that no chunk moves a minute's worth at once.
func TestRateMakesChunksSmall(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(20_000), "ANALYZE app.t")
	r.params["max_rows_per_second"] = "100"
	j := r.newJob()
	if j.plan.Chunks < 30 || j.plan.Manners.MaxRowsPerSecond != 100 || j.plan.Manners.ChunkBytes > jobstep.MinChunkBytes*4 || j.plan.Manners.MostChunkBytes != j.plan.Manners.ChunkBytes {
		t.Errorf("%+v %+v", j.plan, j.plan.Manners)
	}
	j.run()
}

// Without the right to look, a limit of the lag is refused before a row moves.
func TestLagNeedsARight(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(100))
	r.params["max_replication_lag"] = "1MB"
	id := r.request()
	_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: "flush:app.t:" + id, RequestID: id, Generation: 1})
	if err == nil || jobstep.ClassOf(err).Name != jobstep.ClassPrivilege || !strings.Contains(err.Error(), "GRANT pg_read_all_stats") {
		t.Errorf("%v", err)
	}
	// It is told before there is a job, and by EXPLAIN.
	s := flush.NewSurveyor(r.hot, r.ledger)
	var no *flush.RefusedError
	if err := s.Check(t.Context(), "app", "t", r.params); !errors.As(err, &no) || no.Refusal.Code != "42501" {
		t.Errorf("check: %v", err)
	}
	if v, err := s.Survey(t.Context(), "app", "t", r.params); err != nil || len(v.Refusals) != 1 || v.Refusals[0].Refusal.Code != "42501" {
		t.Errorf("survey: %+v %v", v, err)
	}
}

// Real lag: a slot whose reader does not read makes the server keep WAL.
func TestReplicationLag(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	r.db.Super(t, "GRANT pg_read_all_stats TO "+r.db.Worker)
	slot := "lag_" + r.db.Name
	r.db.Super(t, "SELECT pg_create_physical_replication_slot('"+slot+"', true)")
	dropped := false
	drop := func() {
		if !dropped {
			r.db.Super(t, "SELECT pg_drop_replication_slot('"+slot+"')")
		}
		dropped = true
	}
	t.Cleanup(drop)
	const limit = 64 << 20
	r.params["max_replication_lag"] = fmt.Sprint(limit, "B")
	j := r.newJob()
	if !j.plan.Manners.ChecksLoad {
		t.Errorf("%+v", j.plan.Manners)
	}
	look := func() jobstep.Load {
		t.Helper()
		l, err := r.f.Load(context.Background(), jobstep.LoadInput{JobID: j.id})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	// Other tests of this server write WAL too, so only what is beyond the limit is certain.
	r.db.Super(t, "CREATE TABLE app.wal (note text)")
	for i := 0; look().Calm(); i++ {
		if i > 40 {
			t.Fatal("no lag")
		}
		r.db.Super(t, "INSERT INTO app.wal SELECT repeat('x', 1000) FROM generate_series(1, 10000)")
	}
	if l := look(); l.LagBytes <= limit || l.LagTime != 0 || l.LockWaiters != 0 || !strings.HasPrefix(l.Phase(), "waiting: replication lag ") {
		t.Errorf("%+v %s", l, l.Phase())
	}
	drop()
	if l := look(); !l.Calm() {
		t.Errorf("the slot is gone: %+v", l)
	}
	r.db.Super(t, "REVOKE pg_read_all_stats FROM "+r.db.Worker)
	if _, err := r.f.Load(context.Background(), jobstep.LoadInput{JobID: j.id}); jobstep.ClassOf(err).Name != jobstep.ClassPrivilege {
		t.Errorf("without the right: %v", err)
	}
	j.run()
}

// Sessions that wait for the table count, and those that wait for rows that the job is about to remove; others do not.
func TestLockWaiters(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000), "CREATE TABLE app.other (id int)", "INSERT INTO app.other VALUES (1)")
	r.params["max_lock_waiters"] = "1"
	j := r.newJob()
	look := func() jobstep.Load {
		t.Helper()
		l, err := r.f.Load(context.Background(), jobstep.LoadInput{JobID: j.id})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	holder := r.db.Connect(t, r.db.OwnerURL)
	run := func(sql string) {
		t.Helper()
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	waiting := make(chan error, 10)
	wait := func(n int, sql string) {
		t.Helper()
		c := r.db.Connect(t, r.db.OwnerURL)
		go func() { _, err := c.Exec(context.Background(), sql); waiting <- err }()
		for deadline := time.Now().Add(30 * time.Second); pgtest.Value[int](t, r.db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") < n; {
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
	}
	release := func(n int) {
		t.Helper()
		run("ROLLBACK")
		for range n {
			if err := <-waiting; err != nil {
				t.Error(err)
			}
		}
	}
	run("BEGIN; LOCK TABLE app.t IN SHARE ROW EXCLUSIVE MODE; UPDATE app.other SET id = 2")
	wait(1, "UPDATE app.t SET note = note WHERE false")
	if l := look(); !l.Calm() {
		t.Errorf("one is allowed: %+v", l)
	}
	wait(2, "UPDATE app.other SET id = 3") // it waits for the holder, and has nothing to do with us
	if l := look(); !l.Calm() {
		t.Errorf("a waiter of another table counts: %+v", l)
	}
	wait(3, "UPDATE app.t SET note = note WHERE false")
	if l := look(); l.LockWaiters != 2 || l.Phase() != "waiting: 2 sessions wait for locks" {
		t.Errorf("%+v", l)
	}
	release(3)
	if l := look(); !l.Calm() {
		t.Errorf("all are through: %+v", l)
	}

	// A transaction of ours holds rows that two sessions want.
	ours, err := r.hot.Session(t.Context(), "spillway:test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if _, err := ours.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Exec(t.Context(), "DELETE FROM app.t WHERE id <= 2"); err != nil {
		t.Fatal(err)
	}
	wait(1, "UPDATE app.t SET note = 'a' WHERE id = 1")
	wait(2, "UPDATE app.t SET note = 'b' WHERE id = 2")
	if l := look(); l.LockWaiters != 2 {
		t.Errorf("%+v", l)
	}
	if _, err := ours.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
	r.want = nil // the application has changed rows
	if _, left := j.run(); left.RowsLeft != 0 || r.hotCount() != 0 {
		t.Errorf("%+v", left)
	}
}
