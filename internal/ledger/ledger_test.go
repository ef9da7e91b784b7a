package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

const job = "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"

func TestRequests(t *testing.T) {
	t.Parallel()
	l, _, _ := migrated(t)
	r := ledger.Request{ID: uuid.New(), JobType: "flush", Schema: "app", Table: "Odd \"t\"", Params: map[string]string{"where": "x = 'ü'"},
		Statement: "FLUSH \x00 \xff", RequestedBy: "u", Trigger: "policy", Schedule: "s"}
	must(t, l.PutRequest(t.Context(), r))
	again := r
	again.JobType = "other"
	must(t, l.PutRequest(t.Context(), again))
	got, err := l.Request(t.Context(), r.ID)
	must(t, err)
	r.CreatedAt, r.Statement = got.CreatedAt, "FLUSH \uFFFD \uFFFD"
	if !reflect.DeepEqual(got, r) {
		t.Errorf("read %+v, wrote %+v", got, r)
	}
	bare := ledger.Request{ID: uuid.New(), JobType: "flush", Schema: "app", Table: "t"}
	must(t, l.PutRequest(t.Context(), bare))
	all, err := l.Requests(t.Context(), []uuid.UUID{r.ID, bare.ID, uuid.New()})
	if err != nil || len(all) != 2 || all[bare.ID].Trigger != "command" {
		t.Errorf("requests %+v, %v", all, err)
	}
	must(t, l.DeleteRequest(t.Context(), r.ID))
	must(t, l.DeleteRequest(t.Context(), r.ID))
	if _, err := l.Request(t.Context(), r.ID); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("deleted request: %v", err)
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	l, _, _ := migrated(t)
	claim := func(jobID, want string) {
		t.Helper()
		if got, err := l.ClaimTable(t.Context(), "app", "t", jobID); err != nil || got != want {
			t.Errorf("claim by %s: %q, %v, want %q", jobID, got, err, want)
		}
	}
	claim("a", "")
	claim("a", "")
	claim("b", "a")
	must(t, l.ReleaseTable(t.Context(), "app", "t", "a")) // no longer its own
	claim("c", "b")
	must(t, l.ReleaseTable(t.Context(), "app", "t", "c"))
	claim("d", "")

	// Of many at once, each learns of the one before it.
	var wg sync.WaitGroup
	seen := make([]string, 20)
	for i := range seen {
		wg.Go(func() { seen[i], _ = l.ClaimTable(t.Context(), "app", "t", fmt.Sprint(i)) })
	}
	wg.Wait()
	once := map[string]bool{}
	for i, previous := range seen {
		if previous == "" || once[previous] {
			t.Errorf("claim %d replaced %q, which is nobody or was replaced before", i, previous)
		}
		once[previous] = true
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	l, _, _ := migrated(t)
	req := uuid.New()
	put := func(generation, first, chunks int) ledger.PlanRow {
		t.Helper()
		p, err := l.PutPlan(t.Context(), ledger.PlanRow{JobID: job, Generation: generation, RequestID: req, FirstChunk: first, Chunks: chunks, RowsEstimate: 100, Plan: json.RawMessage(`{"a": 1}`)})
		must(t, err)
		return p
	}
	if p := put(1, 0, 10); p.Chunks != 10 || p.RequestID != req || string(p.Plan) != `{"a": 1}` {
		t.Errorf("stored %+v", p)
	}
	if p := put(1, 5, 99); p.Chunks != 10 || p.FirstChunk != 0 {
		t.Errorf("the first plan did not win: %+v", p)
	}
	put(2, 10, 0)
	put(3, 10, 4)
	for chunk, want := range map[int]int{0: 1, 9: 1, 10: 3, 13: 3} {
		if p, err := l.Plan(t.Context(), job, chunk); err != nil || p.Generation != want {
			t.Errorf("chunk %d is of generation %d (%v), want %d", chunk, p.Generation, err, want)
		}
	}
	if p, err := l.LastPlan(t.Context(), job); err != nil || p.Generation != 3 {
		t.Errorf("last plan %+v, %v", p, err)
	}
	if p, err := l.PlanGeneration(t.Context(), job, 2); err != nil || p.Chunks != 0 {
		t.Errorf("generation 2: %+v, %v", p, err)
	}
	if _, err := l.LastPlan(t.Context(), "other"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("plan of another job: %v", err)
	}
}

func TestSchemaVersions(t *testing.T) { // A15
	t.Parallel()
	l, db, p := migrated(t)
	var wide strings.Builder // as a table of 500 columns has it
	for i := range 500 {
		fmt.Fprintf(&wide, `,"column_%d %s"`, i, strings.Repeat(fmt.Sprint(i*7919), 10))
	}
	columns := func(i int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`[%d%s]`, i, wide.String())) }

	const lists, callers = 4, 8
	got := make([][lists]int, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range lists {
				v, err := l.EnsureSchemaVersion(t.Context(), p, "app", "t", columns((i+c)%lists))
				if err != nil {
					t.Error(err)
				}
				got[c][(i+c)%lists] = v
			}
		})
	}
	wg.Wait()
	numbers := map[int]bool{}
	for c := range got {
		if got[c] != got[0] {
			t.Errorf("callers disagree: %v and %v", got[c], got[0])
		}
	}
	for _, v := range got[0] {
		numbers[v] = true
	}
	if len(numbers) != lists || !numbers[1] || !numbers[lists] {
		t.Errorf("versions %v", got[0])
	}
	s := exec(t, db)
	v, err := l.EnsureSchemaVersion(t.Context(), s, "app", "t", json.RawMessage("  "+string(columns(2))))
	if err != nil || v != got[0][2] {
		t.Errorf("the same columns, written otherwise, in a session: %d, %v, want %d", v, err, got[0][2])
	}
	if v, err := l.EnsureSchemaVersion(t.Context(), s, "app", "u", columns(2)); err != nil || v != 1 {
		t.Errorf("another table: %d, %v", v, err)
	}
}

// segment registers a segment of a chunk, in the transaction that commits the chunk.
func segment(t *testing.T, l *ledger.Ledger, q ledger.Querier, jobID string, chunk int, location string) ledger.Segment {
	t.Helper()
	s := ledger.Segment{ID: uuid.New(), JobID: jobID, Chunk: chunk, AttemptID: uuid.New(), Schema: "app", Table: "events", Leaf: "app.events", Storage: "default",
		Location: location, Rows: 10, Bytes: 100, SHA256: "ab", SchemaVersion: 1, ColumnStats: json.RawMessage(`[{"n": "ü"}]`)}
	_, err := l.ClaimTable(t.Context(), "app", "events", jobID)
	must(t, err)
	must(t, l.InsertChunk(t.Context(), q, jobID, chunk, s.AttemptID, chunk+1))
	must(t, l.RegisterSegment(t.Context(), q, s))
	must(t, l.UpdateChunk(t.Context(), q, jobID, chunk, 10, 100, 1, 1))
	return s
}

func TestSegments(t *testing.T) {
	t.Parallel()
	l, db, p := migrated(t)
	conn := exec(t, db) // RegisterSegment has to work where nothing is described
	s := segment(t, l, conn, job, 0, "file:///d/app/events/a.parquet")
	segment(t, l, conn, job, 1, "file:///d/app/events/b.parquet")
	var got []ledger.Segment
	for x, err := range l.LiveSegments(t.Context(), "app", "events") {
		must(t, err)
		got = append(got, x)
	}
	if len(got) != 2 {
		t.Fatalf("%d segments", len(got))
	}
	s.CreatedAt, s.PartitionValues, s.PGTypes, s.Codec = got[0].CreatedAt, json.RawMessage("{}"), json.RawMessage("{}"), "zstd"
	if !reflect.DeepEqual(got[0], s) || !got[0].Live() {
		t.Errorf("read\n%+v\nwrote\n%+v", got[0], s)
	}
	dup := s
	dup.ID = uuid.New()
	var pe *pgconn.PgError
	if err := l.RegisterSegment(t.Context(), conn, dup); !errors.As(err, &pe) || pe.Code != "23505" {
		t.Errorf("one location twice: %v", err)
	}
	db.Super(t, `UPDATE spillway.segments SET restored_at = now(), restored_by = 'r', replaced_by = gen_random_uuid() WHERE chunk = 0`)
	if c, err := l.ColdTotals(t.Context(), "app", "events"); err != nil || c != (ledger.ColdTotals{Segments: 1, Rows: 10, Bytes: 100}) {
		t.Errorf("cold %+v, %v", c, err)
	}
	n := 0
	for x, err := range l.LiveSegments(t.Context(), "app", "events") {
		must(t, err)
		if x.Chunk != 1 {
			t.Errorf("a restored segment is live: %+v", x)
		}
		n++
		break // leaving the loop gives the connection back
	}
	old, err := l.SegmentByID(t.Context(), uuid.MustParse(pgtest.Value[string](t, db, `SELECT segment_id::text FROM spillway.segments WHERE chunk = 0`)))
	if err != nil || old.Live() || old.ReplacedBy == nil {
		t.Errorf("restored segment: %+v, %v", old, err)
	}
	places, err := l.ColdPlaces(t.Context())
	if want := (ledger.ColdPlace{Schema: "app", Table: "events", Storage: old.Storage, ColdTotals: ledger.ColdTotals{Segments: 1, Rows: 10, Bytes: 100}}); err != nil || len(places) != 1 || places[0] != want {
		t.Errorf("cold places %+v, %v; want %+v", places, err, want)
	}
	if n != 1 || p.Stat().AcquiredConns() != 0 {
		t.Errorf("%d segments, %d connections in use", n, p.Stat().AcquiredConns())
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	l, db, p := migrated(t)
	plan := func(generation, first, chunks int, rows int64) uuid.UUID {
		id := uuid.New()
		_, err := l.PutPlan(t.Context(), ledger.PlanRow{JobID: job, Generation: generation, RequestID: id, FirstChunk: first, Chunks: chunks, RowsEstimate: rows})
		must(t, err)
		return id
	}
	plan(1, 0, 10, 1000)
	segment(t, l, p, job, 0, "file:///d/app/events/p1/a.parquet")
	segment(t, l, p, job, 1, "file:///d/app/events/p12/b.parquet")
	req := plan(2, 10, 5, 70)
	segment(t, l, p, job, 11, "file:///d/app/events/p12/c.parquet")
	must(t, l.RecordFailure(t.Context(), ledger.Failure{JobID: job, Class: "lock", Message: "first"}))
	must(t, l.RecordFailure(t.Context(), ledger.Failure{JobID: job, Chunk: ptr(3), Attempt: 2, Class: "storage", SQLState: "XX000", Message: "a\x00b\xff"}))
	must(t, l.OpenAttempt(t.Context(), p, ledger.Attempt{ID: uuid.New(), JobID: "tried", Chunk: 0, Storage: "default", ObjectPrefix: "x"}))

	all, err := l.Progress(t.Context(), []string{job, "tried", "unknown"})
	must(t, err)
	want := ledger.Totals{Rows: 30, Bytes: 300, Segments: 3, ChunksDone: 3, Skipped: 1, Attempt: 12, Location: "file:///d/app/events/", Planned: true, Generation: 2,
		RequestID: req, ChunksTotal: 7, RowsEstimate: 90, Started: true, LastError: "a\uFFFDb\uFFFD", ErrorClass: "storage"}
	if all[job] != want {
		t.Errorf("progress\n%+v, want\n%+v", all[job], want)
	}
	if all["tried"] != (ledger.Totals{Attempt: 1, Started: true}) || all["unknown"] != (ledger.Totals{Attempt: 1}) || len(all) != 3 {
		t.Errorf("others: %+v", all)
	}
	one, err := l.Totals(t.Context(), job)
	if err != nil || one != want {
		t.Errorf("totals %+v, %v", one, err)
	}
	if f := pgtest.Value[string](t, db, `SELECT concat_ws(' ', class, chunk, attempt, sqlstate) FROM spillway.failures ORDER BY failure_id DESC LIMIT 1`); f != "storage 3 2 XX000" {
		t.Errorf("last failure %q", f)
	}
	c, found, err := l.ChunkRow(t.Context(), job, 11)
	if err != nil || !found || c.Rows != 10 || c.Skipped != 1 || c.Segments != 1 || c.Attempt != 12 {
		t.Errorf("chunk %+v, %v, %v", c, found, err)
	}
	if _, found, err := l.ChunkRow(t.Context(), job, 5); found || err != nil {
		t.Errorf("chunk that is not there: %v, %v", found, err)
	}
	if list, err := l.Chunks(t.Context(), job, 1); err != nil || len(list) != 2 || list[1].Chunk != 11 {
		t.Errorf("chunks %+v, %v", list, err)
	}
}

func TestHistory(t *testing.T) { // A33
	t.Parallel()
	l, _, _ := migrated(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 1000, time.UTC)
	h := ledger.HistoryRow{JobID: job, JobType: "flush", Schema: "app", Table: "events", Status: "completed", RowsTotal: ptr(int64(5)), RowsFlushed: 5, BytesWritten: 6, Segments: 7,
		ChunksDone: 8, ChunksTotal: ptr(int64(8)), RowsLeft: ptr(int64(0)), RowsSkipped: 1, Attempt: 2, Error: ptr("\x00"), ErrorClass: ptr("c"), Location: ptr("file:///d/"),
		RequestedBy: "u", Trigger: "policy", Schedule: "s", Statement: "FLUSH", CreatedAt: at, StartedAt: ptr(at), FinishedAt: at, CancelledAt: ptr(at), WorkflowID: "w", RunID: "r"}
	stored, err := l.InsertHistory(t.Context(), h)
	must(t, err)
	h.Error = ptr("\uFFFD")
	if !reflect.DeepEqual(utc(stored), h) {
		t.Errorf("stored\n%+v, want\n%+v", stored, h)
	}
	late := h
	late.Status = "cancelled"
	if stored, err = l.InsertHistory(t.Context(), late); err != nil || stored.Status != "completed" {
		t.Errorf("a later end: %s, %v", stored.Status, err)
	}
	for i, status := range []string{"failed", "cancelled", "completed"} {
		_, err := l.InsertHistory(t.Context(), ledger.HistoryRow{JobID: fmt.Sprint(i), JobType: "verify", Schema: "app", Table: "t", Status: status, CreatedAt: at.Add(time.Duration(i+1) * time.Hour)})
		must(t, err)
	}
	for _, c := range []struct {
		filter ledger.HistoryFilter
		want   string
	}{
		{ledger.HistoryFilter{}, "2 1 0 " + job},
		{ledger.HistoryFilter{Limit: 2}, "2 1"},
		{ledger.HistoryFilter{Statuses: []string{"completed", "failed"}}, "2 0 " + job},
		{ledger.HistoryFilter{JobType: "flush"}, job},
		{ledger.HistoryFilter{Schema: "app", Table: "t", Statuses: []string{"failed"}}, "0"},
		{ledger.HistoryFilter{Schema: "other"}, ""},
	} {
		rows, err := l.ListHistory(t.Context(), c.filter)
		must(t, err)
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.JobID)
		}
		if got := strings.Join(ids, " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.filter, got, c.want)
		}
	}
	if x, found, err := l.History(t.Context(), "0"); err != nil || !found || x.Attempt != 1 || x.FinishedAt.IsZero() || x.Trigger != "command" {
		t.Errorf("defaults: %+v, %v, %v", x, found, err)
	}
	if _, found, err := l.History(t.Context(), "nobody"); found || err != nil {
		t.Errorf("unknown job: %v, %v", found, err)
	}
}

func utc(h ledger.HistoryRow) ledger.HistoryRow {
	h.Recorded = false // TestHealth looks at it
	h.CreatedAt, h.FinishedAt = h.CreatedAt.UTC(), h.FinishedAt.UTC()
	h.StartedAt, h.CancelledAt = ptr(h.StartedAt.UTC()), ptr(h.CancelledAt.UTC())
	return h
}

func TestTables(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	must(t, l.RegisterTable(t.Context(), "app", "b"))
	must(t, l.RegisterTable(t.Context(), "app", "b"))
	at := time.Now().Truncate(time.Microsecond)
	must(t, l.TouchTable(t.Context(), "app", "b", at, "j2"))
	must(t, l.TouchTable(t.Context(), "app", "b", at.Add(-time.Hour), "j1"))
	must(t, l.TouchTable(t.Context(), "app", "a", at, "j3"))
	must(t, l.RegisterTable(t.Context(), "other", "c"))
	db.Super(t, `UPDATE spillway.tables SET policy = '{"rows": 5}' WHERE table_name = 'a'`)
	list, err := l.RegisteredTables(t.Context(), "app")
	must(t, err)
	if len(list) != 2 || list[0].Table != "a" || string(list[0].Policy) != `{"rows": 5}` || list[1].Policy != nil || *list[1].LastJobID != "j2" || !list[1].LastFlushAt.Equal(at) {
		t.Errorf("tables %+v", list)
	}
	if all, err := l.RegisteredTables(t.Context(), ""); err != nil || len(all) != 3 {
		t.Errorf("all tables: %d, %v", len(all), err)
	}
}

func TestStorages(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	if _, err := l.Storage(t.Context(), ""); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("no default storage: %v", err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if s, err := l.EnsureDefaultStorage(t.Context(), fmt.Sprintf("file:///%d", i)); err != nil || !s.IsDefault {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
	wg.Wait()
	first, err := l.Storage(t.Context(), "")
	must(t, err)
	again, err := l.EnsureDefaultStorage(t.Context(), "file:///other")
	if err != nil || again.Location != first.Location || again.Name != ledger.DefaultStorage || string(again.Options) != "{}" {
		t.Errorf("default storage moved: %+v, then %+v, %v", first, again, err)
	}
	db.Super(t, `INSERT INTO spillway.storages (name, location) VALUES ('archive', 's3://b/')`)
	if s, err := l.Storage(t.Context(), "archive"); err != nil || s.Location != "s3://b/" || s.IsDefault {
		t.Errorf("%+v, %v", s, err)
	}
	if all, err := l.Storages(t.Context()); err != nil || len(all) != 2 || !all[0].IsDefault {
		t.Errorf("%+v, %v", all, err)
	}
	must(t, l.Audit(t.Context(), ledger.AuditRow{User: "u", Statement: "KILL JOB 'x'", Outcome: "42704"}))
	must(t, l.Audit(t.Context(), ledger.AuditRow{User: "u", Statement: "FLUSH", JobID: job, Outcome: "started"}))
}
