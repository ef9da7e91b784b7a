package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// findings are what a job found, by address.
func (s session) findings(id string) map[string]map[string]any {
	s.t.Helper()
	out := map[string]map[string]any{}
	for _, r := range s.rows("SELECT location, kind, action, problem, segment_id::text, bytes FROM system.findings WHERE job_id = '" + id + "'") {
		out[r["location"].(string)] = r
	}
	return out
}

// startOne runs a statement that starts one job.
func (s session) startOne(sql string) string {
	s.t.Helper()
	rows := s.rows(sql)
	if len(rows) != 1 {
		s.t.Fatalf("%s: %v", sql, rows)
	}
	return rows[0]["job_id"].(string)
}

// VERIFY tells whole from damaged, missing and stray, through everything from SQL to the files.
func TestVerify(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "verified", 6000)
	s := u.owner(t)
	s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	segments := tb.segments()
	if len(segments) < 17 {
		t.Fatalf("%d segments are one chunk", len(segments))
	}
	whole := s.wait(s.startOne("VERIFY TABLE app.verified"), "completed")
	if found := s.findings(whole.ID); len(found) != 0 || whole.Rows != 0 || whole.Segments != 0 {
		t.Errorf("%+v, found %v", whole, found)
	}
	if row := s.rows("SELECT job_type, target, chunks_done, chunks_total, progress, rows_flushed, workflow_id FROM system.jobs WHERE job_id = '" + whole.ID + "'")[0]; row["job_type"] != "verify" ||
		row["target"] != "app.verified" || row["chunks_done"] != row["chunks_total"] || row["chunks_done"].(int64) < 2 || row["progress"] != 1.0 ||
		!strings.HasSuffix(row["workflow_id"].(string), "/verify/app.verified") {
		t.Errorf("system.jobs has %v", row)
	}

	// A stray alone is no failure.
	stray := filepath.Join(tb.dir(), "copy.parquet")
	data, err := os.ReadFile(strings.TrimPrefix(segments[0].Location, "file://"))
	must(t, err)
	must(t, os.WriteFile(stray, data, 0o640))
	id := s.startOne("VERIFY TABLE app.verified WITH (parallelism = 1, wait = true)")
	if found := s.findings(id); len(found) != 1 || found["file://"+stray]["kind"] != "stray" {
		t.Errorf("found %v", found)
	}
	must(t, os.Remove(stray))

	damaged, missing := strings.TrimPrefix(segments[3].Location, "file://"), strings.TrimPrefix(segments[15].Location, "file://")
	before, err := os.ReadFile(damaged)
	must(t, err)
	bad := append([]byte{}, before...)
	bad[len(bad)/3] ^= 4
	must(t, os.WriteFile(damaged, bad, 0o640))
	must(t, os.Rename(missing, missing+".away"))
	e := s.refused("VERIFY TABLE app.verified WITH (wait = true)")
	if e.Code != "XX001" || !strings.Contains(e.Message, "2 of ") || !strings.Contains(e.Message, segments[3].Location) || !strings.Contains(e.Hint, "system.findings") {
		t.Errorf("%s %s, hint %s", e.Code, e.Message, e.Hint)
	}
	j := s.rows("SELECT job_id, status, error_class FROM system.jobs WHERE target = 'app.verified' AND job_type = 'verify' ORDER BY created_at DESC LIMIT 1")[0]
	found := s.findings(j["job_id"].(string))
	if j["status"] != "failed" || j["error_class"] != "damaged" || len(found) != 3 { // the one that is away is stray
		t.Errorf("%v, found %v", j, found)
	}
	for _, c := range []struct{ location, kind, segment string }{
		{segments[3].Location, "damaged", segments[3].ID}, {segments[15].Location, "missing", segments[15].ID},
	} {
		if f := found[c.location]; f["kind"] != c.kind || f["segment_id"] != c.segment {
			t.Errorf("%s: %v", c.location, f)
		}
	}
	must(t, os.WriteFile(damaged, before, 0o640))
	must(t, os.Rename(missing+".away", missing))
	s.wait(s.startOne("VERIFY TABLE app.verified"), "completed")
	historyHasNo(t, u, "verify/app.verified", segments[3].Location, segments[15].Location) // an id may be there: that of the attempt, in a heartbeat
}

// historyHasNo checks that texts are in nothing that the embedded Temporal keeps, and that one is.
func historyHasNo(t *testing.T, u *up, known string, texts ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(u.dir, "temporal", "*"))
	must(t, err)
	seen := false
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		seen = seen || strings.Contains(string(data), known)
		for _, text := range texts {
			if strings.Contains(string(data), text) {
				t.Errorf("%s holds %q", file, text)
			}
		}
	}
	if !seen {
		t.Errorf("%q is not in %v either: this test looks in the wrong place", known, files)
	}
}

// A VERIFY can run while the table is being flushed, and does not keep a flush from starting.
func TestVerifyBesideAFlush(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "beside", 2000)
	s := u.super(t)
	s.wait(s.flush(tb, "WITH ("+small+") WHERE id <= 1000").id, "completed")
	gate := tb.gate("OLD.id = 1500")
	a := s.flush(tb, fire(small))
	gate.held(a.id, 1)
	v := s.wait(s.startOne("VERIFY TABLE app.beside"), "completed")
	if found := s.findings(v.ID); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	if c := s.wait(s.startOne("CLEANUP"), "completed"); c.ID == "" {
		t.Error("no cleanup")
	}
	gate.open()
	if j := s.wait(a.id, "completed"); j.Rows != 1000 {
		t.Errorf("%+v", j)
	}
}

// A34: kill -9 in the middle of a VERIFY. It goes on under its id.
func TestVerifyAfterKill(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	tb := u.table(t, "upkept", 6000)
	s := u.owner(t)
	s.wait(s.flush(tb, "WITH ("+small+") WHERE id <= 5900").id, "completed")
	if len(tb.segments()) < 17 {
		t.Fatalf("%d segments", len(tb.segments()))
	}
	// A lock holds the job: it cannot mark its chunks.
	lock := u.db.Connect(t, u.db.SuperURL)
	_, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE spillway.chunks IN EXCLUSIVE MODE")
	must(t, err)
	id := s.startOne("VERIFY TABLE app.upkept WITH (parallelism = 1)")
	await.Until(t, "a chunk is being checked", func() bool {
		return pgtest.Value[int](t, u.db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO \"spillway\".chunks%'") > 0
	})
	u.Kill()
	_, err = lock.Exec(t.Context(), "ROLLBACK")
	must(t, err)
	u.start()
	s = u.owner(t)
	if j := s.wait(id, "completed"); j.ID != id || len(s.findings(id)) != 0 {
		t.Errorf("%+v, found %v", j, s.findings(id))
	}
	u.Terminate()
}

// A planted orphan: its process was killed after the upload, and its job is over.
func TestCleanup(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "cleaned", 1000)
	s := u.super(t)
	s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	orphan := filepath.Join(tb.dir(), "2026-01-01T00-00-00.000Z-orphan-1.parquet")
	must(t, os.WriteFile(orphan, []byte("orphan"), 0o640))
	u.db.Super(t, `INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start)
		VALUES (gen_random_uuid(), 'flush:app.cleaned:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f', 0, 'default', 'app/cleaned/2026-01-01T00-00-00.000Z-orphan-1', 1, now())`)
	stray := filepath.Join(tb.dir(), "stray.parquet")
	must(t, os.WriteFile(stray, []byte("stray"), 0o640))

	out := product.MustRun(t, binary, nil, "cleanup", "--dry-run", "-o", "json", "--sql-url", u.through(u.db.SuperURL))
	var row struct{ Location, Kind, Action string }
	if err := json.Unmarshal([]byte(out), &row); err != nil || row.Location != "file://"+orphan || row.Kind != "leftover" || row.Action != "would_delete" {
		t.Errorf("cleanup --dry-run: %v, %s", err, out)
	}
	if found := s.findings(s.startOne("CLEANUP WITH (wait = true)")); len(found) != 1 || found["file://"+orphan]["action"] != "deleted" {
		t.Errorf("found %v", found)
	}
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("the orphan is there: %v", err)
	}
	e := s.refused("CLEANUP OBJECT '" + tb.segments()[0].Location + "' WITH (wait = true)")
	if e.Code != "55000" || !strings.Contains(e.Message, "registered as segment") {
		t.Errorf("%s %s", e.Code, e.Message)
	}
	if out := product.MustRun(t, binary, nil, "verify", "app.cleaned", "--wait", "-o", "json", "--sql-url", u.through(u.db.OwnerURL)); !strings.Contains(out, "file://"+stray) {
		t.Errorf("verify --wait: %s", out)
	}
	if out := product.MustRun(t, binary, nil, "cleanup", "file://"+stray, "--wait", "-o", "json", "--sql-url", u.through(u.db.SuperURL)); !strings.Contains(out, `"deleted"`) {
		t.Errorf("cleanup: %s", out)
	}
	row2 := s.rows("SELECT target, job_type, status FROM system.jobs WHERE job_type = 'cleanup' ORDER BY created_at LIMIT 1")[0]
	if row2["target"] != nil || row2["status"] != "completed" {
		t.Errorf("system.jobs has %v", row2)
	}
	u.Terminate()
}

// A34: kill -9 before the last commits, and then Temporal's store is lost: nobody goes on with the job. CLEANUP leaves no orphan, and
// the next flush takes the rows.
func TestCleanupAfterALostJob(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	tb := u.table(t, "lost_registered", 1000)
	gate := tb.close()
	s := u.super(t)
	a := s.flush(tb, "WITH ("+small+", parallelism = 2)")
	pids := gate.held(a.id, 2)
	u.Kill()
	if n := len(tb.objects()); n != 2 {
		t.Errorf("%d orphans", n)
	}
	stores, err := filepath.Glob(filepath.Join(u.dir, "temporal*"))
	must(t, err)
	if len(stores) == 0 {
		t.Fatal("no store of Temporal's")
	}
	for _, f := range stores {
		must(t, os.RemoveAll(f))
	}
	u.start()
	gate.open()
	await.Until(t, "the backends have noticed", func() bool { return gone(t, u.db, pids) })
	s = u.super(t)
	found := s.findings(s.startOne("CLEANUP WITH (wait = true)"))
	if len(found) != 2 || len(tb.objects()) != 0 || tb.hot() != 1000 {
		t.Errorf("found %v, %d objects left, %d rows hot", found, len(tb.objects()), tb.hot())
	}
	if j := s.wait(s.flush(tb, "WITH ("+small+")").id, "completed"); j.Rows != 1000 {
		t.Errorf("%+v", j)
	}
	u.Terminate()
}
