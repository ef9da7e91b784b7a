package flush_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
	"github.com/spillwaydb/spillway/tests/audit"
)

// coldFile is a registered segment with what its file says.
type coldFile struct {
	ledger.Segment
	path   string // below the storage
	values map[string]*string
	footer segment.Footer
	rows   [][]string // NULL is "\x00"
}

// coldFiles reads every live segment of app.t.
func (r *rig) coldFiles() []coldFile {
	r.t.Helper()
	var out []coldFile
	for s, err := range r.ledger.LiveSegments(context.Background(), "app", "t") {
		if err != nil {
			r.t.Fatal(err)
		}
		f := coldFile{Segment: s}
		full, _ := objstore.Path(s.Location)
		f.path = strings.TrimPrefix(full, r.dir+"/")
		data, err := os.ReadFile(full)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := json.Unmarshal(s.PartitionValues, &f.values); err != nil {
			r.t.Fatal(err)
		}
		if f.footer, err = segment.Verify(bytes.NewReader(data), int64(len(data))); err != nil {
			r.t.Fatal(err)
		}
		rd, err := segment.OpenReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			r.t.Fatal(err)
		}
		for rd.Next() {
			var row []string
			for _, v := range rd.Row() {
				if v.Null {
					row = append(row, "\x00")
					continue
				}
				row = append(row, string(v.Text))
			}
			f.rows = append(f.rows, row)
		}
		if err := rd.Err(); err != nil {
			r.t.Fatal(err)
		}
		rd.Close()
		out = append(out, f)
	}
	return out
}

const whose = `CREATE TABLE app.t (id bigint PRIMARY KEY, who text, at timestamptz, d date, pad char(6), n numeric, j jsonb, arr int[])`

func fillWhose(rows int) string {
	return fmt.Sprintf(`INSERT INTO app.t SELECT i,
		(ARRAY['ann', '', '..', '../../etc/passwd', '{table}', 'a/b', '.hidden', '__HIVE_DEFAULT_PARTITION__', 'Zoë', 'manifest.json'])[1 + i %% 11],
		'2026-01-01 00:30+02'::timestamptz + i * interval '7 min', CASE WHEN i %% 5 > 0 THEN '2024-02-28'::date + i %% 3 END, 'p' || i %% 3, i / 3.0, jsonb_build_object('i', i), ARRAY[i, NULL] FROM generate_series(1, %d) i`, rows)
}

// A20 A21: one file per value and chunk, never mixed, where the substituted template says.
func TestPartitionedFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, whose, fillWhose(3000))
	r.params = map[string]string{"partition_by": "who, month(at), d", "chunk_bytes": "131072", "order_by": "n DESC"}
	j := r.newJob()
	if j.plan.Chunks < 2 {
		t.Fatalf("%d chunks", j.plan.Chunks)
	}
	res, _ := j.run()
	files := r.coldFiles()
	if r.hotCount() != 0 || res.Segments != int64(len(files)) || res.Rows != 3000 {
		t.Errorf("finished as %+v with %d files, %d rows hot", res, len(files), r.hotCount())
	}
	perChunk := map[string]bool{}
	names := map[string]bool{}
	for _, f := range files {
		dir := filepath.Dir(f.path)
		part := func(name string) string {
			v := f.values[name]
			if v == nil {
				return name + "=__HIVE_DEFAULT_PARTITION__"
			}
			return name + "=" + hive(*v)
		}
		if want := "app/t/" + part("who") + "/" + part("at_month") + "/" + part("d"); dir != want {
			t.Errorf("%s lies in %s, want %s", f.PartitionValues, dir, want)
		}
		if !strings.Contains(filepath.Base(f.path), f.AttemptID.String()+"-") || f.footer.SegmentID != f.ID.String() || f.footer.Rows != f.Rows {
			t.Errorf("%s: footer %+v, ledger %+v", f.path, f.footer.Meta, f.ID)
		}
		key := fmt.Sprintf("%d %s", f.Chunk, dir)
		if perChunk[key] {
			t.Errorf("two files of one value in chunk %s", key)
		}
		perChunk[key] = true
		names[dir] = true
		last := ""
		for i, row := range f.rows {
			if !same(f.values["who"], row[1]) || !same(f.values["d"], row[3]) || *f.values["at_month"] != row[2][:7] {
				t.Fatalf("%s holds row %q", f.path, row)
			}
			if n := pad(row[5]); i > 0 && n > last {
				t.Fatalf("%s is not sorted: %s after %s", f.path, n, last)
			} else {
				last = n
			}
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d directories", len(names))
	}
	row, found, err := r.ledger.ChunkRow(context.Background(), j.id, 0)
	if err != nil || !found || row.Segments < 10 {
		t.Errorf("chunk %+v, %v", row, err)
	}
	again, err := j.chunk(0)
	if err != nil || !again.Earlier || again.Segments != row.Segments || again.Bytes != row.Bytes {
		t.Errorf("the chunk again: %+v, %v", again, err)
	}
	if n := pgtest.Value[int](t, r.db, "SELECT (SELECT count(*) FROM spillway.attempts) + (SELECT count(*) FROM spillway.attempt_objects)"); n != 0 {
		t.Errorf("%d attempts or records are left", n)
	}
}

// hive is a value of the test behind name=, written down a second time.
func hive(v string) string {
	return map[string]string{"": "", "..": "%2E%2E", "../../etc/passwd": "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd", "{table}": "%7Btable%7D", "a/b": "a%2Fb", ".hidden": "%2Ehidden",
		"__HIVE_DEFAULT_PARTITION__": "%5F_HIVE_DEFAULT_PARTITION__", "Zoë": "Zo%C3%AB", "manifest.json": "manifest%2Ejson"}[v] + map[bool]string{true: v}[!strings.ContainsAny(v, "./{_ë") && v != ""]
}

func same(v *string, cell string) bool { return v == nil && cell == "\x00" || v != nil && *v == cell }

// pad makes positive numbers compare as text.
func pad(n string) string {
	whole, _, _ := strings.Cut(n, ".")
	return strings.Repeat("0", 12-len(whole)) + n
}

// A21: without a variable for them, the files of all values share one directory and stay apart.
func TestPartitionedFilesInOneDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(2000))
	r.params = map[string]string{"partition_by": "tenant", "path": "flat/{job}", "file_bytes": "65536", "codec": "none", "row_group_rows": "256"}
	j := r.newJob()
	j.run()
	files := r.coldFiles()
	byTenant := map[string]int{}
	for _, f := range files {
		byTenant[*f.values["tenant"]]++
		if filepath.Dir(f.path) != "flat/"+j.id[len(j.id)-36:] || f.Codec != "none" {
			t.Errorf("%s, codec %s", f.path, f.Codec)
		}
		for _, row := range f.rows {
			if row[1] != *f.values["tenant"] {
				t.Fatalf("%s holds %q", f.path, row)
			}
		}
	}
	if len(byTenant) != 7 {
		t.Errorf("files of %v", byTenant)
	}
}

// TestLargeChunkIsCutByFileBytes: without an order PostgreSQL streams, and a file ends when it is large enough.
func TestLargeChunkIsCutByFileBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, `INSERT INTO app.t SELECT i, i % 7, encode(sha256(i::text::bytea), 'hex') || encode(sha256((i+1)::text::bytea), 'hex'), 1, now() FROM generate_series(1, 60000) i`)
	r.params = map[string]string{"file_bytes": "1MB", "row_group_bytes": "262144", "bloom": "id, note", "codec": "snappy"}
	res, err := r.newJob().chunk(0)
	files := r.coldFiles()
	if err != nil || res.Rows != 60000 || res.Segments != len(files) || len(files) < 4 {
		t.Fatalf("%+v in %d files, %v", res, len(files), err)
	}
	bytesOf := int64(0)
	for _, f := range files {
		bytesOf += f.Bytes
		if f.Bytes > 3<<20/2 || f.Codec != "snappy" || len(f.values) != 0 {
			t.Errorf("%s has %d bytes, codec %s, values %v", f.path, f.Bytes, f.Codec, f.values)
		}
	}
	if bytesOf != res.Bytes {
		t.Errorf("%d bytes in files, %d told", bytesOf, res.Bytes)
	}
}

// TestOrderInsideFiles: types, text forms and the ctid of a table without a key come through a sort unchanged; the audit
// compares every value.
func TestOrderInsideFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, `CREATE TABLE app.t (k1 int, c1 inet, "spillway_moved" text COLLATE "C", s1 interval, ch char(5), b bytea, "k2" uuid, ctid_ tid)`,
		`INSERT INTO app.t SELECT (i * 7919) % 1000, ('10.0.0.' || i % 256)::inet, CASE WHEN i % 9 > 0 THEN 'x' || i % 50 END, i * interval '1 min', 'a', sha256(i::text::bytea), gen_random_uuid(), ('(' || i || ',1)')::tid FROM generate_series(1, 3000) i`)
	r.params = map[string]string{"order_by": `"spillway_moved" DESC, k1, s1 NULLS FIRST`}
	j := r.newJob()
	if _, err := j.chunk(0); err != nil {
		t.Fatal(err)
	}
	files := r.coldFiles()
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	ok := slices.IsSortedFunc(files[0].rows, func(a, b []string) int {
		if a[2] != b[2] { // NULL first, for it is the greatest
			if a[2] == "\x00" || b[2] == "\x00" {
				return strings.Compare(a[2], b[2])
			}
			return strings.Compare(b[2], a[2])
		}
		return strings.Compare(pad(a[0]), pad(b[0]))
	})
	if !ok {
		t.Error("the file is not sorted")
	}
	path, _ := objstore.Path(files[0].Location)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pf, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	sorting := pf.Metadata().RowGroups[0].SortingColumns
	if len(sorting) != 2 || sorting[0].ColumnIdx != 2 || !sorting[0].Descending || !sorting[0].NullsFirst || sorting[1].ColumnIdx != 0 || sorting[1].NullsFirst {
		t.Errorf("recorded order %+v", sorting)
	}
}

// A59: rows that others hold are passed over in a sorted flush too.
func TestSortedFlushLeavesLockedRows(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	r.params = map[string]string{"partition_by": "tenant", "order_by": "at"}
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
	if err != nil || res.Rows != 999 || res.Skipped != 1 || res.Segments != 7 {
		t.Fatalf("moved %+v, %v; want 999 rows and one skipped", res, err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	j.run()
	if r.hotCount() != 0 {
		t.Errorf("%d rows are hot after the residue", r.hotCount())
	}
}

// TestPartitionValueTooLong: it is told which one, and its rows stay.
func TestPartitionValueTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(10), "UPDATE app.t SET note = repeat('x', 9000) WHERE id = 3")
	r.params = map[string]string{"partition_by": "note"}
	_, err := r.newJob().chunk(0)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassData || class.Retryable || !strings.Contains(err.Error(), "note") {
		t.Errorf("error %v of class %+v", err, class)
	}
	if r.hotCount() != 10 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
}

// holdingStore lets a test stop a process in the middle of its puts.
type holdingStore struct {
	objstore.Store
	left    *atomic.Int32 // puts until the stop
	stopped chan struct{}
	goOn    chan struct{}
	fail    error
}

func (s *holdingStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if strings.HasSuffix(key, ".parquet") {
		if n := s.left.Add(-1); n == 0 {
			close(s.stopped)
		}
		if s.left.Load() <= 0 {
			<-s.goOn
			if s.fail != nil {
				return s.fail
			}
		}
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

func holding(after int32) (*holdingStore, func(context.Context, string) (objstore.Store, error)) {
	h := &holdingStore{left: &atomic.Int32{}, stopped: make(chan struct{}), goOn: make(chan struct{})}
	h.left.Store(after)
	return h, func(ctx context.Context, location string) (objstore.Store, error) {
		s, err := objstore.Open(ctx, location)
		h.Store = s
		return h, err
	}
}

// many is a table of more values than one batch of files holds.
const many = `INSERT INTO app.t SELECT i, i % 700, 'note', 1, now() FROM generate_series(1, 2100) i`

// A36: a process that stops between the files of an attempt, whose directories only their rows' values tell, leaves none of
// them behind, whether it wakes up again or not.
func TestFilesInManyDirectoriesAreFoundAgain(t *testing.T) {
	t.Parallel()
	for _, after := range []int32{1, 100, 300, 699} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, events, many)
			r.params = map[string]string{"partition_by": "tenant"}
			j := r.newJob()
			h, open := holding(after)
			zombie := r.flusher(open)
			done := make(chan error, 1)
			go func() {
				_, err := zombie.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, nil)
				done <- err
			}()
			<-h.stopped
			if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempt_objects"); n < 1 {
				t.Errorf("files are written, but none is recorded")
			}
			res, err := j.f.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 2}, nil)
			if err != nil || res.Rows != 2100 || res.Segments != 700 {
				t.Fatalf("the next attempt: %+v, %v", res, err)
			}
			if left := r.strays(); left != 0 {
				t.Errorf("%d objects of the stopped attempt are left", left)
			}
			close(h.goOn)
			if err := <-done; err != nil && !jobstep.ClassOf(err).Retryable {
				t.Errorf("the stopped attempt ends with %v", err)
			}
			if _, err := r.f.Sweep(context.Background(), j.id); err != nil {
				t.Fatal(err)
			}
			if left := r.strays(); left != 0 {
				t.Errorf("%d objects are left after the sweep", left)
			}
			j.run()
			if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempt_objects WHERE attempt_id NOT IN (SELECT attempt_id FROM spillway.attempts)"); n != 0 {
				t.Errorf("%d records without an attempt", n)
			}
		})
	}
}

// strays counts Parquet files that the ledger does not list.
func (r *rig) strays() (n int) {
	known := map[string]bool{}
	for s, err := range r.ledger.LiveSegments(context.Background(), "app", "t") {
		if err != nil {
			r.t.Fatal(err)
		}
		p, _ := objstore.Path(s.Location)
		known[p] = true
	}
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, ".parquet") && !known[path] {
			n++
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// A36: a store that fails at one of many files fails the attempt, and nothing of it is left.
func TestFailedPutLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, many)
	r.params = map[string]string{"partition_by": "tenant"}
	j := r.newJob()
	h, open := holding(400)
	h.fail = fmt.Errorf("put: %w", objstore.ErrFull)
	close(h.goOn)
	_, err := r.flusher(open).RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, nil)
	if jobstep.ClassOf(err).Name != jobstep.ClassStorageFull || r.hotCount() != 2100 || r.strays() != 0 {
		t.Errorf("%v, %d rows hot, %d objects left", err, r.hotCount(), r.strays())
	}
	if n := pgtest.Value[int](t, r.db, "SELECT (SELECT count(*) FROM spillway.attempts) + (SELECT count(*) FROM spillway.attempt_objects)"); n != 0 {
		t.Errorf("%d attempts or records are left", n)
	}
	j.run()
}

// A29: a kill in the middle of a sorted COPY of many files gives the rows back and leaves no file.
func TestKilledAmongManyFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, many)
	r.params = map[string]string{"partition_by": "tenant"}
	j := r.newJob()
	h, open := holding(300)
	ctx, kill := context.WithCancel(context.Background())
	go func() {
		<-h.stopped
		kill()
		close(h.goOn)
	}()
	_, err := r.flusher(open).RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, nil)
	if jobstep.ClassOf(err).Name != jobstep.ClassCancelled || r.hotCount() != 2100 || r.strays() != 0 {
		t.Errorf("%v, %d rows hot, %d objects left", err, r.hotCount(), r.strays())
	}
	j.run()
}

// A36: the answer to the COMMIT of many files is lost.
func TestLostAnswerToCommitOfManyFiles(t *testing.T) {
	t.Parallel()
	for _, how := range []int32{cutBefore, cutAfter} {
		db := pgtest.Database(t)
		cut, url := newCutter(t, db.WorkerURL)
		r := newRigOn(t, db, url, events, many)
		r.params = map[string]string{"partition_by": "tenant"}
		j := r.newJob()
		cut.armed.Store(how)
		_, err := j.chunk(0)
		if cut.cuts.Load() != 1 || (how == cutAfter) != (err == nil) {
			t.Errorf("how %d: %d cuts, %v", how, cut.cuts.Load(), err)
		}
		if r.strays() != 0 {
			t.Errorf("how %d: %d objects left", how, r.strays())
		}
		j.run()
	}
}

// A22: each table's files land where its storage says, by the storage's own template.
func TestStoragesHaveTheirOwnLayout(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(500), "CREATE TABLE app.u (LIKE app.t INCLUDING ALL)", "INSERT INTO app.u SELECT * FROM app.t")
	other := t.TempDir()
	r.db.Super(t, `INSERT INTO spillway.storages (name, location, options) VALUES ('users', 'file://`+other+`', '{"path": "per-user/{shard}/{column:tenant}"}')`)
	r.params = map[string]string{"order_by": "id"}
	flushTable(t, r, "t")
	r.params = map[string]string{"partition_by": "tenant", "storage": "users"}
	flushTable(t, r, "u")
	r.params = map[string]string{"storage": "users", "path": "shared/{table}"}
	if _, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", RequestID: r.request(), Generation: 1}); err != nil {
		t.Errorf("a template of the statement does not go before the storage's: %v", err)
	}
	for s, err := range r.ledger.LiveSegments(context.Background(), "app", "t") {
		if p, _ := objstore.Path(s.Location); err != nil || filepath.Dir(p) != r.dir+"/app/t" || s.Storage != "default" {
			t.Errorf("%s in %s, %v", p, s.Storage, err)
		}
	}
	n := 0
	for s, err := range r.ledger.LiveSegments(context.Background(), "app", "u") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		p, _ := objstore.Path(s.Location)
		parts := strings.Split(strings.TrimPrefix(filepath.Dir(p), other+"/"), "/")
		if len(parts) != 3 || parts[0] != "per-user" || len(parts[1]) != 2 || !strings.Contains(string(s.PartitionValues), `"`+parts[2]+`"`) || s.Storage != "users" {
			t.Errorf("%s in %s", p, s.Storage)
		}
	}
	if n != 7 {
		t.Errorf("%d files of users", n)
	}
	audit.Storage(t, r.db.SuperURL, other)
	want := audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
	audit.Check(t, r.db.SuperURL, "app", "u", want)
}

// A20: partitions of a partitioned table have their own directories, also below values.
func TestLeavesAndValues(t *testing.T) {
	t.Parallel()
	r := newRig(t, `CREATE TABLE app.t (id bigint, tenant int, at timestamptz) PARTITION BY RANGE (id)`,
		`CREATE TABLE app."t/1" (tenant int, at timestamptz, id bigint)`, `ALTER TABLE app.t ATTACH PARTITION app."t/1" FOR VALUES FROM (0) TO (500)`,
		`CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM (500) TO (9999)`, `INSERT INTO app.t SELECT i, i % 3, now() FROM generate_series(1, 900) i`)
	r.want = nil // columns of the leaves differ in order
	r.params = map[string]string{"partition_by": "tenant", "order_by": "at DESC, id"}
	j := r.newJob()
	j.run()
	dirs := map[string]int64{}
	for _, f := range r.coldFiles() {
		dirs[filepath.Dir(f.path)] += f.Rows
	}
	if len(dirs) != 6 || dirs["app/t/t%2F1/tenant=2"] != 166 || dirs["app/t/t2/tenant=0"] != 134 || r.hotCount() != 0 {
		t.Errorf("directories %v, %d rows hot", dirs, r.hotCount())
	}
}
