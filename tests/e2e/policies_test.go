package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/workflows"
)

// noticed is how late a flush may start after it became due, on a machine that runs many tests at once.
const noticed = 4 * time.Second

// setPolicy sets a policy of a table.
func (tb *table) setPolicy(json string) {
	tb.t.Helper()
	tb.u.db.Super(tb.t, fmt.Sprintf(`INSERT INTO spillway.tables (table_schema, table_name) VALUES ('%[1]s', '%[2]s') ON CONFLICT DO NOTHING`, tb.schema, tb.name),
		fmt.Sprintf(`UPDATE spillway.tables SET policy = '%[3]s', policy_set_at = clock_timestamp(), policy_set_by = 'ann', policy_statement = 'ALTER TABLE %[1]s.%[2]s …'
			WHERE table_schema = '%[1]s' AND table_name = '%[2]s'`, tb.schema, tb.name, json))
}

// begun lists the jobs that a table's policy started, oldest first.
func (tb *table) begun() []string {
	tb.t.Helper()
	conn := tb.u.db.Connect(tb.t, tb.u.db.SuperURL)
	defer conn.Close(tb.t.Context())
	rows, err := conn.Query(tb.t.Context(), "SELECT job_id FROM spillway.job_history WHERE table_name = $1 AND trigger = 'policy' ORDER BY created_at", tb.name)
	must(tb.t, err)
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		must(tb.t, rows.Scan(&id))
		ids = append(ids, id)
	}
	must(tb.t, rows.Err())
	return ids
}

// flushes waits until n jobs of the table's policy have ended, and returns when the last of them was asked for, by the server's clock.
func (tb *table) flushes(n int) time.Time {
	tb.t.Helper()
	await.Until(tb.t, fmt.Sprintf("%d flushes of %s by its policy have ended", n, tb), func() bool { return len(tb.begun()) >= n })
	return pgtest.Value[time.Time](tb.t, tb.u.db, "SELECT created_at FROM spillway.job_history WHERE job_id = $1", tb.begun()[n-1])
}

// A40, A41, A42, A43, A44: intervals, thresholds, both, and neither, with the whole product and in real time.
func TestPolicies(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	interval, rows, both, below := u.table(t, "interval", 100), u.table(t, "by_rows", 100), u.table(t, "both", 100), u.table(t, "below", 99)
	set := time.Now()
	interval.setPolicy(`{"interval": "3s"}`)
	rows.setPolicy(`{"rows": 200}`)
	both.setPolicy(`{"rows": 200, "interval": "6s"}`)
	below.setPolicy(`{"rows": 100, "interval": "1h"}`)

	if wait := interval.flushes(1).Sub(set); wait < 3*time.Second-100*time.Millisecond || wait > 3*time.Second+noticed { // A40
		t.Errorf("the interval's flush started after %s", wait)
	}
	rows.insert(101, 200)
	passed := time.Now()
	if late := rows.flushes(1).Sub(passed); late > noticed { // A41
		t.Errorf("the threshold was noticed after %s", late)
	}
	if wait := both.flushes(1).Sub(set); wait < 6*time.Second-100*time.Millisecond { // A42: by interval, with half of the rows
		t.Errorf("the interval's flush started after %s", wait)
	}
	both.insert(101, 300)
	passed = time.Now()
	if late := both.flushes(2).Sub(passed); late > noticed { // A42: by rows, long before the interval
		t.Errorf("the threshold was noticed after %s", late)
	}
	// A43: a flush that somebody asked for begins both anew.
	s := u.super(t)
	both.insert(301, 400)
	manual := s.wait(s.flush(both, "").id, "completed")
	both.insert(401, 599)
	if wait := both.flushes(3).Sub(*manual.FinishedAt); wait < 6*time.Second-100*time.Millisecond {
		t.Errorf("199 rows and %s after the manual flush, a flush started", wait)
	}
	for _, tb := range []*table{interval, rows, both} {
		if n := tb.hot(); n != 0 {
			t.Errorf("%s has %d rows left", tb, n)
		}
	}
	if n := len(below.begun()) + len(below.objects()); n != 0 { // A44
		t.Errorf("%d jobs and files below the threshold", n)
	}
	if n := len(interval.begun()); n != 1 { // A44: without rows there is nothing to do
		t.Errorf("%d flushes of a table without rows", n)
	}
	j := s.rows("SELECT trigger, requested_by, statement FROM system.jobs WHERE job_id = '" + rows.begun()[0] + "'")[0]
	if j["trigger"] != "policy" || j["requested_by"] != "ann" || j["statement"] == "" {
		t.Errorf("the job says %v", j)
	}
	if n := len(s.rows("SELECT FROM system.jobs WHERE target NOT LIKE 'app.%'")); n != 0 {
		t.Errorf("%d jobs of no table: the scheduler is none", n)
	}
	// One that somebody terminates begins anew.
	c, err := sdk.Dial(sdk.Options{HostPort: u.info.TemporalAddress, Namespace: u.info.Namespace})
	must(t, err)
	defer c.Close()
	id := workflows.SchedulerID(workflows.TaskQueue(u.db.Name))
	must(t, c.TerminateWorkflow(t.Context(), id, "", "by hand"))
	rows.insert(201, 400)
	rows.flushes(2)
	u.Terminate()
}

// A45: kill -9 before a flush is due, and a start after it would have been: it happens, once.
func TestPolicyAfterARestart(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tb := u.table(t, "due", 100)
	tb.setPolicy(`{"interval": "8s"}`)
	set := time.Now()
	u.Kill()
	await.Until(t, "the flush would have been due", func() bool { return time.Since(set) > 9*time.Second })
	if n := len(tb.begun()); n != 0 {
		t.Fatalf("%d flushes while nothing ran", n)
	}
	u.start()
	tb.flushes(1)
	if n := tb.hot(); n != 0 || len(tb.begun()) != 1 {
		t.Errorf("%d rows left after %d flushes", n, len(tb.begun()))
	}
	u.Terminate()
}

// A flush that keeps failing rests and tells why; a graceful stop that is to flush first leaves no row behind.
func TestFailingPolicyAndLastFlush(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--policy-backoff", "2s", "--flush-on-shutdown", "--attempts", "1")
	bad, good, last := u.table(t, "bad", 10), u.table(t, "good", 10), u.table(t, "last", 10)
	bad.setPolicy(`{"rows": 1, "flush": {"where": "1 / (id - 5) > -10"}}`)
	good.setPolicy(`{"rows": 5}`)
	last.setPolicy(`{"rows": 1000}`)
	good.flushes(1)
	await.Until(t, "the failing table rests", func() bool {
		return pgtest.Value[int](t, u.db, "SELECT policy_failures FROM spillway.tables WHERE table_name = 'bad'") >= 2
	})
	if text := pgtest.Value[string](t, u.db, "SELECT policy_error || policy_error_class || (policy_next_try IS NOT NULL) FROM spillway.tables WHERE table_name = 'bad'"); !strings.HasSuffix(text, "ERROR: division by zero (SQLSTATE 22012)datatrue") {
		t.Errorf("it says %q", text)
	}
	good.insert(11, 20)
	good.flushes(2)
	u.db.Super(t, "UPDATE spillway.tables SET policy_paused_at = now() WHERE table_name = 'bad'")
	u.Terminate()
	if n := last.hot(); n != 0 {
		t.Errorf("%d rows are left after the last flush", n)
	}
	if n := bad.hot(); n != 10 {
		t.Errorf("the paused table has %d rows", n)
	}
	if len(u.Err.Lines("tables flushed before the stop: 1")) != 1 {
		t.Errorf("it said %s", u.Err.Tail(1500))
	}
}
