package flush_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
)

// manyFiles makes many files of a partition, in directories that its rows' values tell.
var manyFiles = map[string]string{"partition_by": "who", "order_by": "id DESC", "path": "{namespace}/{table}/{column:who}", "vacuum": "true"}

// manyRig is two days of rows of 40 people, to be taken whole, and a default partition.
func manyRig(t *testing.T, url func(*pgtest.DB) string, way string) *rig {
	t.Helper()
	db := pgtest.Database(t)
	db.Super(t, "GRANT "+db.Owner+" TO "+db.Worker)
	setup := append(partitions(2), "CREATE TABLE app.other PARTITION OF app.t DEFAULT", "ALTER TABLE app.t ADD COLUMN who text",
		`INSERT INTO app.t SELECT i, '2020-01-02'::timestamptz + i * interval '1 minute', repeat('n', 20), 'w' || i % 40 FROM generate_series(0, 2879) i`, "ANALYZE app.t")
	r := newRigOn(t, db, url(db), setup...)
	r.mayRestore()
	r.params = maps.Clone(manyFiles)
	r.params["whole_partition"], r.params["where"] = way, "at < '2020-01-04 00:00:00+00'::timestamp with time zone"
	return r
}

func direct(*pgtest.DB) string { return "" }

// sortedApart looks whether each file has one person's rows, in order.
func (r *rig) sortedApart() {
	r.t.Helper()
	for _, f := range r.coldFiles() {
		for i, row := range f.rows {
			if !same(f.values["who"], row[3]) || i > 0 && pad(row[0]) > pad(f.rows[i-1][0]) {
				r.t.Fatalf("%s: row %d is %q after %q", f.path, i, row, f.rows[max(i-1, 0)])
			}
		}
	}
}

// A16 A21 A29: a partition that is taken whole into many sorted files: killed between the uploads and TRUNCATE every row is hot, and
// nothing lies about; then it moves.
func TestWholePartitionInManyFilesIsKilled(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"truncate", "detach"} {
		for _, step := range []jobstep.Step{jobstep.StepCopying, jobstep.StepUploading, jobstep.StepRegistering, jobstep.StepCommitting} {
			t.Run(way+" "+string(step), func(t *testing.T) {
				t.Parallel()
				r := manyRig(t, direct, way)
				j := r.newJob()
				ctx, kill := context.WithCancel(t.Context())
				defer kill()
				_, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Attempt: 1}, func(c jobstep.Checkpoint) {
					if c.Step == step {
						kill()
					}
				})
				if err == nil && step != jobstep.StepCommitting || err != nil && jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
					t.Fatalf("killed: %v", err)
				}
				if hot := r.hotCount(); err != nil && (hot != 2880 || r.strays() != 0) {
					t.Errorf("%d rows are hot, %d objects lie about", hot, r.strays())
				}
				res, left := j.run()
				if res.Rows != 2880 || res.Segments != 80 || left.RowsLeft != 0 || r.hotCount() != 0 {
					t.Errorf("%+v, %+v", res, left)
				}
				r.sortedApart()
			})
		}
	}
}

// A29 A36: the answer to its COMMIT is lost.
func TestWholePartitionInManyFilesWithLostCommit(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"truncate", "detach"} {
		for name, how := range map[string]int32{"before": cutBefore, "after": cutAfter} {
			t.Run(way+" "+name, func(t *testing.T) {
				t.Parallel()
				var cut *cutter
				r := manyRig(t, func(db *pgtest.DB) (url string) { cut, url = newCutter(t, db.WorkerURL); return url }, way)
				j := r.newJob()
				cut.armed.Store(how)
				_, err := j.chunk(0)
				if (err == nil) != (how == cutAfter) || cut.cuts.Load() != 1 {
					t.Errorf("%v, %d cuts", err, cut.cuts.Load())
				}
				if res, left := j.run(); res.Rows != 2880 || res.Segments != 80 || left.RowsLeft != 0 {
					t.Errorf("%+v, %+v", res, left)
				}
				if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempt_objects"); n != 0 {
					t.Errorf("%d records are left", n)
				}
			})
		}
	}
}

// A16 A18: what was truncated comes back into its partition, what was detached into the default one, and goes cold again.
func TestWholePartitionComesBack(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"truncate", "detach"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := manyRig(t, direct, way)
			r.newJob().run()
			r.restore(map[string]string{"where": "((id % 3) = 0)"})
			audit.Check(t, r.db.SuperURL, "app", "t", r.want)
			r.sortedPeople()
			into := map[string]string{"truncate": "app.t1", "detach": "app.other"}[way]
			if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM "+into+" WHERE at < '2020-01-03 00:00+00'"); n != 480 {
				t.Errorf("%d rows are back in %s", n, into)
			}
			r.newJob().run()
			if r.hotCount() != 0 {
				t.Errorf("%d rows are hot", r.hotCount())
			}
			r.restore(nil)
			if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
				t.Error("the table differs")
			}
		})
	}
}

// sortedPeople looks whether what stayed cold lies where its segment lay, under the values and the codec of that.
func (r *rig) sortedPeople() {
	r.t.Helper()
	for _, f := range r.coldFiles() {
		if f.values["who"] == nil || filepath.Dir(f.path) != "app/t/"+*f.values["who"] || !strings.HasPrefix(f.JobID, "restore:") {
			r.t.Errorf("%s of %s, by %s", f.path, f.PartitionValues, f.JobID)
		}
		for _, row := range f.rows {
			if row[3] != *f.values["who"] {
				r.t.Fatalf("%s holds %q", f.path, row)
			}
		}
	}
	if n := pgtest.Value[int](r.t, r.db, `SELECT count(*) FROM spillway.segments old JOIN spillway.segments new ON new.segment_id = old.replaced_by
		WHERE (old.partition_values, old.codec, old.storage, old.leaf, old.schema_version) IS DISTINCT FROM (new.partition_values, new.codec, new.storage, new.leaf, new.schema_version)`); n != 0 {
		r.t.Errorf("%d remainders differ from their segments", n)
	}
}

// A16 A18: without a default partition, rows of one that was detached have no place: the error says so, and nothing changes.
func TestDetachedRowsHaveNoPlace(t *testing.T) {
	t.Parallel()
	r := manyRig(t, direct, "detach")
	r.newJob().run()
	r.db.Exec(t, "DROP TABLE app.other")
	_, err := r.newRestore(nil).segment(0)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassData || class.Retryable || !strings.Contains(err.Error(), "no partition") || !strings.Contains(err.Error(), "segment") {
		t.Errorf("%v of class %+v", err, class)
	}
	r.db.Exec(t, "ALTER TABLE app.t ATTACH PARTITION app.t1 FOR VALUES FROM ('2020-01-02 00:00+00') TO ('2020-01-03 00:00+00')", "ALTER TABLE app.t ATTACH PARTITION app.t2 FOR VALUES FROM ('2020-01-03 00:00+00') TO ('2020-01-04 00:00+00')")
	if res := r.restore(nil); res.Rows != 2880 {
		t.Errorf("%+v", res)
	}
}

// A29 A34: kill -9 between the record of an attempt's scattered files and their writing, and between two of them: VERIFY takes
// none of them for stray while the attempt may commit, CLEANUP removes what is there, and again what a zombie writes later.
func TestCleanupOfScatteredFiles(t *testing.T) {
	t.Parallel()
	for _, after := range []int32{1, 20} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			r := manyRig(t, direct, "truncate")
			j := r.newJob()
			h, open := holding(after)
			zombie := r.flusher(open)
			done := make(chan error, 1)
			go func() {
				_, err := zombie.RunChunk(context.Background(), jobstep.ChunkInput{JobID: j.id, Attempt: 1}, nil)
				done <- err
			}()
			<-h.stopped
			if found, err := r.verify(); err != nil || len(found) != 0 {
				t.Errorf("VERIFY beside it: %v, %v", err, found)
			}
			if _, err := r.f.Sweep(t.Context(), j.id); err != nil { // ends its backend
				t.Fatal(err)
			}
			j.finish("failed", nil)
			if _, err := r.cleanup(false); err != nil {
				t.Error(err)
			}
			if n := r.strays(); n != 0 {
				t.Errorf("%d objects are left", n)
			}
			close(h.goOn) // it goes on to write what it has recorded
			if err := <-done; err == nil {
				t.Error("a condemned attempt has committed")
			}
			if _, err := r.cleanup(false); err != nil {
				t.Error(err)
			}
			if n := r.strays(); n != 0 || r.hotCount() != 2880 {
				t.Errorf("%d objects are left, %d rows are hot", n, r.hotCount())
			}
			if found, err := r.verify(); err != nil || len(found) != 0 {
				t.Errorf("VERIFY after it: %v, %v", err, found)
			}
		})
	}
}

// A60: ranges of an index and whole partitions in one plan, cut anew in the middle, with rows that others hold: what is done is not done
// again, what has come back into a truncated partition is, and rows_left is true.
func TestIndexAndWholeCutAnew(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, "ALTER ROLE "+db.Worker+" SET random_page_cost = 0.02", "ALTER ROLE "+db.Worker+" SET cpu_index_tuple_cost = 0.0001", "ALTER ROLE "+db.Worker+" SET cpu_operator_cost = 0.0001")
	setup := append(partitions(2), "CREATE TABLE app.other PARTITION OF app.t DEFAULT", "ALTER TABLE app.t ADD COLUMN who text",
		`INSERT INTO app.t SELECT i, '2020-01-02'::timestamptz + i * interval '1 minute', repeat('n', 100), 'w' || i % 7 FROM generate_series(0, 2879) i`,
		`INSERT INTO app.t SELECT i, CASE WHEN i % 10 = 0 THEN '2019-01-01'::timestamptz ELSE '2030-01-01'::timestamptz END + i * interval '1 second', repeat('n', 100), 'w' || i % 7 FROM generate_series(10000, 49999) i`,
		"CREATE INDEX ON app.other (at)", "ANALYZE app.t")
	r := newRigOn(t, db, "", setup...)
	db.Exec(t, "GRANT TRUNCATE ON app.t1, app.t2, app.other TO "+db.Worker, "VACUUM app.t")
	r.params = map[string]string{"whole_partition": "truncate", "where": twoDays, "partition_by": "who", "order_by": "id", "chunk_bytes": "64kB", "max_rows_per_second": "1000000", "lock_timeout": "20ms"}
	j := r.newJob()
	ways := pgtest.Value[string](t, db, "SELECT string_agg(p ->> 'Way', ',' ORDER BY p #>> '{Table,Name}') FROM spillway.plans, jsonb_array_elements(plan::jsonb -> 'Parts') p")
	if ways != "index,truncate,truncate" || j.plan.Chunks < 5 {
		t.Fatalf("ways %s in %d chunks", ways, j.plan.Chunks)
	}
	app := db.Connect(t, db.OwnerURL)
	_, err := app.Exec(t.Context(), "BEGIN; SELECT FROM app.other WHERE id % 1000 = 0 FOR UPDATE")
	must(t, err)
	next := j.plan.Chunks / 2
	for n := range next {
		_, err := j.chunk(n)
		must(t, err)
	}
	gone := r.hotCount()
	db.Exec(t, "INSERT INTO app.t SELECT i, '2020-01-02', 'late', 'late' FROM generate_series(60000, 60009) i")
	r.want = audit.Hot(t, db.SuperURL, "app", "t", "").Add(audit.Cold(t, db.SuperURL, "app", "t"))
	if j.plan, err = r.f.Plan(t.Context(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2, Next: next, ChunkBytes: 128 << 10}); err != nil {
		t.Fatal(err)
	}
	_, left := j.run()
	if want := pgtest.Value[int64](t, db, "SELECT count(*) FROM app.t WHERE "+twoDays); left.RowsLeft != want || want == 0 || want > 40 {
		t.Errorf("%d rows are left by its own word, and %d are; %d were hot when it was cut anew", left.RowsLeft, want, gone)
	}
	_, err = app.Exec(t.Context(), "ROLLBACK")
	must(t, err)
	r.newJob().run()
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM app.t WHERE "+twoDays); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// A11 A19: what went cold as NULL comes back as NULL; where the column takes none the error names it, and nothing changes.
func TestNullForUnrepresentableComesBack(t *testing.T) {
	t.Parallel()
	for name, null := range map[string]string{"nullable": "", "not null": "NOT NULL"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, "CREATE TABLE app.t (id int PRIMARY KEY, n numeric(7,2) "+null+", d date)", `INSERT INTO app.t VALUES (1, 'NaN', 'infinity'), (2, 2, '2026-01-01')`)
			r.params["on_unrepresentable"] = "null"
			r.newJob().run()
			r.want = audit.Cold(t, r.db.SuperURL, "app", "t") // the values differ, by request
			if null != "" {
				for _, params := range []map[string]string{nil, {"where": "(id = 1)"}, {"on_conflict": "skip"}} {
					if _, err := r.newRestore(params).segment(0); jobstep.ClassOf(err).Name != jobstep.ClassData || !strings.Contains(err.Error(), `"n"`) {
						t.Errorf("%v: %v", params, err)
					}
				}
				r.restore(map[string]string{"where": "(id = 2)"}) // the NULL stays cold
				audit.Check(t, r.db.SuperURL, "app", "t", r.want)
				r.db.Exec(t, "ALTER TABLE app.t ALTER n DROP NOT NULL")
			}
			r.restore(nil)
			if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
				t.Errorf("the table has %v", got)
			}
		})
	}
}

// One job at a time moves rows of a table, whichever way they go and whoever manages it.
func TestOneJobOfAnyKindPerTable(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(500))
	r.newJob().run()
	back := r.newRestore(map[string]string{"where": "(id <= 100)"})
	_, _, err := r.take(false)
	wantHeldBy(t, err, back.id)
	// By force a local flush takes it from the restore, which then moves nothing more.
	local, hold, err := r.take(true)
	must(t, err)
	if _, err := back.segment(0); jobstep.ClassOf(err).Name != jobstep.ClassInterrupted {
		t.Errorf("the restore that lost the table: %v", err)
	}
	back.finish("failed", nil) // which does not give the table free that is another's
	if _, err := r.restoreJob(nil); err == nil {
		t.Error("a restore has the table of a local flush")
	} else {
		wantHeldBy(t, err, local.id)
	}
	local.run()
	hold.Release()
	r.restore(nil)
}

// A storage that holds segments of a table, or has them in history, is not dropped, and its rows come back from where they are.
func TestTableInTwoStorages(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(1000))
	ctx, other := t.Context(), t.TempDir()
	t.Cleanup(func() { audit.Storage(t, r.db.SuperURL, other) })
	must(t, r.ledger.CreateStorage(ctx, ledger.StorageRow{Name: "other", Location: "file://" + other}, func(a, b string) bool { return a == b }))
	must(t, r.ledger.SetStorageChecked(ctx, "other", "file://"+other, "", ""))
	r.params = map[string]string{"where": "(id <= 500)", "partition_by": "tenant", "storage": "other"}
	r.newJob().run()
	r.params = map[string]string{}
	r.newJob().run()
	look := func() {
		t.Helper()
		if found, err := r.verify(); err != nil || len(found) != 0 {
			t.Errorf("VERIFY: %v, %v", err, found)
		}
		audit.Check(t, r.db.SuperURL, "app", "t", r.want)
		audit.Storage(t, r.db.SuperURL, other)
		var use *ledger.StorageInUseError
		if err := r.ledger.DropStorage(ctx, "other"); !errors.As(err, &use) || use.Segments == 0 {
			t.Errorf("DROP STORAGE: %v", err)
		}
	}
	look()
	r.restore(map[string]string{"where": "((id % 3) = 0)"})
	look()
	r.restore(nil)
	if r.hotCount() != 1000 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
	look() // all of it is history
}
