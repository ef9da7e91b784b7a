package flush_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/upkeep"
)

// cleanup runs a whole CLEANUP.
func (r *rig) cleanup(dry bool, objects ...string) (map[string]ledger.Finding, error) {
	r.t.Helper()
	ctx := context.Background()
	params := map[string]string{}
	if dry {
		params["dry_run"] = "true"
	}
	if len(objects) > 0 {
		text, err := json.Marshal(objects)
		if err != nil {
			r.t.Fatal(err)
		}
		params["objects"] = string(text)
	}
	id := "cleanup::" + uuid.NewString()
	plan, err := r.k.PlanCleanup(ctx, jobstep.PlanInput{JobID: id, RequestID: r.ask(jobstep.CleanupType, "", "", params), Generation: 1})
	if err != nil {
		return nil, err
	}
	for n := range plan.Chunks {
		if _, err := r.k.CleanUp(ctx, jobstep.ChunkInput{JobID: id, Chunk: n, Attempt: 1}, nil); err != nil {
			return r.findings(id), err
		}
	}
	return r.findings(id), r.k.FinishCleanup(ctx, id)
}

// orphan is what a process leaves behind that was killed after its upload: a row, an object and an unfinished one.
func (r *rig) orphan(jobID string, condemned bool) (id uuid.UUID, object string) {
	r.t.Helper()
	id = uuid.New()
	prefix := "app/t/2026-01-01T00-00-00.000Z-" + id.String()
	r.db.Super(r.t, fmt.Sprintf(`INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start, condemned_at)
		VALUES ('%s', '%s', 3, 'default', '%s', 1, now(), CASE WHEN %t THEN now() END)`, id, jobID, prefix, condemned))
	object = filepath.Join(r.dir, prefix+".parquet")
	store, err := objstore.Open(context.Background(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := store.PutIfAbsent(context.Background(), prefix+".parquet", []byte("orphan")); err != nil {
		r.t.Fatal(err)
	}
	w, err := store.Create(context.Background(), prefix+"-1.parquet") // never ended
	if err == nil {
		_, err = w.Write([]byte("half"))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return id, object
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A29, A34: nothing is left of attempts that can never commit, whoever condemned them.
func TestCleanupRemovesOrphans(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	_, dead := r.orphan("flush:app.t:"+uuid.NewString(), false)
	condemned, old := r.orphan("flush:app.t:"+uuid.NewString(), true)

	found, err := r.cleanup(true)
	if err != nil || len(found) != 2 || !exists(dead) || !exists(old) {
		t.Errorf("dry run: %v, %+v", err, found)
	}
	for _, f := range found {
		if f.Kind != ledger.KindLeftover || f.Action != ledger.ActionWouldDelete || f.AttemptID == uuid.Nil || *f.Bytes != 6 {
			t.Errorf("dry run: %+v", f)
		}
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempts WHERE condemned_at IS NULL"); n != 1 {
		t.Errorf("a dry run condemned an attempt: %d are not", n)
	}

	found, err = r.cleanup(false)
	if err != nil || len(found) != 2 || exists(dead) || exists(old) {
		t.Errorf("%v, %+v", err, found)
	}
	for _, f := range found {
		if f.Kind != ledger.KindLeftover || f.Action != ledger.ActionDeleted {
			t.Errorf("%+v", f)
		}
	}
	for _, p := range paths {
		if !exists(p) {
			t.Errorf("%s is gone", p)
		}
	}
	// The rows stay: nobody knows whether those processes still write. One that does is swept the next time.
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempts WHERE condemned_at IS NOT NULL"); n != 2 {
		t.Errorf("%d tombstones", n)
	}
	plant(t, old, []byte("a zombie woke up"))
	if found, err = r.cleanup(false); err != nil || len(found) != 1 || found[old].AttemptID != condemned || exists(old) {
		t.Errorf("%v, %+v", err, found)
	}
	if found, err = r.cleanup(false); err != nil || len(found) != 0 {
		t.Errorf("%v, %+v", err, found)
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempts WHERE swept_at IS NOT NULL"); n != 2 {
		t.Errorf("%d of 2 tombstones are marked as swept", n)
	}
}

// A ledger that contradicts itself, by whose hand ever, loses no row: what a segment names is not deleted.
func TestCleanupKeepsWhatIsRegistered(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	r.db.Super(t, `INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start, condemned_at)
		SELECT attempt, job_id, chunk, storage, 'app/t/', 1, now(), now() FROM spillway.segments ORDER BY location LIMIT 1`)
	if found, err := r.cleanup(false); jobstep.ClassOf(err).Name != jobstep.ClassInternal {
		t.Errorf("%v, %+v", err, found)
	}
	for _, p := range paths {
		if !exists(p) {
			t.Errorf("%s is gone", p)
		}
	}
	r.db.Super(t, "DELETE FROM spillway.attempts")
}

// holdSegments keeps transactions from registering segments until the returned function is called.
func (r *rig) holdSegments() (open func()) {
	r.t.Helper()
	r.db.Super(r.t, `CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			WHILE NOT pg_try_advisory_xact_lock_shared(4711) LOOP PERFORM pg_sleep(0.005); END LOOP; RETURN NEW; END $$`,
		"CREATE TRIGGER hold BEFORE INSERT ON spillway.segments FOR EACH ROW EXECUTE FUNCTION public.hold()")
	conn := r.db.Connect(r.t, r.db.SuperURL)
	if _, err := conn.Exec(context.Background(), "SELECT pg_advisory_lock(4711)"); err != nil {
		r.t.Fatal(err)
	}
	return func() {
		if _, err := conn.Exec(context.Background(), "SELECT pg_advisory_unlock(4711)"); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A CLEANUP that meets a flush between upload and commit touches nothing of it, and a VERIFY finds nothing.
func TestCleanupLeavesALiveFlushAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(200))
	open := r.holdSegments()
	j := r.newJob()
	done := make(chan error, 1)
	go func() { done <- j.chunks(&j.plan) }()
	uploaded := func() []string {
		files, _ := filepath.Glob(filepath.Join(r.dir, "app/t/*.parquet"))
		return files
	}
	until(t, func() bool { return len(uploaded()) == 1 })
	object := uploaded()[0]
	found, err := r.cleanup(false)
	if err != nil || len(found) != 0 || !exists(object) {
		t.Errorf("%v, %+v", err, found)
	}
	if found, err := r.verify(); err != nil || len(found) != 0 {
		t.Errorf("verify: %v, %+v", err, found)
	}
	store, err := objstore.Open(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	found, err = r.cleanup(false, store.URL("app/t/"+filepath.Base(object)))
	if jobstep.ClassOf(err).Name != jobstep.ClassRefused || !strings.Contains(err.Error(), "may commit yet") || !exists(object) {
		t.Errorf("named: %v, %+v", err, found)
	}
	open()
	if err := <-done; err != nil {
		t.Error(err)
	}
	j.finish("completed", nil)
	if r.hotCount() != 0 || len(r.segmentFiles()) != 1 {
		t.Errorf("%d rows hot, segments %v", r.hotCount(), r.segmentFiles())
	}
}

// A job that has ended, or lost its table, can commit no more, whatever its backend does.
func TestCleanupSettlesEndedJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(200))
	open := r.holdSegments()
	j := r.newJob()
	done := make(chan error, 1)
	go func() { done <- j.chunks(&j.plan) }()
	until(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(r.dir, "app/t/*.parquet"))
		return len(files) == 1
	})
	j.finish("cancelled", nil)
	if _, err := r.cleanup(false); err != nil { // it or the attempt itself removes the object, whoever is first
		t.Error(err)
	}
	open()
	if err := <-done; err == nil {
		t.Error("a condemned attempt has committed")
	}
	if r.hotCount() != 200 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
}

func TestCleanupOfNamedObjects(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	store, err := objstore.Open(t.Context(), r.dir)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside.parquet")
	plant(t, outside, []byte("not ours"))
	first, second := filepath.Join(r.dir, "app/t/odd 'ä' %41.parquet"), filepath.Join(r.dir, "x/y.parquet")
	for _, s := range []string{first, second} {
		plant(t, s, []byte("stray"))
	}
	base := store.URL("") + "/"
	kept := map[string]string{
		base + "app/t/" + filepath.Base(paths[0]):            "registered",
		base + "app/t/manifest.json":                         "manifest",
		base + objstore.OwnerKey:                             "marker",
		base + "app/t/" + filepath.Base(orphan):              "failed attempt",
		base + "app/t/nothing.parquet":                       "no such object",
		base + "../" + filepath.Base(r.dir) + "/x/y.parquet": "no storage",
		"file://" + outside:                                  "no storage",
		"s3://bucket/a":                                      "no storage",
		"":                                                   "no storage",
		base + "app/t":                                       "no such object", // a folder
		base + "x/../app/t/" + filepath.Base(paths[0]):       "no storage",
		base + "app/t/" + strings.ToUpper(filepath.Base(paths[0])) + "%00": "no storage",
	}
	urls := slices.Sorted(maps.Keys(kept))
	byURL := func(found map[string]ledger.Finding) map[string]ledger.Finding {
		out := map[string]ledger.Finding{}
		for _, f := range found {
			out[f.Location] = f
		}
		return out
	}
	for _, u := range urls {
		found, err := r.cleanup(false, u)
		if jobstep.ClassOf(err).Name != jobstep.ClassRefused {
			t.Errorf("%s: error %v", u, err)
		}
		if f := byURL(found)[u]; f.Action != ledger.ActionKept || !strings.Contains(f.Problem, kept[u]) {
			t.Errorf("%s: %+v", u, f)
		}
	}
	strays := []string{store.URL("app/t/odd 'ä' %41.parquet"), store.URL("x/y.parquet")}
	found, err := r.cleanup(true, append(urls, strays...)...)
	if err != nil || !exists(first) || !exists(second) || byURL(found)[strays[0]].Action != ledger.ActionWouldDelete {
		t.Errorf("dry run: %v, %+v", err, found)
	}
	found, err = r.cleanup(false, append(urls, strays...)...)
	if jobstep.ClassOf(err).Name != jobstep.ClassRefused || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d objects", len(urls), len(urls)+2)) {
		t.Errorf("error %v", err)
	}
	if exists(first) || exists(second) || byURL(found)[strays[1]].Action != ledger.ActionDeleted {
		t.Errorf("%+v", found)
	}
	for _, p := range append(paths, outside, orphan, filepath.Join(r.dir, "app/t/manifest.json"), filepath.Join(r.dir, objstore.OwnerKey)) {
		if !exists(p) {
			t.Errorf("%s is gone", p)
		}
	}
	if _, err := r.cleanup(false); err != nil {
		t.Error(err)
	}
}

// A chunk that was cut off between a deletion and its record goes on as if nothing was.
func TestCleanupOfNamedObjectsAgain(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	stray := filepath.Join(r.dir, "app/t/stray.parquet")
	plant(t, stray, []byte("stray"))
	ctx := t.Context()
	objects, err := upkeep.EncodeObjects([]string{"file://" + stray})
	if err != nil {
		t.Fatal(err)
	}
	id := "cleanup::" + uuid.NewString()
	if _, err := r.k.PlanCleanup(ctx, jobstep.PlanInput{JobID: id, RequestID: r.ask(jobstep.CleanupType, "", "", map[string]string{"objects": objects})}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.k.CleanUp(ctx, jobstep.ChunkInput{JobID: id, Attempt: 1}, nil); err != nil {
			t.Fatal(err)
		}
		r.db.Super(t, "UPDATE spillway.findings SET action = 'would_delete' WHERE action = 'deleted'")
	}
	if _, err := r.k.CleanUp(ctx, jobstep.ChunkInput{JobID: id, Attempt: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.k.FinishCleanup(ctx, id); err != nil || r.findings(id)[stray].Action != ledger.ActionDeleted {
		t.Errorf("%v, %+v", err, r.findings(id))
	}
}

// The same for what an attempt left behind.
func TestCleanupOfAttemptsAgain(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	ctx := t.Context()
	id := "cleanup::" + uuid.NewString()
	if _, err := r.k.PlanCleanup(ctx, jobstep.PlanInput{JobID: id, RequestID: r.ask(jobstep.CleanupType, "", "", nil)}); err != nil {
		t.Fatal(err)
	}
	for try := 1; try < 3; try++ {
		if _, err := r.k.CleanUp(ctx, jobstep.ChunkInput{JobID: id, Attempt: try}, nil); err != nil {
			t.Fatal(err)
		}
		if f := r.findings(id)[orphan]; f.Action != ledger.ActionDeleted || exists(orphan) {
			t.Errorf("try %d: %+v", try, f)
		}
		r.db.Super(t, "UPDATE spillway.findings SET action = 'would_delete'") // as if the try had ended before it said so
	}
}

// Nothing is deleted in a storage that is not marked as ours at that very moment.
func TestCleanupAsksWhoseStorageItIs(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	stray := filepath.Join(r.dir, "app/t/stray.parquet")
	plant(t, stray, []byte("stray"))
	marker := filepath.Join(r.dir, objstore.OwnerKey)
	for name, c := range map[string]struct {
		marker string
		class  string
	}{"another's": {`{"installation_id": "somebody"}`, jobstep.ClassRefused}, "damaged": {`{`, jobstep.ClassStorage}, "none": {"", jobstep.ClassStorage}} {
		t.Run(name, func(t *testing.T) {
			spoil(t, marker, func([]byte) []byte {
				if c.marker == "" {
					return nil
				}
				return []byte(c.marker)
			})
			for _, objects := range [][]string{nil, {"file://" + stray}} {
				if found, err := r.cleanup(false, objects...); jobstep.ClassOf(err).Name != c.class || !exists(orphan) || !exists(stray) {
					t.Errorf("%v: %v, %+v", objects, err, found)
				}
			}
		})
	}
	if _, err := r.cleanup(false); err != nil {
		t.Error(err)
	}
	if _, err := r.cleanup(false, "file://"+stray); err != nil {
		t.Error(err)
	}
}

// until waits for what another goroutine does.
func until(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("waited in vain")
		}
	}
}
