package flush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/upkeep"
	"github.com/spillwaydb/spillway/tests/audit"
)

// check is a VERIFY job as its manager would drive it.
type check struct {
	*rig
	k    *upkeep.Keeper
	id   string
	plan jobstep.PlanResult
}

func (r *rig) newCheck(k *upkeep.Keeper) *check {
	r.t.Helper()
	c := &check{rig: r, k: k, id: "verify:app.t:" + uuid.NewString()}
	request := r.ask(jobstep.VerifyType, "app", "t", nil)
	var err error
	if c.plan, err = k.PlanVerify(context.Background(), jobstep.PlanInput{JobID: c.id, RequestID: request, Generation: 1}); err != nil {
		r.t.Fatal(err)
	}
	return c
}

// ask stores a request.
func (r *rig) ask(jobType, schema, table string, params map[string]string) string {
	r.t.Helper()
	id := uuid.New()
	err := r.ledger.PutRequest(context.Background(), ledger.Request{ID: id, JobType: jobType, Schema: schema, Table: table, Params: params, Trigger: "command"})
	if err != nil {
		r.t.Fatal(err)
	}
	return id.String()
}

func (c *check) chunk(n, try int) error {
	_, err := c.k.CheckSegments(context.Background(), jobstep.ChunkInput{JobID: c.id, Chunk: n, Attempt: try}, nil)
	return err
}

// chunks checks all segments.
func (c *check) chunks() {
	c.t.Helper()
	for n := range c.plan.Chunks {
		if err := c.chunk(n, 1); err != nil {
			c.t.Fatal(err)
		}
	}
}

// findings are what the job has found, by the path of the object.
func (r *rig) findings(jobID string) map[string]ledger.Finding {
	r.t.Helper()
	list, err := r.ledger.Findings(context.Background(), jobID)
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]ledger.Finding{}
	for _, f := range list {
		path, _ := objstore.Path(f.Location)
		out[path] = f
	}
	return out
}

// verify runs a whole VERIFY.
func (r *rig) verify() (map[string]ledger.Finding, error) {
	r.t.Helper()
	c := r.newCheck(r.k)
	c.chunks()
	_, err := c.k.FindStrays(context.Background(), c.id)
	return r.findings(c.id), err
}

// flushed is a rig with a table that has several segments.
func flushed(t *testing.T) (*rig, []string) {
	t.Helper()
	r := newRig(t, events, fill(3000))
	r.params["chunk_bytes"] = "65536"
	r.newJob().run()
	paths := r.segmentFiles()
	if len(paths) < 3 {
		t.Fatalf("%d segments", len(paths))
	}
	return r, paths
}

func (r *rig) segmentFiles() (paths []string) {
	r.t.Helper()
	for s, err := range r.ledger.LiveSegments(context.Background(), "app", "t") {
		if err != nil {
			r.t.Fatal(err)
		}
		path, _ := objstore.Path(s.Location)
		paths = append(paths, path)
	}
	return paths
}

// spoil changes a file, and puts it back when the test ends, before the audit.
func spoil(t *testing.T, path string, how func(data []byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plant(t, path, data) })
	if changed := how(bytes.Clone(data)); changed == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, changed, 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func plant(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsNothingWhereNothingIs(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	for name, manifest := range map[string]func([]byte) []byte{
		"whole": func(b []byte) []byte { return b }, "damaged": func([]byte) []byte { return []byte("{") }, "missing": func([]byte) []byte { return nil },
	} {
		t.Run("manifest "+name, func(t *testing.T) {
			spoil(t, filepath.Join(r.dir, "app", "t", "manifest.json"), manifest)
			before := snapshot(t, r.dir)
			c := r.newCheck(r.k)
			c.chunks()
			res, err := c.k.FindStrays(t.Context(), c.id)
			if err != nil || res != (jobstep.VerifyResult{}) || len(r.findings(c.id)) != 0 {
				t.Errorf("%+v, %v, %v", res, err, r.findings(c.id))
			}
			checked, err := r.ledger.Checked(t.Context(), c.id)
			if err != nil || checked.Segments != int64(len(paths)) || checked.Rows != 3000 {
				t.Errorf("checked %+v, %v", checked, err)
			}
			if after := snapshot(t, r.dir); !slices.Equal(before, after) {
				t.Errorf("VERIFY changed the storage: %v, before %v", after, before)
			}
		})
	}
}

// snapshot lists a folder's files with size and time.
func snapshot(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		out = append(out, fmt.Sprint(path, info.Size(), info.ModTime()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Each way in which a segment can be wrong is told by its name, and nothing else is.
func TestVerifyNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	other, err := os.ReadFile(paths[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, kind, says string
		how              func([]byte) []byte
	}{
		{"missing", ledger.KindMissing, "no such object", func([]byte) []byte { return nil }},
		{"truncated", ledger.KindDamaged, "bytes", func(b []byte) []byte { return b[:len(b)-7] }},
		{"empty", ledger.KindDamaged, "it has 0 bytes", func([]byte) []byte { return []byte{} }},
		{"longer", ledger.KindDamaged, "bytes", func(b []byte) []byte { return append(b, 0) }},
		{"torn", ledger.KindDamaged, "sha-256", func(b []byte) []byte { return append(b[:len(b)/2], make([]byte, len(b)-len(b)/2)...) }},
		{"another segment", ledger.KindDamaged, "", func([]byte) []byte { return other }},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoil(t, paths[0], c.how)
			r.mustFind(t, paths[0], c.kind, c.says)
		})
	}
}

// mustFind runs a VERIFY that must find one bad segment.
func (r *rig) mustFind(t *testing.T, path, kind, says string) {
	t.Helper()
	found, err := r.verify()
	if jobstep.ClassOf(err).Name != jobstep.ClassDamaged || jobstep.ClassOf(err).Retryable || !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("error %v, want damaged and the name of the object", err)
	}
	f := found[path]
	if len(found) != 1 || f.Kind != kind || !strings.Contains(f.Problem, says) || f.SegmentID == uuid.Nil || f.Action != ledger.ActionReported {
		t.Errorf("found %+v", found)
	}
}

// One bit is enough, wherever it is.
func TestVerifyFindsOneBit(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		path := paths[rnd.IntN(len(paths))]
		t.Run(itoa(i), func(t *testing.T) {
			spoil(t, path, func(b []byte) []byte {
				at := rnd.IntN(len(b))
				b[at] ^= 1 << rnd.IntN(8)
				return b
			})
			r.mustFind(t, path, ledger.KindDamaged, "sha-256")
		})
	}
}

// A ledger that was tampered with is found out by the files, and two segments that changed places by their footers too.
func TestVerifyComparesTheLedger(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	first := "(SELECT segment_id FROM spillway.segments ORDER BY created_at, segment_id LIMIT 1)"
	for name, c := range map[string]struct{ set, says string }{
		"rows":           {"row_count = row_count + 1", "number of rows"},
		"bytes":          {"bytes = bytes - 1", "bytes"},
		"checksum":       {"sha256 = repeat('0', 64)", "sha-256"},
		"chunk":          {"chunk = chunk + 1000", "chunk"},
		"leaf":           {"leaf = 'app.u'", "leaf"},
		"schema version": {"schema_version = 7", "schema version"},
	} {
		t.Run(name, func(t *testing.T) {
			r.db.Super(t, "CREATE TABLE public.kept AS SELECT * FROM spillway.segments WHERE segment_id = "+first,
				"UPDATE spillway.segments SET "+c.set+" WHERE segment_id = "+first)
			defer r.db.Super(t, `UPDATE spillway.segments AS s SET row_count = k.row_count, bytes = k.bytes, sha256 = k.sha256, chunk = k.chunk, leaf = k.leaf,
				schema_version = k.schema_version FROM public.kept AS k WHERE s.segment_id = k.segment_id`, "DROP TABLE public.kept")
			r.mustFind(t, paths[0], ledger.KindDamaged, c.says)
		})
	}
	t.Run("columns", func(t *testing.T) {
		set := "UPDATE spillway.schema_versions SET columns = jsonb_set(columns, '{1,declared}', '\"%s\"')"
		r.db.Super(t, fmt.Sprintf(set, "bigint"))
		defer r.db.Super(t, fmt.Sprintf(set, "integer"))
		found, err := r.verify()
		if jobstep.ClassOf(err).Name != jobstep.ClassDamaged || len(found) != len(paths) || !strings.Contains(found[paths[0]].Problem, "columns") {
			t.Errorf("%v, %+v", err, found)
		}
	})
	t.Run("swapped", func(t *testing.T) {
		a, b := paths[0], paths[1]
		dataA, err := os.ReadFile(a)
		if err != nil {
			t.Fatal(err)
		}
		// With sizes and checksums exchanged too, only the footers tell.
		swap := fmt.Sprintf(`UPDATE spillway.segments AS s SET sha256 = o.sha256, bytes = o.bytes FROM spillway.segments AS o
			WHERE (s.location LIKE '%%%[1]s' AND o.location LIKE '%%%[2]s') OR (s.location LIKE '%%%[2]s' AND o.location LIKE '%%%[1]s')`, filepath.Base(a), filepath.Base(b))
		spoil(t, a, func([]byte) []byte { data, _ := os.ReadFile(b); return data })
		spoil(t, b, func([]byte) []byte { return dataA })
		r.db.Super(t, swap)
		defer r.db.Super(t, swap)
		found, err := r.verify()
		if jobstep.ClassOf(err).Name != jobstep.ClassDamaged || len(found) != 2 {
			t.Errorf("%v, %+v", err, found)
		}
		for _, f := range found {
			if !strings.Contains(f.Problem, "its footer has the segment") {
				t.Errorf("%+v", f)
			}
		}
	})
}

func TestVerifyListsStrays(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	strays := []string{filepath.Join(r.dir, "app/t/copy.parquet"), filepath.Join(r.dir, "app/t/2026/odd %41 näme.parquet"), filepath.Join(r.dir, "app/t/sub/manifest.json")}
	for _, s := range strays {
		plant(t, s, data)
		t.Cleanup(func() { os.RemoveAll(s) })
	}
	elsewhere := filepath.Join(r.dir, "app/tt/copy.parquet") // another table's directory
	plant(t, elsewhere, data)
	t.Cleanup(func() { os.Remove(elsewhere) })
	found, err := r.verify()
	if err != nil || len(found) != len(strays) {
		t.Errorf("%v, %+v", err, found)
	}
	// A second try of the last step lists what is there then.
	c := r.newCheck(r.k)
	for i := range 2 {
		if res, err := c.k.FindStrays(t.Context(), c.id); err != nil || res.Strays != len(strays)-i || len(r.findings(c.id)) != len(strays)-i {
			t.Errorf("try %d: %+v, %v", i+1, res, err)
		}
		if err := os.Rename(strays[0], strays[0]+".away"); i == 0 && err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(strays[0]+".away", elsewhere); i == 0 && err != nil {
			t.Fatal(err)
		}
	}
	plant(t, strays[0], data)
	for _, s := range strays {
		if f := found[s]; f.Kind != ledger.KindStray || f.Bytes == nil || *f.Bytes != int64(len(data)) {
			t.Errorf("%s: %+v", s, f)
		}
	}
}

// A file system takes names that PostgreSQL's text does not.
func TestVerifyOfAnOddName(t *testing.T) {
	t.Parallel()
	r, _ := flushed(t)
	odd := filepath.Join(r.dir, "app/t/bad\xff\n.parquet")
	if err := os.WriteFile(odd, []byte("odd"), 0o640); err != nil {
		t.Skipf("this file system does not take it: %v", err)
	}
	t.Cleanup(func() { os.Remove(odd) })
	found, err := r.verify()
	if err != nil || len(found) != 1 || found[odd].Kind != ledger.KindStray || !strings.Contains(found[odd].Problem, "by hand") {
		t.Errorf("%v, %+v", err, found)
	}
}

// What an attempt writes or wrote is explained, condemned or not, and so is a segment that is history.
func TestVerifyKnowsAttemptsAndHistory(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	prefix := "app/t/2026-01-01T00-00-00.000Z-x"
	r.db.Super(t, `INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start, condemned_at)
		VALUES (gen_random_uuid(), 'flush:app.t:x', 0, 'default', '`+prefix+`-1', 1, now(), NULL), (gen_random_uuid(), 'flush:app.t:x', 0, 'default', '`+prefix+`-2', 1, now(), now())`)
	for _, n := range []string{"-1.parquet", "-2.parquet"} {
		file := filepath.Join(r.dir, prefix+n)
		plant(t, file, []byte("half"))
		t.Cleanup(func() { os.Remove(file) })
	}
	spoil(t, paths[0], func([]byte) []byte { return []byte("gone cold and hot again") })
	c := r.newCheck(r.k)
	c.chunks()
	if found := r.findings(c.id); len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	// It is restored before the job looks again.
	live := "UPDATE spillway.segments SET restored_at = %s WHERE location LIKE '%%" + filepath.Base(paths[0]) + "'"
	r.db.Super(t, fmt.Sprintf(live, "now()"))
	t.Cleanup(func() { r.db.Super(t, fmt.Sprintf(live, "NULL"), "DELETE FROM spillway.attempts") })
	res, err := c.k.FindStrays(t.Context(), c.id)
	if err != nil || res != (jobstep.VerifyResult{}) || len(r.findings(c.id)) != 0 {
		t.Errorf("%+v, %v, %+v", res, err, r.findings(c.id))
	}
}

// A storage that is away is no damage: the job waits for it.
func TestVerifyOfAStorageThatIsAway(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	c := r.newCheck(r.k)
	away := r.dir + ".away"
	if err := os.Rename(r.dir, away); err != nil {
		t.Fatal(err)
	}
	for _, make := range []bool{false, true} { // the mount point is gone, or empty
		if make {
			if err := os.Mkdir(r.dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}
		for try := 1; try < 5; try++ {
			if class := jobstep.ClassOf(c.chunk(0, try)); class.Name != jobstep.ClassStorage || !class.Retryable {
				t.Errorf("try %d: class %+v", try, class)
			}
		}
	}
	if err := errors.Join(os.Remove(r.dir), os.Rename(away, r.dir)); err != nil {
		t.Fatal(err)
	}
	c.chunks()
	if _, err := c.k.FindStrays(t.Context(), c.id); err != nil || len(r.findings(c.id)) != 0 || len(paths) == 0 {
		t.Errorf("%v, %+v", err, r.findings(c.id))
	}
}

// brokenStore cannot read one object.
type brokenStore struct {
	objstore.Store
	name string
}

func (s *brokenStore) Open(ctx context.Context, key string) (objstore.Object, error) {
	obj, err := s.Store.Open(ctx, key)
	if err != nil || !strings.HasSuffix(key, s.name) {
		return obj, err
	}
	return &brokenObject{obj}, nil
}

type brokenObject struct{ objstore.Object }

func (o *brokenObject) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > o.Size()/2 {
		return 0, &objstore.Error{Op: "read", URL: "x", Err: syscall.EIO}
	}
	return o.Object.ReadAt(b, at)
}

// A bad sector is damage, once trying again has not helped.
func TestVerifyOfABadSector(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	k := r.keeper(func(ctx context.Context, location string) (objstore.Store, error) {
		s, err := objstore.Open(ctx, location)
		return &brokenStore{s, filepath.Base(paths[1])}, err
	})
	c := r.newCheck(k)
	for n := range c.plan.Chunks {
		for try := 1; try < 3; try++ {
			if err := c.chunk(n, try); jobstep.ClassOf(err).Name != jobstep.ClassStorage || !errors.Is(err, syscall.EIO) {
				t.Errorf("try %d: %v", try, err)
			}
		}
		if err := c.chunk(n, 3); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.k.FindStrays(t.Context(), c.id)
	found := r.findings(c.id)
	if jobstep.ClassOf(err).Name != jobstep.ClassDamaged || len(found) != 1 || !strings.Contains(found[paths[1]].Problem, "input/output error") {
		t.Errorf("%v, %+v", err, found)
	}
}

// A table without cold rows, and a clean-up with nothing to do, are done at once, and can be summed up.
func TestVerifyOfNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1))
	c := r.newCheck(r.k)
	if _, err := c.k.FindStrays(t.Context(), c.id); err != nil || c.plan.Chunks != 0 {
		t.Errorf("%+v, %v", c.plan, err)
	}
	id := "cleanup::" + uuid.NewString()
	plan, err := r.k.PlanCleanup(t.Context(), jobstep.PlanInput{JobID: id, RequestID: r.ask(jobstep.CleanupType, "", "", nil)})
	if err != nil || plan.Chunks != 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	for _, job := range []string{c.id, id, "verify:app.t:" + uuid.NewString()} {
		if checked, err := r.ledger.Checked(t.Context(), job); err != nil || checked != (ledger.Checked{}) {
			t.Errorf("%s: %+v, %v", job, checked, err)
		}
	}
}

// A table that was dropped still has cold rows, and a segment that comes while a job runs is not its business.
func TestVerifyWhileRowsMove(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	c := r.newCheck(r.k)
	r.db.Exec(t, strings.Replace(fill(500), "generate_series(1, 500)", "generate_series(10001, 10500)", 1))
	r.want = r.want.Add(audit.Hot(t, r.db.SuperURL, "app", "t", ""))
	r.newJob().run()
	c.chunks()
	res, err := c.k.FindStrays(t.Context(), c.id)
	if err != nil || res != (jobstep.VerifyResult{}) {
		t.Errorf("%+v, %v", res, err)
	}
	r.want = nil
	r.db.Exec(t, "DROP TABLE app.t")
	if found, err := r.verify(); err != nil || len(found) != 0 || len(r.segmentFiles()) <= len(paths) {
		t.Errorf("%v, %v", found, err)
	}
}

// A31: the server restarts just when a chunk of a VERIFY reads its plan. That is a lost connection, which is tried again, and no fault
// of ours, which would fail the job at once.
func TestServerRestartsUnderVerify(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, map[string]string{"fsync": "off"})
	db := pgtest.DatabaseOn(t, srv)
	r := newRigOn(t, db, "", events, fill(50))
	flushTable(t, r, "t")
	c := r.newCheck(r.keeper(nil))
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	err := c.chunk(0, 1)
	if class := jobstep.ClassOf(err); err == nil || !class.Retryable {
		t.Errorf("class %s, to be tried again: %v (%v)", class.Name, class.Retryable, err)
	}
	if err := srv.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := c.chunk(0, 2); err != nil {
		t.Error(err)
	}
}
