package flush_test

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/tests/audit"
)

// newRestoreRig is newRig with what restores need beside.
func newRestoreRig(t testing.TB, setup ...string) *rig {
	t.Helper()
	r := newRig(t, setup...)
	r.mayRestore()
	return r
}

func (r *rig) mayRestore() {
	r.db.Exec(r.t, "GRANT INSERT ON ALL TABLES IN SCHEMA app TO "+r.db.Worker)
}

// restoreJob plans a restore of app.t.
func (r *rig) restoreJob(params map[string]string) (*job, error) {
	r.t.Helper()
	id := uuid.New()
	must(r.t, r.ledger.PutRequest(context.Background(), ledger.Request{ID: id, JobType: "restore", Schema: "app", Table: "t", Params: params, Trigger: "command"}))
	j := &job{rig: r, id: "restore:app.t:" + uuid.NewString(), request: id.String()}
	var err error
	j.plan, err = r.f.PlanRestore(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1})
	return j, err
}

func (r *rig) newRestore(params map[string]string) *job {
	r.t.Helper()
	j, err := r.restoreJob(params)
	must(r.t, err)
	return j
}

// segment restores one segment.
func (j *job) segment(n int) (jobstep.ChunkResult, error) {
	return j.f.RestoreSegment(context.Background(), jobstep.ChunkInput{JobID: j.id, Chunk: n, Attempt: 1}, nil)
}

// restore drives a restore to its end, as the workflow does.
func (j *job) restore() jobstep.FinishResult {
	j.t.Helper()
	for n := range j.plan.Chunks {
		if _, err := j.segment(n); err != nil {
			j.t.Fatalf("segment %d: %v", n, err)
		}
	}
	must(j.t, j.f.Publish(context.Background(), j.id))
	return j.finish("completed", nil)
}

func (r *rig) restore(params map[string]string) jobstep.FinishResult {
	r.t.Helper()
	return r.newRestore(params).restore()
}

func coldCount(t testing.TB, r *rig) int {
	t.Helper()
	return audit.Cold(t, r.db.SuperURL, "app", "t").Count()
}

// A18
func TestRestoreGivesTheIdenticalTable(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(3000),
		`UPDATE app.t SET note = E'tab\t new\nline\r back\\slash \\N \\. ünïcödé' WHERE id = 1`, `UPDATE app.t SET note = '' WHERE id = 2`)
	r.params["chunk_bytes"] = "64kB"
	before := audit.Hot(t, r.db.SuperURL, "app", "t", "")
	r.newJob().run()
	if r.hotCount() != 0 {
		t.Fatalf("%d rows are hot", r.hotCount())
	}
	res := r.restore(nil)
	if res.Rows != 3000 || res.Segments != 0 || res.Bytes != 0 {
		t.Errorf("restored as %+v, want 3000 rows and no file written", res)
	}
	if after := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(before, after) {
		t.Errorf("the table differs: %d rows, were %d", after.Count(), before.Count())
	}
	if n := coldCount(t, r); n != 0 {
		t.Errorf("%d rows are still cold", n)
	}
	if again := r.restore(nil); again.Rows != 0 {
		t.Errorf("restored again: %+v", again)
	}
	// The policy rests, and last_flush_at is not the restore's.
	if !pgtest.Value[bool](t, r.db, `SELECT policy_paused_by LIKE 'restore:%' AND last_job_id LIKE 'flush:%' FROM spillway.tables WHERE table_name = 't'`) {
		t.Error("the table's registration says nothing of the restore, or too much")
	}
}

// A18: rounds of everything that changes a table.
func TestRoundsOfFlushAndRestore(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(800))
	r.params["chunk_bytes"] = "64kB"
	for round := range 4 {
		r.db.Exec(t,
			"INSERT INTO app.t SELECT i, i % 7, 'round', 1.5, now() FROM generate_series("+itoa(100000*(round+1))+", "+itoa(100000*(round+1)+99)+") i",
			"UPDATE app.t SET note = 'changed in "+itoa(round)+"' WHERE id % 5 = "+itoa(round),
			"DELETE FROM app.t WHERE id % 11 = "+itoa(round))
		r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
		r.newJob().run()
		params := map[string]string{}
		if round%2 == 0 {
			params["where"] = "tenant = " + itoa(round)
		}
		r.restore(params)
		audit.Check(t, r.db.SuperURL, "app", "t", r.want)
	}
	r.restore(nil)
	if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
		t.Error("the table differs from what it should be")
	}
}

func TestRestoreWhereLeavesTheRestCold(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(700))
	r.newJob().run()
	res := r.restore(map[string]string{"where": "((tenant = 3) OR (note IS NULL))"})
	hot := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE tenant = 3 OR note IS NULL")
	if res.Rows != hot || r.hotCount() != hot || hot == 0 || res.Segments != 1 || res.Bytes == 0 {
		t.Errorf("restored as %+v with %d of %d hot rows matching", res, hot, r.hotCount())
	}
	if n := coldCount(t, r); int64(n) != 700-hot {
		t.Errorf("%d rows are cold, want %d", n, 700-hot)
	}
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM spillway.segments old JOIN spillway.segments new ON new.segment_id = old.replaced_by
		WHERE old.replaced_at IS NOT NULL AND old.restored_at IS NULL AND new.schema_version = old.schema_version AND new.job_id LIKE 'restore:%'`); n != 1 {
		t.Errorf("%d segments were replaced, want 1", n)
	}
	// What matches nothing changes nothing, and what is left can be restored.
	if res := r.restore(map[string]string{"where": "(tenant = 3)"}); res.Rows != 0 || res.Segments != 0 {
		t.Errorf("restored as %+v, want nothing", res)
	}
	if res := r.restore(map[string]string{"where": "(id > 0)"}); res.Rows != 700-hot || coldCount(t, r) != 0 {
		t.Errorf("restored as %+v", res)
	}
}

func TestRestoreFromJob(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(300))
	r.params["where"] = "(id <= 100)"
	first := r.newJob()
	first.run()
	r.params["where"] = "(id <= 200)"
	r.newJob().run()
	if res := r.restore(map[string]string{"from_job": first.id}); res.Rows != 100 {
		t.Errorf("restored as %+v, want the 100 rows of the first job", res)
	}
	if res := r.restore(map[string]string{"from_job": first.id}); res.Rows != 0 {
		t.Errorf("restored as %+v, want nothing more of that job", res)
	}
	if n := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE id > 100 AND id <= 200"); n != 0 {
		t.Errorf("%d rows of the other job are hot", n)
	}
	// What took a segment's place still is of the job that moved its rows.
	second := pgtest.Value[string](t, r.db, "SELECT job_id FROM spillway.segments WHERE restored_at IS NULL")
	for n, where := range []string{"(id = 150)", "(id = 160)", "(id > 0)"} {
		if res := r.restore(map[string]string{"from_job": second, "where": where}); res.Rows != []int64{1, 1, 98}[n] {
			t.Errorf("restored as %+v where %s", res, where)
		}
	}
}

func TestKeyConflict(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, "CREATE UNIQUE INDEX ON app.t (note)", fill(10), "UPDATE app.t SET note = 'n' || id")
	r.newJob().run()
	r.db.Exec(t, "INSERT INTO app.t VALUES (4, 1, 'new', 1, now()), (77, 1, 'n8', 1, now())") // one by its key, one by its note
	r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))

	_, err := r.newRestore(nil).segment(0)
	if class := jobstep.ClassOf(err); class.Name != jobstep.ClassData || class.Retryable || class.SQLState != "23505" || !strings.Contains(err.Error(), "on_conflict = skip") {
		t.Fatalf("error %v of class %+v", err, class)
	}
	if r.hotCount() != 2 {
		t.Fatalf("%d rows are hot after the error", r.hotCount())
	}
	res := r.restore(map[string]string{"on_conflict": "skip"})
	if res.Rows != 8 || r.hotCount() != 10 || coldCount(t, r) != 2 || res.Segments != 1 {
		t.Errorf("restored as %+v; %d hot, %d cold", res, r.hotCount(), coldCount(t, r))
	}
	// With a predicate, both reasons leave rows.
	r.db.Exec(t, "DELETE FROM app.t WHERE id IN (4, 77)")
	r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "").Add(audit.Cold(t, r.db.SuperURL, "app", "t"))
	if res := r.restore(map[string]string{"on_conflict": "skip", "where": "(note = 'n8'::text)"}); res.Rows != 1 || coldCount(t, r) != 1 {
		t.Errorf("restored as %+v; %d cold", res, coldCount(t, r))
	}
}

func TestGeneratedAndIdentityColumns(t *testing.T) {
	t.Parallel()
	for name, params := range map[string]map[string]string{
		"straight": nil, "where": {"where": "(twice > 0)"}, "rest": {"where": "(twice > 100)"}, "skip": {"on_conflict": "skip"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := ""
			if pgtest.Server(t).Binaries().Major >= 18 {
				virtual = ", half text GENERATED ALWAYS AS ((n / 2.0)::text) VIRTUAL"
			}
			r := newRestoreRig(t, `CREATE TABLE app.t (id int GENERATED ALWAYS AS IDENTITY (START 1000), n int, twice int GENERATED ALWAYS AS (n * 2) STORED, d int GENERATED BY DEFAULT AS IDENTITY`+virtual+")",
				"INSERT INTO app.t (n) SELECT i FROM generate_series(1, 100) i")
			r.newJob().run()
			r.restore(params)
			if name != "rest" && r.hotCount() != 100 || name == "rest" && r.hotCount() != 50 {
				t.Errorf("%d rows are hot", r.hotCount())
			}
			r.restore(nil)
			if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
				t.Error("the table differs")
			}
		})
	}
}

// A15: what can have become of a table since its rows went cold.
func TestRestoreIntoAChangedTable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, change string
		params       map[string]string
		class, says  string // of the error, if there is one
		shows        string // a query that must be true then
	}{
		{"column added", "ALTER TABLE app.t ADD COLUMN extra text NOT NULL DEFAULT 'new'", nil, "", "", "SELECT bool_and(extra = 'new') FROM app.t"},
		{"column added without a default", "ALTER TABLE app.t ADD COLUMN extra text NOT NULL", nil, jobstep.ClassData, `"extra"`, ""},
		{"column renamed", "ALTER TABLE app.t RENAME COLUMN note TO remark", nil, "", "", "SELECT count(remark) = 90 FROM app.t"},
		{"columns swapped", "ALTER TABLE app.t ADD COLUMN c int; ALTER TABLE app.t RENAME note TO x; ALTER TABLE app.t RENAME c TO note", nil, "", "", "SELECT count(x) = 90 AND count(note) = 0 FROM app.t"},
		{"column dropped", "ALTER TABLE app.t DROP COLUMN note", nil, jobstep.ClassRefused, `"note"`, ""},
		{"column dropped and made anew", "ALTER TABLE app.t DROP COLUMN note; ALTER TABLE app.t ADD COLUMN note text", nil, jobstep.ClassRefused, `"note"`, ""},
		{"column given up", "ALTER TABLE app.t DROP COLUMN note", map[string]string{"drop_columns": "note"}, "", "", "SELECT count(*) = 100 FROM app.t"},
		{"column given up and rows left", "ALTER TABLE app.t DROP COLUMN note", map[string]string{"drop_columns": "note", "where": "(id <= 40)"}, "", "", "SELECT count(*) = 40 FROM app.t"},
		{"type widened", "ALTER TABLE app.t ALTER tenant TYPE bigint", nil, "", "", "SELECT sum(tenant) > 0 FROM app.t"},
		{"type widened and rows left", "ALTER TABLE app.t ALTER tenant TYPE bigint, ALTER amount TYPE numeric(20,4)", map[string]string{"where": "(id <= 40)"}, "", "", "SELECT count(*) = 40 FROM app.t"},
		{"type narrowed", "ALTER TABLE app.t ALTER note TYPE int USING 0", nil, jobstep.ClassData, "column note", ""},
		{"table made anew", "DROP TABLE app.t; CREATE TABLE app.t (at timestamptz, note text, id bigint, amount numeric, tenant int)", nil, "", "", "SELECT count(note) = 90 AND min(id) = 1 FROM app.t"},
		{"predicate over a new column", "ALTER TABLE app.t ADD COLUMN extra int DEFAULT 1", map[string]string{"where": "(extra = 1)"}, jobstep.ClassInvalid, "FROM JOB", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, events, fill(100))
			r.newJob().run()
			r.db.Exec(t, strings.Split(c.change, "; ")...)
			r.db.Exec(t, "GRANT SELECT, INSERT ON app.t TO "+r.db.Worker)
			r.want = nil // the rows have another shape
			j := r.newRestore(c.params)
			_, err := j.segment(0)
			if c.class != "" {
				if jobstep.ClassOf(err).Name != c.class || !strings.Contains(err.Error()+ledgerText(r), c.says) {
					t.Errorf("error %v of class %s, want %s about %s", err, jobstep.ClassOf(err).Name, c.class, c.says)
				}
				if coldCount(t, r) != 100 || r.hotCount() != 0 {
					t.Errorf("%d rows are hot, %d cold", r.hotCount(), coldCount(t, r))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !pgtest.Value[bool](t, r.db, c.shows) {
				t.Errorf("not true: %s", c.shows)
			}
			if n := coldCount(t, r); r.hotCount()+int64(n) != 100 {
				t.Errorf("%d rows are hot, %d cold", r.hotCount(), n)
			}
			must(t, r.f.Publish(context.Background(), j.id))
		})
	}
}

// ledgerText is the last error that the ledger knows.
func ledgerText(r *rig) string {
	r.t.Helper()
	return pgtest.Value[string](r.t, r.db, "SELECT coalesce(max(message), '') FROM spillway.failures")
}

// A16
func TestRestoreOfPartitionedAndInheritedTables(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		setup []string
		after string // what happens between flush and restore
	}{
		{"partitioned", []string{`CREATE TABLE app.t (id int, day date, primary key (id, day)) PARTITION BY RANGE (day)`,
			`CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')`,
			`CREATE TABLE app.t2 (day date not null, junk int, id int not null)`, `ALTER TABLE app.t2 DROP COLUMN junk`, `ALTER TABLE app.t ATTACH PARTITION app.t2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')`,
			`INSERT INTO app.t SELECT i, '2026-01-01'::date + i % 50 FROM generate_series(1, 300) i`}, "SELECT 1"},
		{"partition renamed", []string{`CREATE TABLE app.t (id int, day date) PARTITION BY RANGE (day)`,
			`CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM ('2026-01-01') TO ('2026-03-01')`,
			`INSERT INTO app.t SELECT i, '2026-01-01'::date + i % 50 FROM generate_series(1, 300) i`}, "ALTER TABLE app.t1 RENAME TO other"},
		{"inherited", []string{`CREATE TABLE app.t (id int, day date)`, `CREATE TABLE app.heir (extra text DEFAULT 'own') INHERITS (app.t)`,
			`INSERT INTO app.t SELECT i, '2026-01-01' FROM generate_series(1, 50) i`, `INSERT INTO app.heir SELECT i, '2026-01-01', 'x' || i FROM generate_series(51, 100) i`}, "SELECT 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, c.setup...)
			if c.name == "inherited" {
				r.want = nil // the heir's rows are longer cold than they show through their parent
			}
			before := audit.Hot(t, r.db.SuperURL, "app", "t", "")
			r.newJob().run()
			r.db.Exec(t, c.after)
			r.restore(map[string]string{"where": "(id > 20)"})
			r.restore(nil)
			if after := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(after, before) {
				t.Errorf("%d rows, were %d, or they differ", after.Count(), before.Count())
			}
			if c.name == "inherited" {
				if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM ONLY app.heir WHERE extra = 'x' || id"); n != 50 {
					t.Errorf("%d rows are back in the heir, want 50", n)
				}
			}
		})
	}
}

// A damaged or missing file is refused by name, and nothing changes.
func TestDamagedSegmentIsRefused(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, path string){
		"bit":     func(t *testing.T, path string) { flipByte(t, path) },
		"cut":     func(t *testing.T, path string) { must(t, os.Truncate(path, 100)) },
		"missing": func(t *testing.T, path string) { must(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, events, fill(100))
			r.newJob().run()
			location := pgtest.Value[string](t, r.db, "SELECT location FROM spillway.segments")
			path, _ := objstore.Path(location)
			whole, err := os.ReadFile(path)
			must(t, err)
			damage(t, path)
			_, err = r.newRestore(nil).segment(0)
			if class := jobstep.ClassOf(err); class.Name != jobstep.ClassDamaged || class.Retryable || !strings.Contains(err.Error(), location) {
				t.Errorf("error %v of class %+v", err, class)
			}
			if r.hotCount() != 0 || pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.attempts") != 0 {
				t.Error("something has changed")
			}
			must(t, os.WriteFile(path, whole, 0o600))
			r.restore(nil)
		})
	}
}

func flipByte(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/3] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
}

// What a table may not be, or the worker not do.
func TestRestoreIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, change string
		params       map[string]string
		class, says  string
	}{
		{"unlogged", "ALTER TABLE app.t SET UNLOGGED", nil, jobstep.ClassRefused, "unlogged"},
		{"rule", "CREATE RULE no AS ON INSERT TO app.t DO INSTEAD NOTHING", nil, jobstep.ClassRefused, `rule "no"`},
		{"trigger", "CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW;END'; CREATE TRIGGER g BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()", nil, jobstep.ClassRefused, `trigger "g"`},
		{"no right", "REVOKE INSERT ON app.t FROM @worker", nil, jobstep.ClassPrivilege, "INSERT"},
		{"no right to read", "REVOKE SELECT ON app.t FROM @worker", map[string]string{"on_conflict": "skip"}, jobstep.ClassPrivilege, "SELECT"},
		{"row security", "ALTER TABLE app.t ENABLE ROW LEVEL SECURITY", nil, jobstep.ClassPrivilege, "row security"},
		{"bad option", "SELECT 1", map[string]string{"on_conflict": "update"}, jobstep.ClassInvalid, "on_conflict"},
		{"unknown option", "SELECT 1", map[string]string{"verify": "full"}, jobstep.ClassInvalid, "verify"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, events, fill(20))
			r.newJob().run()
			j := r.newRestore(map[string]string{"parallelism": "1"}) // planned before, so that the transaction has to find out
			r.db.Exec(t, strings.Split(strings.ReplaceAll(c.change, "@worker", r.db.Worker), "; ")...)
			_, err := r.restoreJob(c.params)
			if jobstep.ClassOf(err).Name != c.class || !strings.Contains(err.Error(), c.says) {
				t.Errorf("planned: %v of class %s, want %s about %s", err, jobstep.ClassOf(err).Name, c.class, c.says)
			}
			if c.params != nil {
				return
			}
			r.db.Super(t, "UPDATE spillway.claims SET job_id = '"+j.id+"'")
			if _, err := j.segment(0); jobstep.ClassOf(err).Name != c.class {
				t.Errorf("restored: %v, want class %s", err, c.class)
			}
			if coldCount(t, r) != 20 {
				t.Errorf("%d rows are cold", coldCount(t, r))
			}
		})
	}
}
