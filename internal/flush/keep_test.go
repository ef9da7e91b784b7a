package flush_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// keep_rows leaves the newest rows of the whole table, and those that are as old as the oldest of them.
func TestKeepRows(t *testing.T) { // A17
	t.Parallel()
	const parted = `CREATE TABLE app.t (id bigint, at date) PARTITION BY RANGE (at);
		CREATE TABLE app.t1 PARTITION OF app.t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); CREATE TABLE app.t2 PARTITION OF app.t FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
		CREATE TABLE app.t3 PARTITION OF app.t DEFAULT`
	for name, c := range map[string]struct {
		setup  []string
		params map[string]string
		stay   string // the rows that stay hot
	}{
		"a sequence": {[]string{events, fill(100)}, map[string]string{"keep_rows": "30", "age_column": "id"}, "id > 70"},
		"times":      {[]string{events, fill(100)}, map[string]string{"keep_rows": "30", "age_column": "at"}, "id > 70"},
		"ties stay": {[]string{events, fill(100), "UPDATE app.t SET at = '2026-06-01' WHERE id > 50"},
			map[string]string{"keep_rows": "10", "age_column": "at"}, "id > 50"},
		"infinity is the newest, and no time is none": {[]string{events, fill(100), "UPDATE app.t SET at = 'infinity' WHERE id = 1", "UPDATE app.t SET at = NULL WHERE id IN (2, 100)"},
			map[string]string{"keep_rows": "3", "age_column": "at"}, "id IN (1, 2, 98, 99, 100)"},
		"before Christ":  {[]string{events, fill(100), "UPDATE app.t SET at = at - interval '2100 years'"}, map[string]string{"keep_rows": "30", "age_column": "at"}, "id > 70"},
		"fewer than all": {[]string{events, fill(100)}, map[string]string{"keep_rows": "101", "age_column": "at"}, "true"},
		"as many as all": {[]string{events, fill(100)}, map[string]string{"keep_rows": "100", "age_column": "id"}, "true"},
		"with a condition, which does not count": {[]string{events, fill(100)},
			map[string]string{"keep_rows": "30", "age_column": "id", "where": "(id % 2) = 0"}, "id > 70 OR id % 2 = 1"},
		"with an age, the older bound": {[]string{events, fill(100), "UPDATE app.t SET at = now() - (100 - id) * interval '1 day'"},
			map[string]string{"keep_rows": "30", "age_column": "at", "older_than": "10 days"}, "id > 70"},
		"with an age, the newer bound": {[]string{events, fill(100), "UPDATE app.t SET at = now() - (100 - id) * interval '1 day' - interval '1 hour'"},
			map[string]string{"keep_rows": "30", "age_column": "at", "older_than": "50 days"}, "id > 50"},
		"partitions together": {[]string{parted, "INSERT INTO app.t SELECT i, '2026-01-01'::date + i FROM generate_series(0, 99) i"},
			map[string]string{"keep_rows": "50", "age_column": "at"}, "id >= 50"},
		"partitions taken whole": {[]string{parted, "INSERT INTO app.t SELECT i, '2026-01-01'::date + i FROM generate_series(0, 99) i", "INSERT INTO app.t VALUES (-1, NULL)"},
			map[string]string{"keep_rows": "50", "age_column": "at", "whole_partition": "truncate"}, "id >= 50 OR id = -1"},
		"a quoted name": {[]string{`CREATE TABLE app.t (id int, "A ""b'" smallint)`, "INSERT INTO app.t SELECT i, i FROM generate_series(1, 20) i"},
			map[string]string{"keep_rows": "5", "age_column": `A "b'`}, "id > 15"},
		"a domain": {[]string{"CREATE DOMAIN app.moment AS timestamp CHECK (VALUE > '2000-01-01')", "CREATE TABLE app.t (id int, at app.moment)",
			"INSERT INTO app.t SELECT i, '2026-01-01'::timestamp + i * interval '1 us' FROM generate_series(1, 20) i"},
			map[string]string{"keep_rows": "5", "age_column": "at"}, "id > 15"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.setup...)
			want := pgtest.Value[string](t, r.db, "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM app.t WHERE "+c.stay)
			r.params = c.params
			if whole := c.params["whole_partition"]; whole != "" {
				r.db.Super(t, "GRANT TRUNCATE ON ALL TABLES IN SCHEMA app TO "+r.db.Worker)
			}
			j := r.newJob()
			if _, left := j.run(); left.RowsLeft != 0 {
				t.Errorf("%d rows are left", left.RowsLeft)
			}
			if got := pgtest.Value[string](t, r.db, "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM app.t"); got != want {
				t.Errorf("hot are %s, not %s", got, want)
			}
		})
	}
}

// What comes and goes during the job does not move the bound: it is that of the first plan.
func TestKeepRowsStandsStill(t *testing.T) { // A12 A17
	t.Parallel()
	r := newRig(t, events, fill(100))
	r.params = map[string]string{"keep_rows": "30", "age_column": "id"}
	j := r.newJob()
	r.want = nil
	r.db.Exec(t, "INSERT INTO app.t SELECT i, 0 FROM generate_series(101, 200) i", "UPDATE app.t SET note = 'moved on' WHERE id <= 60")
	if _, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
		t.Fatal(err)
	}
	limits := pgtest.Value[string](t, r.db, "SELECT string_agg(plan -> 'Keep' ->> 'Value', ' ' ORDER BY generation) FROM spillway.plans WHERE job_id = '"+j.id+"'")
	if limits != "71 71" {
		t.Errorf("the bounds are %s", limits)
	}
	j.run()
	if got := pgtest.Value[int64](t, r.db, "SELECT min(id) FROM app.t"); got != 71 || r.hotCount() != 130 {
		t.Errorf("hot from %d on, %d rows", got, r.hotCount())
	}
}

func TestKeepRowsRefused(t *testing.T) { // A17
	t.Parallel()
	r := newRig(t, events, fill(10))
	for name, params := range map[string]map[string]string{
		"no column": {"keep_rows": "3"}, "an unknown one": {"keep_rows": "3", "age_column": "nobody"}, "a text": {"keep_rows": "3", "age_column": "note"},
		"none": {"keep_rows": "0", "age_column": "id"}, "a number that has an order and no age": {"keep_rows": "3", "age_column": "id", "older_than": "1 day"},
		"too many": {"keep_rows": "99999999999999999999", "age_column": "id"}, "an age column alone": {"age_column": "id"},
	} {
		r.params = params
		_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: "flush:app.t:" + uuid.NewString(), RequestID: r.request(), Generation: 1})
		if jobstep.ClassOf(err).Name != jobstep.ClassInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A column that is no longer what it was ends the job.
	r.params = map[string]string{"keep_rows": "3", "age_column": "id"}
	j := r.newJob()
	r.want = nil
	r.db.Exec(t, "ALTER TABLE app.t ALTER id TYPE text")
	if _, err := j.chunk(0); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
		t.Errorf("chunk: %v", err)
	}
	_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2})
	if jobstep.ClassOf(err).Name != jobstep.ClassInvalid {
		t.Errorf("plan: %v", err)
	}
	j.finish("failed", nil)
	if n := r.hotCount(); n != 10 {
		t.Errorf("%d rows are hot", n)
	}
}
