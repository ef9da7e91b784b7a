package flush_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
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
	plan, err := r.f.PlanCleanup(ctx, flush.PlanInput{JobID: id, RequestID: r.ask(flush.CleanupType, "", "", params), Generation: 1})
	if err != nil {
		return nil, err
	}
	for n := range plan.Chunks {
		if _, err := r.f.CleanUp(ctx, flush.ChunkInput{JobID: id, Chunk: n, Attempt: 1}, nil); err != nil {
			return r.findings(id), err
		}
	}
	return r.findings(id), r.f.FinishCleanup(ctx, id)
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
	if found, err := r.cleanup(false); flush.ClassOf(err).Name != flush.ClassInternal {
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
	if flush.ClassOf(err).Name != flush.ClassRefused || !strings.Contains(err.Error(), "may commit yet") || !exists(object) {
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
		if flush.ClassOf(err).Name != flush.ClassRefused {
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
	if flush.ClassOf(err).Name != flush.ClassRefused || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d objects", len(urls), len(urls)+2)) {
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
	objects, err := flush.EncodeObjects([]string{"file://" + stray})
	if err != nil {
		t.Fatal(err)
	}
	id := "cleanup::" + uuid.NewString()
	if _, err := r.f.PlanCleanup(ctx, flush.PlanInput{JobID: id, RequestID: r.ask(flush.CleanupType, "", "", map[string]string{"objects": objects})}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.f.CleanUp(ctx, flush.ChunkInput{JobID: id, Attempt: 1}, nil); err != nil {
			t.Fatal(err)
		}
		r.db.Super(t, "UPDATE spillway.findings SET action = 'would_delete' WHERE action = 'deleted'")
	}
	if _, err := r.f.CleanUp(ctx, flush.ChunkInput{JobID: id, Attempt: 2}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.f.FinishCleanup(ctx, id); err != nil || r.findings(id)[stray].Action != ledger.ActionDeleted {
		t.Errorf("%v, %+v", err, r.findings(id))
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
	}{"another's": {`{"installation_id": "somebody"}`, flush.ClassRefused}, "damaged": {`{`, flush.ClassStorage}, "none": {"", flush.ClassStorage}} {
		t.Run(name, func(t *testing.T) {
			spoil(t, marker, func([]byte) []byte {
				if c.marker == "" {
					return nil
				}
				return []byte(c.marker)
			})
			for _, objects := range [][]string{nil, {"file://" + stray}} {
				if found, err := r.cleanup(false, objects...); flush.ClassOf(err).Name != c.class || !exists(orphan) || !exists(stray) {
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

// A58: a clone has the rows of the original's attempts. Neither before nor after it adopts the storage does its clean-up take
// what the original has registered; and the other way round.
func TestCloneOnTheSameStorage(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(400))
	ctx := t.Context()
	flushTable(t, r, "t") // some rows are cold before
	r.db.Exec(t, strings.Replace(fill(200), "generate_series(1, 200)", "generate_series(10001, 10200)", 1))
	r.want = nil // taken at the end
	open := r.holdSegments()
	j := r.newJob()
	done := make(chan error, 1)
	go func() { done <- j.chunks(&j.plan) }()
	files := func() []string {
		list, _ := filepath.Glob(filepath.Join(r.dir, "app/t/*.parquet"))
		return list
	}
	until(t, func() bool { return len(files()) == 2 })
	clone := r.clone() // as of now: the attempt has not committed
	open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	j.finish("completed", nil)
	if n := pgtest.Value[int](t, clone.db, "SELECT count(*) FROM spillway.attempts"); n != 1 {
		t.Fatalf("the clone has %d attempts of the original", n)
	}

	until(t, func() bool { // in the clone's eyes, too: it is on the same server here
		return pgtest.Value[int](t, clone.db, "SELECT count(*) FROM spillway.attempts a JOIN pg_stat_activity s ON s.pid = a.backend_pid AND s.backend_start = a.backend_start") == 0
	})
	if _, err := clone.cleanup(false); !isForeign(err) {
		t.Errorf("the clone's clean-up is not refused: %v", err)
	}
	clone.adopt()
	found, err := clone.cleanup(false)
	if err != nil || len(found) != 1 {
		t.Errorf("%v, %+v", err, found)
	}
	for path, f := range found {
		if f.Action != ledger.ActionKept || !exists(path) || !strings.Contains(f.Problem, "another database") {
			t.Errorf("%s: %+v", path, f)
		}
	}
	// A flush of the clone settles what came before it, too.
	flushTable(t, clone, "t")
	for _, p := range r.segmentFiles() {
		if !exists(p) {
			t.Errorf("the clone removed %s of the original", p)
		}
	}
	// Now the original is the stranger.
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	if _, err := r.cleanup(false); !isForeign(err) {
		t.Errorf("the original's clean-up is not refused: %v", err)
	}
	r.adopt()
	if _, err := r.cleanup(false); err != nil || exists(orphan) {
		t.Error(err)
	}
	for _, p := range clone.segmentFiles() {
		if !exists(p) {
			t.Errorf("the original removed %s of the clone", p)
		}
	}
	if bad, err := r.verify(); err != nil {
		t.Errorf("%v, %+v", err, bad)
	}
	clone.adopt()
	if bad, err := clone.verify(); err != nil {
		t.Errorf("%v, %+v", err, bad)
	}
	for _, p := range clone.segmentFiles() { // so that the audit of the original finds its own files only
		if !slices.Contains(r.segmentFiles(), p) {
			if err := os.Remove(p); err != nil {
				t.Error(err)
			}
		}
	}
	r.adopt()
	if err := r.f.PublishTable(ctx, "app", "t"); err != nil {
		t.Error(err)
	}
}

func isForeign(err error) bool {
	var foreign *objstore.ForeignOwnerError
	return errors.As(err, &foreign) && flush.ClassOf(err).Name == flush.ClassRefused
}

// clone copies the database as it is now, with the same ledger and the same storage.
func (r *rig) clone() *rig {
	r.t.Helper()
	srv := r.db.Server
	name := r.db.Name + "_clone"
	c := &rig{t: r.t, dir: r.dir, params: map[string]string{}}
	db := *r.db
	c.db = &db
	c.db.Name = name
	c.db.SuperURL = srv.SuperURL(name)
	for _, u := range []*string{&c.db.OwnerURL, &c.db.WorkerURL} {
		*u = strings.Replace(*u, "/"+r.db.Name, "/"+name, 1)
	}
	r.dump(name)
	r.t.Cleanup(func() { r.admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })
	var err error
	if c.hot, err = hot.Open(context.Background(), c.db.WorkerURL, nil); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.hot.Close)
	c.ledger = ledger.New(c.hot.Pool(), nil)
	c.f = c.flusher(nil)
	return c
}

// dump copies the database into a new one, in one snapshot, while transactions go on.
func (r *rig) dump(name string) {
	r.t.Helper()
	bin, err := embedpg.Find(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	dump := filepath.Join(bin.Dir, "pg_dump")
	if !exists(dump) {
		r.t.Skipf("%s is not installed", dump)
	}
	text, err := exec.Command(dump, "--no-publications", r.db.SuperURL).Output()
	if err != nil {
		r.t.Fatalf("pg_dump: %v", err)
	}
	r.admin("CREATE DATABASE " + name + " TEMPLATE template0")
	psql := exec.Command(filepath.Join(bin.Dir, "psql"), "-qX", "-v", "ON_ERROR_STOP=1", r.db.Server.SuperURL(name))
	psql.Stdin = bytes.NewReader(text)
	if out, err := psql.CombinedOutput(); err != nil {
		r.t.Fatalf("psql: %v\n%s", err, out)
	}
}

func (r *rig) admin(statement string) {
	r.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, r.db.Server.SuperURL("postgres"))
	if err == nil {
		_, err = conn.Exec(ctx, statement)
		conn.Close(ctx)
	}
	if err != nil {
		r.t.Errorf("%s: %v", statement, err)
	}
}

// adopt makes the storage this database's.
func (r *rig) adopt() {
	r.t.Helper()
	ctx := context.Background()
	inst, err := r.ledger.Installation(ctx, "")
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := r.ledger.Identity(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	store, err := objstore.Open(ctx, r.dir)
	if err == nil {
		err = objstore.AdoptOwner(ctx, store, objstore.Owner{
			InstallationID: inst.ID.String(), SystemIdentifier: id.SystemIdentifier, DatabaseOID: id.DatabaseOID, Timeline: int64(id.Timeline),
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// A58: a copy of the database that was restored to a point in time is on another timeline; nothing else about it is new.
func TestCopyOfAPointInTime(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	_, orphan := r.orphan("flush:app.t:"+uuid.NewString(), true)
	id, err := r.ledger.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := id
	before.Timeline++
	if id.Timeline == 0 || before.Origin() == id.Origin() {
		t.Fatalf("identity %+v", id)
	}
	r.db.Super(t, "UPDATE spillway.attempts SET origin = '"+before.Origin()+"'")
	found, err := r.cleanup(false)
	if err != nil || found[orphan].Action != ledger.ActionKept || !exists(orphan) {
		t.Errorf("%v, %+v", err, found)
	}
	// Whoever knows better names it.
	copied := filepath.Join(filepath.Dir(orphan), strings.TrimSuffix(filepath.Base(orphan), ".parquet")+"-2.parquet")
	plant(t, copied, []byte("of the original"))
	if found, err := r.cleanup(false, "file://"+copied); err != nil || exists(copied) {
		t.Errorf("%v, %+v", err, found)
	}
	r.db.Super(t, "UPDATE spillway.attempts SET origin = '"+id.Origin()+"'")
	if found, err := r.cleanup(false); err != nil || exists(orphan) {
		t.Errorf("%v, %+v", err, found)
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
