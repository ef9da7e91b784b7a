package flush_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
)

// part is a restore that leaves a remainder.
var part = map[string]string{"where": "(tenant = 3)"}

// A36: the answer to the COMMIT of a restore is lost, and the commit took place or did not.
func TestLostAnswerToCommitOfRestore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		how    int32
		params map[string]string
	}{
		{"it never arrived", cutBefore, nil}, {"it was carried out", cutAfter, nil},
		{"with a remainder it never arrived", cutBefore, part}, {"with a remainder it was carried out", cutAfter, part},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t)
			cut, url := newCutter(t, db.WorkerURL)
			r := newRigOn(t, db, url, events, fill(3000))
			r.mayRestore()
			r.newJob().run()
			j := r.newRestore(c.params)
			cut.armed.Store(c.how)
			_, err := j.segment(0)
			if cut.cuts.Load() != 1 {
				t.Fatal("no COMMIT was cut")
			}
			if c.how == cutAfter && err != nil {
				t.Errorf("the commit took place, but: %v", err)
			}
			if c.how == cutBefore && (err == nil || !jobstep.ClassOf(err).Retryable) {
				t.Errorf("nothing was committed, but the error is %v", err)
			}
			want := int64(3000)
			if c.params != nil {
				want = pgtest.Value[int64](t, db, "SELECT count(*) FROM generate_series(1, 3000) i WHERE i % 7 = 3")
			}
			if res := j.restore(); res.Rows != want || r.hotCount() != want {
				t.Errorf("restored %+v, %d rows are hot, want %d", res, r.hotCount(), want)
			}
		})
	}
}

// A29: a kill at each step of a restore leaves every row in one place and no object behind.
func TestKillAtEachStepOfRestore(t *testing.T) {
	t.Parallel()
	for _, params := range []map[string]string{nil, part} {
		for _, step := range []jobstep.Step{jobstep.StepResolving, jobstep.StepClaiming, jobstep.StepCopying, jobstep.StepUploading, jobstep.StepRegistering, jobstep.StepCommitting} {
			if params == nil && step == jobstep.StepUploading {
				continue // it writes no object
			}
			t.Run(fmt.Sprintf("%s %v", step, params), func(t *testing.T) {
				t.Parallel()
				r := newRestoreRig(t, events, fill(2000))
				r.newJob().run()
				j := r.newRestore(params)
				ctx, kill := context.WithCancel(context.Background())
				defer kill()
				var once sync.Once
				at := func(c jobstep.Checkpoint) {
					if c.Step == step {
						once.Do(kill)
					}
				}
				if step == jobstep.StepResolving {
					kill()
				}
				_, err := j.f.RestoreSegment(ctx, jobstep.ChunkInput{JobID: j.id, Attempt: 1}, at)
				if err != nil && jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
					t.Errorf("error %v, want cancelled", err)
				}
				if err == nil && step != jobstep.StepCommitting {
					t.Error("the kill came before COMMIT, but the segment was restored")
				}
				killed := time.Now()
				until(t, func() bool { // PostgreSQL is told to end the backend, and ends it a moment later
					return pgtest.Value[int](t, r.db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND application_name LIKE 'spillway:%'") == 0
				})
				if d := time.Since(killed); d > time.Second { // A29
					t.Errorf("a backend held its transaction for %s after the kill", d)
				}
				audit.Check(t, r.db.SuperURL, "app", "t", r.want)
				must(t, r.sweepAndFinish(j, "cancelled"))
				audit.Storage(t, r.db.SuperURL, r.dir)
				r.restore(nil)
				if r.hotCount() != 2000 {
					t.Errorf("%d rows are hot after the next restore", r.hotCount())
				}
			})
		}
	}
}

func (r *rig) sweepAndFinish(j *job, status string) error {
	if _, err := r.f.Sweep(context.Background(), j.id); err != nil {
		return err
	}
	if err := r.f.Publish(context.Background(), j.id); err != nil {
		return err
	}
	j.finish(status, nil)
	return nil
}

// A37: a restore that hangs with its rows inserted is ended by its successor, and changes nothing when it wakes up.
func TestZombieRestoreIsEnded(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(1000))
	r.newJob().run()
	j := r.newRestore(nil)
	ctx := context.Background()
	id := uuid.New()
	zombie, err := r.hot.Session(ctx, "spillway:"+j.id+":0", nil)
	must(t, err)
	defer zombie.Close()
	must(t, r.ledger.OpenAttempt(ctx, zombie, ledger.Attempt{ID: id, JobID: j.id, Storage: "default", ObjectPrefix: "app/t/zombie-" + id.String()}))
	must(t, zombie.BeginRefill(ctx))
	if ours, err := r.ledger.TakeAttempt(ctx, zombie, id); err != nil || !ours {
		t.Fatal(ours, err)
	}
	must(t, r.ledger.InsertChunk(ctx, zombie, j.id, 0, id, 1))
	seg := pgtest.Value[string](t, r.db, "SELECT segment_id::text FROM spillway.segments")
	if live, err := r.ledger.LockSegment(ctx, zombie, uuid.MustParse(seg)); err != nil || !live {
		t.Fatal(live, err)
	}
	_, err = zombie.Exec(ctx, "INSERT INTO app.t SELECT i, 1 FROM generate_series(1, 1000) i")
	must(t, err)
	must(t, r.ledger.MarkRestored(ctx, zombie, uuid.MustParse(seg), j.id))
	res, err := r.f.RestoreSegment(ctx, jobstep.ChunkInput{JobID: j.id, Attempt: 2, Previous: id.String()}, nil)
	if err != nil || res.Rows != 1000 || res.Earlier {
		t.Errorf("the successor restored %+v, %v", res, err)
	}
	if outcome, err := zombie.Commit(ctx); outcome == hot.OutcomeCommitted {
		t.Errorf("the zombie committed (%v)", err)
	}
	must(t, r.sweepAndFinish(j, "completed"))
}

// Two processes restore one segment at once, and two jobs of which one has lost the table.
func TestSegmentIsRestoredOnce(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, "CREATE TABLE app.t (id int, tenant int)", "INSERT INTO app.t SELECT i, i % 7 FROM generate_series(1, 2000) i") // no key would stop a second copy
	r.newJob().run()
	lost := r.newRestore(nil)
	j := r.newRestore(part)
	if _, err := lost.segment(0); jobstep.ClassOf(err).Name != jobstep.ClassInterrupted {
		t.Errorf("the job that lost the table: %v, want interrupted", err)
	}
	errs := make(chan error, 4)
	for n := range cap(errs) {
		go func() {
			_, err := j.f.RestoreSegment(context.Background(), jobstep.ChunkInput{JobID: j.id, Attempt: n + 1}, nil)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil && !jobstep.ClassOf(err).Retryable {
			t.Errorf("an attempt beside another: %v of class %s", err, jobstep.ClassOf(err).Name)
		}
	}
	j.restore()
	if n, want := r.hotCount(), pgtest.Value[int64](t, r.db, "SELECT count(*) FROM generate_series(1, 2000) i WHERE i % 7 = 3"); n != want {
		t.Errorf("%d rows are hot, want %d", n, want)
	}
	// A segment that somebody else has restored since the plan was made is no error, and brings nothing.
	again := r.newRestore(nil)
	r.db.Super(t, "UPDATE spillway.segments SET restored_at = now(), restored_by = 'test' WHERE restored_at IS NULL AND replaced_at IS NULL")
	if res, err := again.segment(0); err != nil || res.Rows != 0 {
		t.Errorf("a segment that is history: %+v, %v", res, err)
	}
	r.db.Super(t, "UPDATE spillway.segments SET restored_at = NULL, restored_by = NULL WHERE restored_by = 'test'")
	must(t, r.sweepAndFinish(again, "completed"))
}

// A31: the remainder cannot be written; nothing has changed, and the next restore succeeds.
func TestRemainderMeetsAFullStorage(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(1000))
	r.newJob().run()
	j := r.newRestore(part)
	full := &faultyOpen{fail: true}
	_, err := r.flusher(full.open).RestoreSegment(context.Background(), jobstep.ChunkInput{JobID: j.id, Attempt: 1}, nil)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassStorageFull || !class.Retryable {
		t.Errorf("error %v of class %+v, want storage_full", err, class)
	}
	if r.hotCount() != 0 || coldCount(t, r) != 1000 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
	j.restore()
}

// A trigger that keeps rows out would lose them.
func TestTriggerThatKeepsRowsOut(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(100))
	r.newJob().run()
	r.db.Exec(t, "CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id % 10 = 0 THEN RETURN NULL; END IF; RETURN NEW; END'",
		"CREATE TRIGGER g BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()")
	for _, params := range []map[string]string{{"triggers": "fire"}, {"triggers": "fire", "where": "(id < 50)"}} {
		if _, err := r.newRestore(params).segment(0); jobstep.ClassOf(err).Name != jobstep.ClassRefused || !strings.Contains(err.Error(), "trigger") {
			t.Errorf("%v: error %v, want refused", params, err)
		}
		if coldCount(t, r) != 100 {
			t.Fatalf("%v: %d rows are cold", params, coldCount(t, r))
		}
	}
	if res := r.restore(map[string]string{"triggers": "fire", "on_conflict": "skip"}); res.Rows != 90 || coldCount(t, r) != 10 {
		t.Errorf("restored %+v, %d rows are cold", res, coldCount(t, r))
	}
}

// A foreign key of the table whose referenced row is gone.
func TestRestoreMeetsAForeignKey(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, "CREATE TABLE app.tenants (id int PRIMARY KEY)", "INSERT INTO app.tenants SELECT generate_series(0, 9)",
		"CREATE TABLE app.t (id int PRIMARY KEY, tenant int REFERENCES app.tenants DEFERRABLE INITIALLY DEFERRED)", "INSERT INTO app.t SELECT i, i % 10 FROM generate_series(1, 100) i")
	r.newJob().run()
	r.db.Exec(t, "DELETE FROM app.tenants WHERE id = 4")
	_, err := r.newRestore(nil).segment(0)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassData || class.Retryable || class.SQLState != "23503" {
		t.Errorf("error %v of class %+v", err, class)
	}
	if res := r.restore(map[string]string{"where": "(tenant <> 4)"}); res.Rows != 90 {
		t.Errorf("restored %+v", res)
	}
	r.db.Exec(t, "INSERT INTO app.tenants VALUES (4)")
	r.restore(nil)
	if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
		t.Error("the table differs")
	}
}

// A12 A13: clients write while rows go cold and come back, and a reader adds hot and cold in one snapshot.
func TestConcurrentWritersDuringRestore(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(4000), "CREATE TABLE app.log AS SELECT id, NULL::text AS note FROM app.t", "CREATE UNIQUE INDEX ON app.log (id)")
	r.want = nil
	r.params["chunk_bytes"] = "128kB"
	stop := make(chan struct{})
	results := make(chan error, 3)
	for w := range 2 {
		go func() { results <- write(r.db, w, stop) }()
	}
	go func() { results <- watchSum(r.db, stop) }()
	for range 2 {
		r.newJob().run()
		r.restore(part)
		r.restore(map[string]string{"on_conflict": "skip"})
	}
	close(stop)
	for range cap(results) {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	all := audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
	ids := map[string]int{}
	for row, n := range all {
		id, _, _ := strings.Cut(row, "\x1f")
		ids[id] += n
	}
	if want := pgtest.Value[int](t, r.db, "SELECT count(*) FROM app.log"); len(ids) != want || all.Count() != want {
		t.Errorf("%d ids in %d rows, the log has %d", len(ids), all.Count(), want)
	}
}

// A54: a restore that its manager has lost is settled by the next flush of the table, with what it had begun to write.
func TestNextFlushSettlesALostRestore(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(100))
	r.newJob().run()
	lost := r.newRestore(part)
	ctx := context.Background()
	id := uuid.New()
	prefix := "app/t/lost-" + id.String()
	s, err := r.hot.Session(ctx, "spillway:"+lost.id+":0", nil)
	must(t, err)
	must(t, r.ledger.OpenAttempt(ctx, s, ledger.Attempt{ID: id, JobID: lost.id, Storage: "default", ObjectPrefix: prefix}))
	s.Close()
	must(t, os.WriteFile(filepath.Join(r.dir, prefix+".parquet"), []byte("torn"), 0o600))
	r.newJob().run()
	if verdict, err := r.ledger.Condemn(ctx, id); verdict != ledger.VerdictCondemned {
		t.Errorf("the lost job's attempt is %v, %v", verdict, err)
	}
	audit.Storage(t, r.db.SuperURL, r.dir)
}

// A61: a crash of the server after a restore, with a role that does not wait for its commits.
func TestRestoreOutlivesACrash(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db := pgtest.DatabaseOn(t, srv)
	r := newRigOn(t, db, "", events, fill(500))
	r.mayRestore()
	r.newJob().run()
	db.Super(t, "ALTER ROLE "+db.Worker+" SET synchronous_commit = off", "ALTER ROLE "+db.Worker+" SET search_path = app, public",
		"ALTER ROLE "+db.Worker+" SET datestyle = 'SQL, DMY'", "ALTER ROLE "+db.Worker+" SET timezone = 'Asia/Tokyo'")
	r.connect("")
	j := r.newRestore(nil)
	if res, err := j.segment(0); err != nil || res.Rows != 500 {
		t.Fatalf("restored %+v, %v", res, err)
	}
	srv.Kill()
	must(t, srv.Restart(context.Background()))
	r.connect("")
	if n := r.hotCount(); n != 500 || coldCount(t, r) != 0 {
		t.Errorf("after the crash %d rows are hot and %d cold", n, coldCount(t, r))
	}
	must(t, r.sweepAndFinish(j, "completed"))
}
