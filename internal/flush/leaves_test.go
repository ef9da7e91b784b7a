package flush_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A parent's own rows and those of its heirs, of any depth, move leaf by leaf.
func TestInheritedTables(t *testing.T) { // A16
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int, note text)", "CREATE TABLE app.child () INHERITS (app.t)", `CREATE TABLE app."Grand Child" () INHERITS (app.child)`,
		"INSERT INTO app.t SELECT i, 'own' FROM generate_series(1, 100) i", "INSERT INTO app.child SELECT i, 'child' FROM generate_series(1, 200) i",
		`INSERT INTO app."Grand Child" SELECT i, 'grand' FROM generate_series(1, 300) i`)
	r.params = map[string]string{"where": "id % 2 = 0"}
	if res, left := r.newJob().run(); res.Rows != 300 || res.Segments != 3 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v", res, left)
	}
	r.params = nil
	if res, _ := r.newJob().run(); res.Rows != 300 || r.hotCount() != 0 {
		t.Errorf("the rest: %+v, %d rows hot", res, r.hotCount())
	}
}

// An heir that has columns of its own keeps them.
func TestHeirWithColumnsOfItsOwn(t *testing.T) { // A16, A15
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int)", "CREATE TABLE app.heir (extra text) INHERITS (app.t)",
		"INSERT INTO app.t VALUES (1)", "INSERT INTO app.heir VALUES (2, 'mine')")
	r.want = nil // its rows are longer than those of its parent
	if res, _ := r.newJob().run(); res.Rows != 2 || r.hotCount() != 0 {
		t.Errorf("%+v", res)
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.segments WHERE pg_types ? 'extra' OR column_stats ? 'extra'"); n != 1 {
		t.Errorf("%d segments have the column of the heir", n)
	}
}

func TestPartitionsOfSeveralLevels(t *testing.T) { // A16
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int, kind text, note text) PARTITION BY RANGE (id)",
		"CREATE TABLE app.low PARTITION OF app.t FOR VALUES FROM (0) TO (100) PARTITION BY LIST (kind)",
		"CREATE TABLE app.low_a PARTITION OF app.low FOR VALUES IN ('a')", "CREATE TABLE app.low_rest PARTITION OF app.low DEFAULT",
		"CREATE TABLE app.high PARTITION OF app.t FOR VALUES FROM (100) TO (200)",
		"INSERT INTO app.t SELECT i, CASE WHEN i % 3 = 0 THEN 'a' WHEN i % 3 = 1 THEN 'b' END, 'n' FROM generate_series(0, 199) i")
	if res, left := r.newJob().run(); res.Rows != 200 || res.Segments != 3 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v", res, left)
	}
}

// A missing right on a leaf, or a leaf that is no table of ours, is found before a row has moved.
func TestLeavesThatCannotBeFlushed(t *testing.T) { // A16
	t.Parallel()
	for name, c := range map[string]struct{ class, say, change string }{
		"right":   {jobstep.ClassPrivilege, "app.t2", "REVOKE DELETE ON app.t2 FROM @worker"},
		"schema":  {jobstep.ClassPrivilege, "away", "CREATE SCHEMA away; CREATE TABLE away.t3 PARTITION OF app.t FOR VALUES FROM (200) TO (300); GRANT SELECT, DELETE, UPDATE ON away.t3 TO @worker"},
		"foreign": {jobstep.ClassRefused, "app.far is a foreign table", "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; CREATE FOREIGN TABLE app.far PARTITION OF app.t FOR VALUES FROM (300) TO (400) SERVER far"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "CREATE TABLE app.t (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM (0) TO (100)",
				"CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM (100) TO (200)", "INSERT INTO app.t SELECT generate_series(0, 199)")
			if name == "foreign" {
				r.want = nil // the audit would ask the other server
			}
			r.db.Super(t, strings.ReplaceAll(c.change, "@worker", r.db.Worker))
			_, err := r.f.Plan(t.Context(), jobstep.PlanInput{JobID: "flush:app.t:" + uuid.NewString(), RequestID: r.request(), Generation: 1})
			if jobstep.ClassOf(err).Name != c.class || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A partition that goes away during the flush is left out of the next plan, and what is in it is not counted as left.
func TestPartitionGoesDuringFlush(t *testing.T) { // A60, A39
	t.Parallel()
	for name, c := range map[string]struct {
		change string
		hot    int64
	}{
		"dropped":    {"DROP TABLE app.t2", 0},
		"detached":   {"ALTER TABLE app.t DETACH PARTITION app.t2", 0},
		"moved":      {"CREATE TABLE app.other (LIKE app.t) PARTITION BY RANGE (id); ALTER TABLE app.t DETACH PARTITION app.t2; ALTER TABLE app.other ATTACH PARTITION app.t2 FOR VALUES FROM (100) TO (200)", 0},
		"truncated":  {"TRUNCATE app.t2", 0},
		"level away": {"ALTER TABLE app.t DETACH PARTITION app.upper", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "CREATE TABLE app.t (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM (0) TO (100)",
				map[bool]string{
					false: "CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM (100) TO (200)",
					true:  "CREATE TABLE app.upper PARTITION OF app.t FOR VALUES FROM (100) TO (300) PARTITION BY RANGE (id); CREATE TABLE app.t2 PARTITION OF app.upper FOR VALUES FROM (100) TO (200)",
				}[name == "level away"],
				"INSERT INTO app.t SELECT generate_series(0, 199)")
			r.want = nil
			j := r.newJob()
			if _, err := j.chunk(0); err != nil {
				t.Fatal(err)
			}
			r.db.Exec(t, c.change)
			if _, err := j.chunk(1); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
				t.Fatalf("chunk: %v", err)
			}
			var err error
			if j.plan, err = r.f.Plan(t.Context(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
				t.Fatal(err)
			}
			if res, left := j.run(); res.Rows != 100 || left.RowsLeft != c.hot || r.hotCount() != c.hot {
				t.Errorf("%+v, %+v, %d rows hot", res, left, r.hotCount())
			}
			if name != "dropped" && name != "truncated" {
				if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM app.t2"); n != 100 {
					t.Errorf("%d rows are in the table that left, it had 100", n)
				}
			}
		})
	}
}

// A partition that comes during the flush is moved by the pass over what is left.
func TestPartitionComesDuringFlush(t *testing.T) { // A60
	t.Parallel()
	r := newRig(t, "CREATE TABLE app.t (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM (0) TO (100)",
		"CREATE TABLE app.t2 (id int)", "INSERT INTO app.t SELECT generate_series(0, 99)", "INSERT INTO app.t2 SELECT generate_series(100, 109)")
	j := r.newJob()
	r.db.Exec(t, "ALTER TABLE app.t ATTACH PARTITION app.t2 FOR VALUES FROM (100) TO (200)")
	r.want = audit.Hot(t, r.db.SuperURL, "app", "t", "")
	if res, left := j.run(); res.Rows != 110 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v", res, left)
	}
}

// Planning and looking cost a number of statements that does not grow with the partitions: one for a hundred of them.
func TestStatementsOfAPlan(t *testing.T) {
	t.Parallel()
	asked := func(n int, params map[string]string) (plan, survey int64) {
		db := pgtest.Database(t)
		c, url := newCutter(t, db.WorkerURL)
		r := newRigOn(t, db, url, append(partitions(n), fmt.Sprintf(sprinkle, n), "ANALYZE app.t")...)
		r.params = params
		before := c.asked.Load()
		j := r.newJob()
		plan = c.asked.Load() - before
		before += plan
		if _, err := flush.NewSurveyor(r.hot, r.ledger).Survey(t.Context(), "app", "t", params); err != nil {
			t.Fatal(err)
		}
		survey = c.asked.Load() - before
		j.finish("failed", nil)
		return plan, survey
	}
	for _, params := range []map[string]string{nil, {"older_than": "1 day", "age_column": "at"}} {
		fewPlan, fewSurvey := asked(3, params)
		manyPlan, manySurvey := asked(150, params)
		if manyPlan > fewPlan+4 || manySurvey > fewSurvey+4 || manyPlan > 40 || manySurvey > 40 {
			t.Errorf("%v: %d statements plan 3 partitions and %d plan 150; %d and %d look at them", params, fewPlan, manyPlan, fewSurvey, manySurvey)
		}
	}
}
