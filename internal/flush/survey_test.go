package flush_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/option"
)

// Exactly the rows before the limit move, and the limit is the one of the request, however late or often it is planned.
func TestOlderThan(t *testing.T) { // A17
	t.Parallel()
	r := newRig(t, events, `INSERT INTO app.t SELECT i, 0, 'n', 1, now() - i * interval '1 hour' FROM generate_series(1, 200) i`, "INSERT INTO app.t (id, tenant) VALUES (0, 0)", "ANALYZE app.t")
	r.params = map[string]string{"older_than": "4 days", "age_column": "at", "where": "id % 2 = 0"}
	j := r.newJob()
	if j.plan.RowsEstimate > 50 {
		t.Errorf("%d rows are expected, by the planner there are few", j.plan.RowsEstimate)
	}
	limit := func(generation int) string {
		return pgtest.Value[string](t, r.db, "SELECT plan -> 'Limit' ->> 'Instant' FROM spillway.plans WHERE job_id = '"+j.id+"' AND generation = "+itoa(generation))
	}
	if asked := pgtest.Value[bool](t, r.db, "SELECT (plan -> 'Limit' ->> 'Instant')::timestamptz = q.created_at - interval '4 days' FROM spillway.plans JOIN spillway.requests q USING (request_id)"); !asked {
		t.Errorf("the limit is %s", limit(1))
	}
	if _, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2}); err != nil {
		t.Fatal(err)
	}
	if limit(1) != limit(2) {
		t.Errorf("the limit moved from %s to %s", limit(1), limit(2))
	}
	old := pgtest.Value[int64](t, r.db, "SELECT count(*) FROM app.t WHERE id % 2 = 0 AND at < '"+limit(1)+"'")
	if res, left := j.run(); res.Rows != old || old != 53 || left.RowsLeft != 0 {
		t.Errorf("%+v, %+v; %d rows were old", res, left, old)
	}
}

// A column that is no longer what it was ends the job; it never moves what is not old.
func TestOlderThanOfChangedColumn(t *testing.T) { // A17, A60
	t.Parallel()
	for name, change := range map[string]string{
		"dropped": "ALTER TABLE app.t DROP at", "renamed": "ALTER TABLE app.t RENAME at TO since", "text": "ALTER TABLE app.t ALTER at TYPE text USING at::text",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, events, fill(100))
			r.params = map[string]string{"older_than": "1 days", "age_column": "at"}
			j := r.newJob()
			r.want = nil
			r.db.Exec(t, change)
			if _, err := j.chunk(0); jobstep.ClassOf(err).Name != jobstep.ClassReplan {
				t.Errorf("chunk: %v", err)
			}
			_, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2})
			if jobstep.ClassOf(err).Name != jobstep.ClassInvalid || !strings.Contains(err.Error(), "at") {
				t.Errorf("plan: %v", err)
			}
			j.finish("failed", nil)
			if n := r.hotCount(); n != 100 {
				t.Errorf("%d rows are hot", n)
			}
		})
	}
}

// A column that changed its type to another kind of time goes on with the same limit.
func TestOlderThanOfOtherTime(t *testing.T) { // A17, A60
	t.Parallel()
	r := newRig(t, events, fill(100))
	r.params = map[string]string{"older_than": "1 days", "age_column": "at"}
	j := r.newJob()
	r.want = nil
	r.db.Exec(t, "ALTER TABLE app.t ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC'")
	plan, err := r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 2})
	if err != nil {
		t.Fatal(err)
	}
	j.plan = plan
	if res, _ := j.run(); res.Rows != 100 {
		t.Errorf("%+v", res)
	}
}

func TestCheck(t *testing.T) { // A55
	t.Parallel()
	r := newRig(t, events, "CREATE TABLE app.p (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES FROM (0) TO (9)",
		"CREATE TABLE app.bare ()")
	s := flush.NewSurveyor(r.hot, r.ledger)
	check := func(table string, params map[string]string) error {
		return s.Check(t.Context(), "app", table, params)
	}
	for _, fine := range []string{"t", "p"} {
		if err := check(fine, nil); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
	r.db.Exec(t, "CREATE RULE keep AS ON DELETE TO app.p1 DO INSTEAD NOTHING", "CREATE TABLE app.refers (t bigint REFERENCES app.t (id))")
	for table, code := range map[string]string{"p": "55000", "t": "2BP01", "bare": "0A000"} {
		var no *flush.RefusedError
		if err := check(table, nil); !errors.As(err, &no) || no.Refusal.Code != code {
			t.Errorf("%s: %v", table, err)
		}
	}
	if err := check("none", nil); !errors.Is(err, hot.ErrNoTable) {
		t.Errorf("no table: %v", err)
	}
	var no *flush.RefusedError
	if err := check("t", map[string]string{"storage": "attic"}); !errors.As(err, &no) || no.Refusal.Code != "42704" {
		t.Errorf("no such storage: %v", err)
	}
	var bad *option.Error
	if err := check("t", map[string]string{"speed": "9"}); !errors.As(err, &bad) {
		t.Errorf("an unknown option: %v", err)
	}
	if err := check("t", map[string]string{"older_than": "1 day"}); !errors.As(err, &bad) {
		t.Errorf("an age without a column: %v", err)
	}
	conn := r.db.Connect(t, r.db.OwnerURL)
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE app.t IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	if err := check("t", nil); hot.SQLState(err) != "55P03" {
		t.Errorf("a locked table: %v", err)
	}
}

func TestSurvey(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(5000), "CREATE INDEX t_at ON app.t (at)", "ANALYZE app.t",
		"CREATE TABLE app.p (id int, at date) PARTITION BY RANGE (id)", "CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES FROM (0) TO (9)",
		"CREATE TABLE app.p2 PARTITION OF app.p FOR VALUES FROM (9) TO (99)", "INSERT INTO app.p SELECT i, '2020-01-01' FROM generate_series(0, 50) i", "ANALYZE app.p")
	s := flush.NewSurveyor(r.hot, r.ledger)
	v, err := s.Survey(t.Context(), "app", "t", map[string]string{"where": "at < '2026-01-01 01:00+00'", "chunk_bytes": "65536", "parallelism": "3"})
	if err != nil || len(v.Refusals) != 0 || len(v.Leaves) != 1 || v.Options.Parallelism != 3 || v.Storage != "default" {
		t.Fatalf("%+v, %v", v, err)
	}
	l := v.Leaves[0]
	if *l.Rows > 1000 || l.Index != "t_at" || l.Table.RowsEstimate < 4000 || l.Dir != "app/t" || l.Way != flush.WayIndex || l.Key != "at" || l.Chunks != 1 || l.Cost >= l.BlockCost {
		t.Errorf("%+v", l)
	}
	if v, err = s.Survey(t.Context(), "app", "t", map[string]string{"where": "tenant = 1", "chunk_bytes": "65536", "parallelism": "3"}); err != nil {
		t.Fatal(err)
	}
	if b := v.Leaves[0]; b.Way != flush.WayBlocks || b.Why == "" || b.Chunks%3 != 0 || b.BlocksPerChunk != 7 || b.Files() > *b.Rows {
		t.Errorf("%+v", b)
	}
	if want := pgtest.Value[int64](t, r.db, "SELECT pg_total_relation_size('app.t')"); l.Bytes != want {
		t.Errorf("%d bytes, want %d", l.Bytes, want)
	}
	if v, err = s.Survey(t.Context(), "app", "t", map[string]string{"storage": "attic"}); err != nil || len(v.Refusals) != 1 || len(v.Leaves) != 1 {
		t.Errorf("no such storage: %+v, %v", v, err)
	}
	r.db.Exec(t, "CREATE RULE keep AS ON DELETE TO app.p1 DO INSTEAD NOTHING", "REVOKE ALL ON app.p2 FROM "+r.db.Worker)
	v, err = s.Survey(t.Context(), "app", "p", map[string]string{"older_than": "1 days", "age_column": "at"})
	if err != nil || len(v.Leaves) != 2 || len(v.Refusals) != 2 || v.Limit == nil {
		t.Fatalf("%+v, %v", v, err)
	}
	if v.Refusals[0].Table != "app.p1" || v.Refusals[1].Refusal.Code != "42501" || v.Leaves[1].Rows != nil || v.Leaves[1].Dir != "app/p/p2" {
		t.Errorf("%+v", v)
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(*) FROM spillway.schema_versions"); n != 0 {
		t.Errorf("looking wrote %d rows into the ledger", n)
	}
}

// The record of a job says what it did to the size of its table.
func TestSpaceStory(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, "ALTER TABLE app.t SET (autovacuum_enabled = off)", fill(4000), "ANALYZE app.t")
	r.params = map[string]string{"where": "id <= 1000"}
	j := r.newJob()
	before := pgtest.Value[int64](t, r.db, "SELECT pg_total_relation_size('app.t')")
	j.run()
	h, found, err := r.ledger.History(t.Context(), j.id)
	if err != nil || !found || h.HotBytesBefore == nil {
		t.Fatalf("%+v, %v", h, err)
	}
	cold := pgtest.Value[int64](t, r.db, "SELECT sum(bytes)::bigint FROM spillway.segments")
	if *h.HotBytesBefore != before || *h.HotBytesAfter < before || *h.ColdBytes != cold || *h.DeadRows != 1000 {
		t.Errorf("before %d (want %d), after %d, cold %d (want %d), dead %d", *h.HotBytesBefore, before, *h.HotBytesAfter, *h.ColdBytes, cold, *h.DeadRows)
	}
	if share := float64(*h.DeadBytes) / float64(*h.HotBytesAfter); share < 0.2 || share > 0.3 {
		t.Errorf("%d of %d bytes are dead, a quarter of the rows is", *h.DeadBytes, *h.HotBytesAfter)
	}
	type row struct{ Hot, Dead, Rows, Before, DeadBytes int64 }
	conn := r.db.Connect(t, r.db.SuperURL)
	var got row
	err = conn.QueryRow(t.Context(), "SELECT bytes_hot, last_rows_dead, last_rows_flushed, last_bytes_hot_before, last_bytes_dead FROM system.tables WHERE table_name = 't'").
		Scan(&got.Hot, &got.Dead, &got.Rows, &got.Before, &got.DeadBytes)
	if err != nil || got != (row{*h.HotBytesAfter, 1000, 1000, before, *h.DeadBytes}) {
		t.Errorf("system.tables: %+v, %v", got, err)
	}
	// A table that is gone has no size, and its job an end all the same.
	gone := r.newJob()
	r.want = nil
	r.db.Exec(t, "DROP TABLE app.t")
	gone.finish("failed", nil)
	if h, found, err = r.ledger.History(t.Context(), gone.id); err != nil || !found || *h.HotBytesAfter != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	// So has a job without a plan.
	never := &job{rig: r, id: "flush:app.t:" + uuid.NewString(), request: r.request()}
	never.finish("failed", nil)
	if h, found, err = r.ledger.History(t.Context(), never.id); err != nil || !found || h.HotBytesBefore != nil {
		t.Errorf("%+v, %v", h, err)
	}
}
