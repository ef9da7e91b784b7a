package flush_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/tests/audit"
)

// wholeRig is app.t in three partitions of a day with 1440 rows each, and a default one. owner makes the worker's role a member of
// the owner's; otherwise it has the right TRUNCATE, which is all that truncate takes.
func wholeRig(t *testing.T, owner bool, more ...string) *rig {
	t.Helper()
	db := pgtest.Database(t)
	if owner {
		db.Super(t, "GRANT "+db.Owner+" TO "+db.Worker)
	}
	setup := append(partitions(3), "CREATE TABLE app.other PARTITION OF app.t DEFAULT",
		`INSERT INTO app.t SELECT i, '2020-01-02'::timestamptz + i * interval '1 minute', repeat('n', 100) FROM generate_series(0, 4319) i`, "ANALYZE app.t",
		"ALTER TABLE app.t1 SET (autovacuum_enabled = off)", "ALTER TABLE app.t2 SET (autovacuum_enabled = off)", "ALTER TABLE app.t3 SET (autovacuum_enabled = off)")
	r := newRigOn(t, db, "", append(setup, more...)...)
	if !owner {
		db.Exec(t, "GRANT TRUNCATE ON app.t1, app.t2, app.t3 TO "+db.Worker)
	}
	return r
}

const twoDays = "at < '2020-01-04 00:00:00+00'::timestamp with time zone"

// Partitions of which no row is to stay are read and emptied, others move by DELETE; each row once. DETACH leaves empty tables.
func TestWholePartitions(t *testing.T) { // A16
	t.Parallel()
	for name, c := range map[string]struct {
		params   map[string]string
		owner    bool
		ways     string // of the leaves, in the order of their names: the default one, then those of the days
		rows     int64
		attached int
	}{
		"truncate all":         {map[string]string{"whole_partition": "truncate"}, false, "blocks,truncate,truncate,truncate", 4320, 4},
		"truncate by bounds":   {map[string]string{"whole_partition": "truncate", "where": twoDays}, false, "blocks,truncate,truncate,none", 2880, 4},
		"truncate old":         {map[string]string{"whole_partition": "truncate", "older_than": "1 day", "age_column": "at"}, false, "blocks,truncate,truncate,truncate", 4320, 4},
		"not proved by bounds": {map[string]string{"whole_partition": "truncate", "where": "id >= 0"}, false, "blocks,blocks,blocks,blocks", 4320, 4},
		"detach by bounds":     {map[string]string{"whole_partition": "detach", "where": twoDays}, true, "blocks,detach,detach,none", 2880, 2},
		"delete":               {map[string]string{"whole_partition": "delete", "where": twoDays}, false, "blocks,blocks,blocks,none", 2880, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := wholeRig(t, c.owner)
			r.params = c.params
			if c.params["where"] == "" || strings.HasPrefix(name, "not") { // the default partition has no row and no chunk
				r.db.Exec(t, "INSERT INTO app.t VALUES (9999, '2030-01-01', 'default')")
				r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "")
				c.rows++
				if strings.Contains(name, "old") {
					c.rows--
				}
			}
			if name == "truncate all" {
				c.ways = "truncate,truncate,truncate,truncate"
				r.db.Exec(t, "GRANT TRUNCATE ON app.other TO "+r.db.Worker)
			}
			j := r.newJob()
			ways := pgtest.Value[string](t, r.db, "SELECT string_agg(p ->> 'Way', ',' ORDER BY p #>> '{Table,Name}') FROM spillway.plans, jsonb_array_elements(plan::jsonb -> 'Parts') p")
			if ways != c.ways {
				t.Errorf("ways %s, want %s", ways, c.ways)
			}
			if wholes := strings.Count(ways, "detach"); wholes > 0 && j.plan.Parallelism != 1 {
				t.Errorf("%d at once would lock the same table", j.plan.Parallelism)
			}
			res, left := j.run()
			if res.Rows != c.rows || left.RowsLeft != 0 {
				t.Errorf("%+v, %+v; want %d rows", res, left, c.rows)
			}
			if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.t'::regclass"); n != c.attached {
				t.Errorf("%d partitions are attached, want %d", n, c.attached)
			}
			for i, way := range strings.Split(ways, ",")[1:] {
				size := pgtest.Value[int64](t, r.db, fmt.Sprintf("SELECT pg_relation_size('app.t%d')", i+1))
				if (way == "truncate" || way == "detach") != (size == 0) {
					t.Errorf("t%d goes by %s and has %d bytes", i+1, way, size)
				}
			}
		})
	}
}

// A predicate that the bounds do not contradict, but that is NULL for a row, keeps the row: the partition moves by DELETE then.
func TestWholePartitionWithRowsThatStay(t *testing.T) { // A17
	t.Parallel()
	r := wholeRig(t, false, "CREATE TABLE app.nothing PARTITION OF app.t FOR VALUES FROM ('2021-01-01') TO ('2021-01-02') ", "ALTER TABLE app.nothing ADD CHECK (note < 'm')",
		"INSERT INTO app.t SELECT i, '2021-01-01', CASE WHEN i % 2 = 0 THEN 'a' END FROM generate_series(10000, 10099) i")
	r.db.Exec(t, "GRANT TRUNCATE ON app.nothing TO "+r.db.Worker)
	r.params = map[string]string{"whole_partition": "truncate", "where": "note < 'm'"}
	j := r.newJob()
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.plans, jsonb_array_elements(plan::jsonb -> 'Parts') p WHERE p ->> 'Way' = 'truncate'"); n != 1 {
		t.Fatalf("%d partitions are to be truncated", n)
	}
	moved := false
	for n := range j.plan.Chunks {
		_, err := j.chunk(n)
		if err == nil {
			continue
		}
		if jobstep.ClassOf(err).Name != jobstep.ClassReplan || moved {
			t.Fatal(err)
		}
		moved = true
		if j.plan, err = r.f.Plan(t.Context(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
			t.Fatal(err)
		}
		break
	}
	if !moved {
		t.Error("the partition was emptied")
	}
	res, left := j.run()
	if res.Rows != 50 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v", res, left)
	}
}

// What cannot be taken whole is refused before a row has moved, with a hint, and EXPLAIN says the same.
func TestWholePartitionRefusals(t *testing.T) { // A55
	t.Parallel()
	for name, c := range map[string]struct {
		whole, change, code, say string
	}{
		"no right":          {"truncate", "REVOKE TRUNCATE ON app.t2 FROM @worker", "42501", "app.t2"},
		"not the owner":     {"detach", "", "42501", "ownership"},
		"truncate trigger":  {"truncate", "CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';; CREATE TRIGGER bell BEFORE TRUNCATE ON app.t3 EXECUTE FUNCTION app.f()", "55000", "bell"},
		"publication":       {"truncate", "CREATE PUBLICATION pub FOR TABLE app.t1 WITH (publish = 'truncate')", "55000", "pub"},
		"not partitioned":   {"truncate", "CREATE TABLE app.plain (id int);; ALTER TABLE app.t RENAME TO was;; ALTER TABLE app.plain RENAME TO t;; GRANT ALL ON app.t TO @worker", "42809", "not partitioned"},
		"referenced anyway": {"truncate", "CREATE TABLE app.ref (id bigint, at timestamptz, FOREIGN KEY (id, at) REFERENCES app.t)", "2BP01", "ref"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := wholeRig(t, false)
			r.db.Super(t, strings.Split(strings.ReplaceAll(c.change+";; SELECT 1", "@worker", r.db.Worker), ";; ")...)
			if name == "not partitioned" {
				r.want = nil
			}
			r.params = map[string]string{"whole_partition": c.whole}
			_, err := r.f.Plan(t.Context(), jobstep.PlanInput{JobID: "flush:app.t:" + uuid.NewString(), RequestID: r.request(), Generation: 1})
			var no *flush.RefusedError
			if !errors.As(err, &no) || no.Refusal.Code != c.code || !strings.Contains(err.Error(), c.say) || no.Refusal.Hint == "" {
				t.Errorf("%v", err)
			}
			v, err := flush.NewSurveyor(r.hot, r.ledger).Survey(t.Context(), "app", "t", r.params)
			if err != nil || len(v.Refusals) == 0 {
				t.Errorf("%+v, %v", v, err)
			}
			if err := flush.NewSurveyor(r.hot, r.ledger).Check(t.Context(), "app", "t", r.params); !errors.As(err, &no) || no.Refusal.Code != c.code {
				t.Errorf("before a job: %v", err)
			}
		})
	}
	if _, err := flush.ParseOptions(map[string]string{"whole_partition": "drop"}); err == nil {
		t.Error("whole_partition = drop")
	}
}

// Whoever holds the partition makes the chunk give up after lock_timeout, and nothing has changed; then it goes on.
func TestWholePartitionWaitsNoLongerThanItMay(t *testing.T) { // A59
	t.Parallel()
	r := wholeRig(t, true)
	r.params = map[string]string{"whole_partition": "detach", "lock_timeout": "50ms", "where": twoDays}
	j := r.newJob()
	app := r.db.Connect(t, r.db.OwnerURL)
	for _, sql := range []string{"SELECT FROM app.t LIMIT 1", "INSERT INTO app.t VALUES (1, '2029-01-01')"} { // the second is about the default partition
		if _, err := app.Exec(t.Context(), "BEGIN; "+sql); err != nil {
			t.Fatal(err)
		}
		if _, err := j.chunk(0); jobstep.ClassOf(err).Name != jobstep.ClassLock {
			t.Errorf("%s: %v", sql, err)
		}
		if _, err := app.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.t'::regclass"); n != 4 {
		t.Errorf("%d partitions are attached", n)
	}
	if res, left := j.run(); res.Rows != 2880 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v", res, left)
	}
}

// An attempt that fails or is killed in mid-partition leaves every row hot, and the partition as it was.
func TestWholePartitionIsKilled(t *testing.T) { // A29
	t.Parallel()
	r := wholeRig(t, true)
	r.params = map[string]string{"whole_partition": "detach", "where": twoDays}
	j := r.newJob()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	_, err := r.f.RunChunk(ctx, jobstep.ChunkInput{JobID: j.id, Chunk: 0, Attempt: 1}, func(c jobstep.Checkpoint) {
		if c.Step == jobstep.StepUploading || c.Step == jobstep.StepRegistering {
			kill()
		}
	})
	if jobstep.ClassOf(err).Name != jobstep.ClassCancelled {
		t.Fatalf("%v", err)
	}
	if n := r.hotCount(); n != 4320 {
		t.Errorf("%d rows are hot", n)
	}
	if res, _ := j.run(); res.Rows != 2880 {
		t.Errorf("%+v", res)
	}
}

// A COMMIT whose answer never comes is found out for a whole partition too.
func TestWholePartitionWithLostCommit(t *testing.T) { // A29
	t.Parallel()
	for name, cut := range map[string]int32{"before": cutBefore, "after": cutAfter} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t)
			c, url := newCutter(t, db.WorkerURL)
			r := newRigOn(t, db, url, append(partitions(1), `INSERT INTO app.t SELECT i, '2020-01-02'::timestamptz + i * interval '1 minute' FROM generate_series(0, 999) i`)...)
			db.Exec(t, "GRANT TRUNCATE ON app.t1 TO "+db.Worker)
			r.params = map[string]string{"whole_partition": "truncate"}
			j := r.newJob()
			c.armed.Store(cut)
			_, err := j.chunk(0)
			if (err == nil) != (cut == cutAfter) || c.cuts.Load() != 1 {
				t.Errorf("%v, %d cuts", err, c.cuts.Load())
			}
			if res, _ := j.run(); res.Rows != 1000 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// The rights of a partition are looked at again under the lock.
func TestWholePartitionChanges(t *testing.T) { // A60
	t.Parallel()
	for name, change := range map[string]string{"right": "REVOKE TRUNCATE ON app.t1 FROM @worker", "file": "VACUUM FULL app.t1", "emptied": "TRUNCATE app.t1", "dropped": "DROP TABLE app.t1", "detached": "ALTER TABLE app.t DETACH PARTITION app.t1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := wholeRig(t, false)
			r.params = map[string]string{"whole_partition": "truncate", "where": twoDays}
			j := r.newJob()
			r.db.Exec(t, strings.ReplaceAll(change, "@worker", r.db.Worker))
			r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "")
			if _, err := j.chunk(0); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
				t.Fatalf("%v", err)
			}
			var err error
			if j.plan, err = r.f.Plan(t.Context(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
				t.Fatal(err)
			}
			want := int64(2880)
			if name == "emptied" || name == "dropped" || name == "detached" {
				want = 1440
			}
			if res, left := j.run(); res.Rows != want || left.RowsLeft != 0 {
				t.Errorf("%+v, %+v", res, left)
			}
		})
	}
}

// What is left after a flush moves by DELETE, and so does it in the generations that follow when the table changes meanwhile: the rows of a
// whole partition may be new ones.
func TestWholePartitionsNotAfterResidue(t *testing.T) { // A16
	t.Parallel()
	r := wholeRig(t, false, "GRANT TRUNCATE ON app.other TO PUBLIC")
	r.params = map[string]string{"whole_partition": "truncate"}
	j := r.newJob()
	must(t, j.chunks(&j.plan))
	r.db.Exec(t, "INSERT INTO app.t VALUES (9999, '2020-01-02', 'late')")
	r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
	left, err := j.f.Residue(context.Background(), jobstep.ResidueInput{JobID: j.id, Pass: 1})
	must(t, err)
	if left.RowsLeft != 1 || left.Plan == nil {
		t.Fatalf("left %+v, want a plan for one row", left)
	}
	r.db.Exec(t, "ALTER TABLE app.t ADD COLUMN more int")
	if _, err := j.chunk(left.Plan.FirstChunk); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
		t.Fatalf("error %v, want replan", err)
	}
	plan, err := j.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: left.Plan.Generation + 1})
	must(t, err)
	if ways := pgtest.Value[string](t, r.db, "SELECT string_agg(p ->> 'Way', ',') FROM spillway.plans, jsonb_array_elements(plan::jsonb -> 'Parts') p WHERE generation = 3"); strings.Contains(ways, "truncate") {
		t.Errorf("the generation after a residue pass goes the ways %s", ways)
	}
	must(t, j.chunks(&plan))
	j.finish("completed", nil)
	r.want = nil // its columns differ from those that the file has
}
