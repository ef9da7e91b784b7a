package flush_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A36: the answer to COMMIT is lost, and the commit took place or did not.
func TestLostAnswerToCommit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		how  int32
	}{{"it never arrived", cutBefore}, {"it was carried out", cutAfter}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t)
			cut, url := newCutter(t, db.WorkerURL)
			r := newRigOn(t, db, url, events, fill(3000))
			j := r.newJob()
			cut.armed.Store(c.how)
			_, err := j.chunk(0)
			if cut.cuts.Load() != 1 {
				t.Fatal("no COMMIT was cut")
			}
			if c.how == cutAfter && err != nil {
				t.Errorf("the commit took place, but: %v", err)
			}
			if c.how == cutBefore && (err == nil || !jobstep.ClassOf(err).Retryable) {
				t.Errorf("nothing was committed, but the error is %v", err)
			}
			j.run()
			if r.hotCount() != 0 {
				t.Errorf("%d rows are hot after the retry", r.hotCount())
			}
		})
	}
}

// A55
func TestTableWithDeleteRuleIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(10), "CREATE RULE keep AS ON DELETE TO app.t DO INSTEAD UPDATE app.t SET note = 'kept' WHERE id = OLD.id RETURNING OLD.*")
	_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: "flush:app.t:" + uuid.NewString(), RequestID: r.request(), Generation: 1})
	if jobstep.ClassOf(err).Name != jobstep.ClassRefused || !strings.Contains(err.Error(), "keep") {
		t.Errorf("error %v, want refused and the name of the rule", err)
	}
}

// A56 A60: what changes a table between its plan and its chunk.
func TestChangedTableIsPlannedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, change string }{
		{"column added", "ALTER TABLE app.t ADD COLUMN extra text DEFAULT 'precious'"},
		{"column dropped", "ALTER TABLE app.t DROP COLUMN note"},
		{"type changed", "ALTER TABLE app.t ALTER COLUMN tenant TYPE bigint"},
		{"vacuum full", "VACUUM FULL app.t"},
		{"truncated", "TRUNCATE app.t"},
		{"rule added", "CREATE RULE keep AS ON DELETE TO app.t DO INSTEAD NOTHING"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, events, fill(1000))
			j := r.newJob()
			r.db.Exec(t, c.change)
			r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "")
			if _, err := j.chunk(0); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
				t.Fatalf("error %v, want replan", err)
			}
			next, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2})
			if c.name == "rule added" {
				if jobstep.ClassOf(err).Name != jobstep.ClassRefused {
					t.Errorf("planned again: %v, want refused", err)
				}
				return
			}
			if err != nil || next.FirstChunk != j.plan.Chunks {
				t.Fatalf("planned again: %+v, %v", next, err)
			}
			j.plan = next
			if j.run(); r.hotCount() != 0 {
				t.Errorf("%d rows are hot", r.hotCount())
			}
		})
	}
}

// A39
func TestDroppedTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	j := r.newJob()
	r.db.Exec(t, "DROP TABLE app.t")
	r.want = nil
	_, err := j.chunk(0)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassMissingTable || class.Retryable {
		t.Errorf("error %v of class %+v, want missing_table", err, class)
	}
	if res := j.finish("failed", nil); res.Status != "failed" {
		t.Errorf("finished as %+v", res)
	}
}

// A59
func TestLockedRowIsLeftAndReported(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	j := r.newJob()
	app := r.db.Connect(t, r.db.OwnerURL)
	ctx := context.Background()
	tx, err := app.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT 1 FROM app.t WHERE id = 17 FOR KEY SHARE"); err != nil {
		t.Fatal(err)
	}
	res, err := j.chunk(0)
	if err != nil || res.Rows != 999 || res.Skipped != 1 {
		t.Fatalf("moved %+v, %v; want 999 rows and one skipped", res, err)
	}
	if _, err := tx.Exec(ctx, "UPDATE app.t SET note = 'newest' WHERE id = 17"); err != nil {
		t.Errorf("the application was disturbed: %v", err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Errorf("the application was disturbed: %v", err)
	}
	delete(r.want, findRow(r.want, "17\x1f"))
	r.want = r.want.Add(audit.Hot(t, r.db.SuperURL, "app", "t", ""))
	if _, left := j.run(); left.RowsLeft != 0 || r.hotCount() != 0 {
		t.Errorf("%d rows left, %d hot; the residue pass should have moved the row", left.RowsLeft, r.hotCount())
	}
}

// A59: an application waits for a row of the flush, and then the flush comes to a row of the application: a deadlock, in which the
// application has waited for longer. The flush is the one that is ended, and moves the rows when the application is done.
func TestFlushYieldsInDeadlocks(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	if pgtest.Value[int](t, db, "SELECT current_setting('server_version_num')::int") < 150000 {
		t.Skip("before PostgreSQL 15 only superusers may set deadlock_timeout")
	}
	db.Super(t, "ALTER DATABASE "+db.Name+" SET deadlock_timeout = '40s'", pgtest.GrantSet("deadlock_timeout", db.Worker))
	r := newRigOn(t, db, "", events, fill(1000))
	r.params["lock_timeout"] = "20s"
	j := r.newJob()
	begin := func(sql ...string) *pgx.Conn {
		conn := r.db.Connect(t, r.db.SuperURL)
		for _, q := range append([]string{"SET deadlock_timeout = '4s'", "BEGIN"}, sql...) {
			_, err := conn.Exec(t.Context(), q)
			must(t, err)
		}
		return conn
	}
	gate := begin("SELECT FROM app.t WHERE id = 500 FOR UPDATE")
	app := begin("UPDATE app.t SET note = 'newest' WHERE id = 900")
	chunk := make(chan error, 1)
	go func() { _, err := j.chunk(0); chunk <- err }()
	waiting := func(who string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !pgtest.Value[bool](t, r.db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND "+who+")"); {
			if time.Now().After(deadline) {
				t.Fatalf("nobody waits of whom it holds that %s", who)
			}
		}
	}
	waiting("application_name LIKE 'spillway:%'") // for the gate
	done := make(chan error, 1)
	go func() {
		_, err := app.Exec(context.Background(), "UPDATE app.t SET note = 'newest' WHERE id = 1")
		done <- err
	}()
	waiting("query LIKE '%WHERE id = 1'") // for the flush
	_, err := gate.Exec(t.Context(), "ROLLBACK")
	must(t, err)
	if err := <-done; err != nil {
		t.Errorf("the application was disturbed: %v", err)
	}
	_, err = app.Exec(t.Context(), "COMMIT")
	must(t, err)
	must(t, <-chunk)
	r.want = nil
	if _, left := j.run(); left.RowsLeft != 0 || r.hotCount() != 0 {
		t.Errorf("%d rows left, %d hot", left.RowsLeft, r.hotCount())
	}
}

func findRow(rows audit.Rows, prefix string) string {
	for k := range rows {
		if strings.HasPrefix(k, prefix) {
			return k
		}
	}
	return ""
}

// A37, A64: an attempt that hangs with its rows locked is ended by its successor, and changes nothing when it wakes up.
func TestZombieIsEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	j := r.newJob()
	ctx := context.Background()
	id := uuid.New()
	zombie, err := r.hot.Session(ctx, "spillway:"+j.id+":0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zombie.Close()
	m := &hot.Move{Schema: "app", Table: "t", Columns: []string{"id"}}
	must(t, r.ledger.OpenAttempt(ctx, zombie, ledger.Attempt{ID: id, JobID: j.id, Chunk: 0, Storage: "default", ObjectPrefix: "app/t/zombie-" + id.String()}))
	must(t, zombie.Begin(ctx, m))
	if ours, err := r.ledger.TakeAttempt(ctx, zombie, id); err != nil || !ours {
		t.Fatal(ours, err)
	}
	must(t, r.ledger.InsertChunk(ctx, zombie, j.id, 0, id, 1))
	if _, err := zombie.Exec(ctx, "DELETE FROM app.t"); err != nil {
		t.Fatal(err)
	}
	res, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 2, Previous: id.String()}, nil)
	if err != nil || res.Rows != 1000 || res.Earlier {
		t.Errorf("the successor moved %+v, %v", res, err)
	}
	if outcome, err := zombie.Commit(ctx); outcome == hot.OutcomeCommitted {
		t.Errorf("the zombie committed (%v)", err)
	}
	if verdict, err := r.ledger.Condemn(ctx, id); verdict != ledger.VerdictCondemned {
		t.Errorf("the zombie's attempt is %v, %v; its tombstone should say condemned", verdict, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A54: a job that its manager has lost is settled by the next flush of the table.
func TestNextFlushSettlesALostJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	lost := r.newJob()
	ctx := context.Background()
	id := uuid.New()
	prefix := "app/t/lost-" + id.String()
	s, err := r.hot.Session(ctx, "spillway:"+lost.id+":0", nil)
	must(t, err)
	must(t, r.ledger.OpenAttempt(ctx, s, ledger.Attempt{ID: id, JobID: lost.id, Storage: "default", ObjectPrefix: prefix}))
	s.Close()
	must(t, os.MkdirAll(filepath.Join(r.dir, "app", "t"), 0o700))
	must(t, os.WriteFile(filepath.Join(r.dir, prefix+".parquet"), []byte("torn"), 0o600))
	if res, _ := r.newJob().run(); res.Rows != 1000 {
		t.Errorf("the next flush moved %+v", res)
	}
	if verdict, err := r.ledger.Condemn(ctx, id); verdict != ledger.VerdictCondemned {
		t.Errorf("the lost job's attempt is %v, %v", verdict, err)
	}
}

// A64: neither an attempt row nor a chunk row proves anything.
func TestUnknownFirstRowIsNotCondemned(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(10))
	verdict, err := r.ledger.Condemn(context.Background(), uuid.New())
	if err != nil || verdict != ledger.VerdictUnknown {
		t.Errorf("an attempt nobody has seen is %v, %v; want unknown", verdict, err)
	}
	j := r.newJob()
	if res, err := r.f.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Attempt: 2, Previous: uuid.NewString()}, nil); err != nil || res.Rows != 10 {
		t.Errorf("the next attempt moved %+v, %v", res, err)
	}
}

// A57 A64: COMMIT hangs in synchronous replication while the client gives up on it.
func TestCommitHangsInReplication(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db := pgtest.DatabaseOn(t, srv)
	r := newRigOn(t, db, "", events, fill(1000))
	j := r.newJob()
	// From now on each commit waits for a standby that does not exist; the reader of the ledger must not.
	db.Super(t, "ALTER ROLE "+db.Worker+" SET synchronous_commit = on")
	db.HoldCommits(t)
	defer db.ReleaseCommits(t)
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	go killWhenWaiting(ctx, db, kill)
	// The first commit that hangs is that of T0; whatever is left behind must be neither lost nor doubled.
	if res, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, nil); jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
		t.Errorf("the chunk whose first commit hung: %+v, %v; want cancelled", res, err)
	}
	db.ReleaseCommits(t)
	j.run()
	if r.hotCount() != 0 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
}

// killWhenWaiting calls kill once a backend waits for a standby.
func killWhenWaiting(ctx context.Context, db *pgtest.DB, kill func()) {
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name LIKE 'spillway:%'").Scan(&n); err != nil || n > 0 {
			kill()
			return
		}
	}
}

// A57: the commit of T1 hangs, its client is told to stop, and the outcome is found out: it was committed.
func TestHangingCommitIsResolved(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db := pgtest.DatabaseOn(t, srv)
	r := newRigOn(t, db, "", events, fill(1000))
	j := r.newJob()
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	hung := false
	res, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, func(c jobstep.Checkpoint) {
		if c.Step == jobstep.StepCopying && !hung {
			hung = true
			db.HoldCommits(t)
			go killWhenWaiting(ctx, db, kill)
		}
	})
	db.ReleaseCommits(t)
	if err != nil {
		t.Errorf("the commit took place on the server, but: %v", err)
	}
	if res.Rows != 1000 || r.hotCount() != 0 {
		t.Errorf("moved %+v, %d rows hot", res, r.hotCount())
	}
}

// A61
func TestRoleDefaultsDoNotWeakenTheCommit(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db := pgtest.DatabaseOn(t, srv)
	r := newRigOn(t, db, "", events, fill(2000))
	db.Super(t, "ALTER ROLE "+db.Worker+" SET synchronous_commit = off", "ALTER ROLE "+db.Worker+" SET statement_timeout = 1",
		"ALTER ROLE "+db.Worker+" SET idle_in_transaction_session_timeout = 1", "ALTER ROLE "+db.Worker+" SET search_path = app, public",
		"ALTER ROLE "+db.Worker+" SET default_transaction_isolation = serializable")
	r.connect("")
	j := r.newJob()
	if res, err := j.chunk(0); err != nil || res.Rows != 2000 {
		t.Fatalf("moved %+v, %v", res, err)
	}
	srv.Kill()
	must(t, srv.Restart(context.Background()))
	r.connect("")
	if n := r.hotCount(); n != 0 {
		t.Errorf("%d rows came back after the crash", n)
	}
}

// A31: a storage that is full for a while.
func TestFullStorage(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	j := r.newJob()
	full := &faultyOpen{fail: true}
	f := r.flusher(full.open)
	_, err := f.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, nil)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassStorageFull || !class.Retryable {
		t.Errorf("error %v of class %+v, want storage_full", err, class)
	}
	if r.hotCount() != 1000 {
		t.Errorf("%d rows are hot, want all", r.hotCount())
	}
	j.run()
}

// A12 A13: clients insert, update and delete while their rows are flushed, and a reader adds hot and cold in one snapshot.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(6000), "CREATE TABLE app.log AS SELECT id, NULL::text AS note FROM app.t", "CREATE UNIQUE INDEX ON app.log (id)")
	r.want = nil
	r.params["chunk_bytes"] = "64kB"
	db := r.db
	stop := make(chan struct{})
	results := make(chan error, 3)
	for w := range 3 {
		go func() { results <- write(db, w, stop) }()
	}
	sums := make(chan error, 1)
	go func() { sums <- watchSum(db, stop) }()
	for range 3 {
		r.newJob().run()
	}
	close(stop)
	for range 3 {
		if err := <-results; err != nil {
			t.Errorf("an application got %v", err)
		}
	}
	if err := <-sums; err != nil {
		t.Error(err)
	}
	// Each id is in exactly one place, and the newest version of each row that was changed is there.
	all := audit.Hot(t, db.SuperURL, "app", "t", "").Add(audit.Cold(t, db.SuperURL, "app", "t"))
	ids := map[string]int{}
	for row, n := range all {
		id, _, _ := strings.Cut(row, "\x1f")
		ids[id] += n
	}
	want := pgtest.Value[int64](t, db, "SELECT count(*) FROM app.log")
	if int64(len(ids)) != want || int64(all.Count()) != want {
		t.Errorf("%d ids in %d rows, the log has %d", len(ids), all.Count(), want)
	}
	newest := db.Connect(t, db.SuperURL)
	rows, err := newest.Query(context.Background(), "SELECT id::text, note FROM app.log WHERE note IS NOT NULL")
	must(t, err)
	type version struct{ ID, Note string }
	versions, err := pgx.CollectRows(rows, pgx.RowToStructByPos[version])
	must(t, err)
	for _, v := range versions {
		if !anyRow(all, v.ID+"\x1f", "\x1f"+v.Note+"\x1f") {
			t.Errorf("row %s is not there in its newest version %q", v.ID, v.Note)
		}
	}
}

func anyRow(rows audit.Rows, prefix, part string) bool {
	for k := range rows {
		if strings.HasPrefix(k, prefix) && strings.Contains(k, part) {
			return true
		}
	}
	return false
}

// write changes rows at random until stop, and keeps in app.log what must exist: a row per id, with the newest note.
func write(db *pgtest.DB, w int, stop <-chan struct{}) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.OwnerURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		id := w*1000000 + 100000 + i
		_, err := conn.Exec(ctx, fmt.Sprintf(`
			WITH changed AS (UPDATE app.t SET note = 'w%[1]d-%[2]d', amount = amount + 1 WHERE id = (random() * 6000)::int RETURNING id, note),
			     added AS (INSERT INTO app.t VALUES (%[3]d, %[1]d, 'new', 1, now()) RETURNING id),
			     gone AS (DELETE FROM app.t WHERE id = (random() * 6000)::int AND NOT EXISTS (SELECT FROM changed WHERE changed.id = t.id) RETURNING id),
			     l1 AS (UPDATE app.log SET note = changed.note FROM changed WHERE log.id = changed.id),
			     l2 AS (INSERT INTO app.log SELECT id, 'new' FROM added)
			DELETE FROM app.log USING gone WHERE log.id = gone.id`, w, i, id))
		if err != nil && hot.SQLState(err) != "40P01" { // the writers can meet in a deadlock of their own
			return err
		}
	}
}

// watchSum reads, in one snapshot, the rows of the table and those that the ledger counts as cold, against the log.
func watchSum(db *pgtest.DB, stop <-chan struct{}) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
		var sum, want *int64
		err := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM app.t) + (SELECT coalesce(sum(row_count), 0) FROM spillway.segments WHERE restored_at IS NULL AND replaced_at IS NULL),
			(SELECT count(*) FROM app.log)`).Scan(&sum, &want)
		if err != nil {
			return err
		}
		if *sum != *want {
			return fmt.Errorf("a reader saw %d rows, hot and cold, where there are %d", *sum, *want)
		}
	}
}
