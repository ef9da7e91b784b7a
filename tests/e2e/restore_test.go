package e2e

import (
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// mayRestore runs, as the superuser, what `spillway grants --restore` prints for the table.
func (tb *table) mayRestore() {
	tb.t.Helper()
	script := product.MustRun(tb.t, binary, nil, "grants", "--restore", "--database-url", tb.u.db.SuperURL, "--role", tb.u.db.Worker, "--reader", tb.u.db.Owner, "--for", tb.String())
	granting.Lock()
	defer granting.Unlock()
	tb.u.db.Super(tb.t, script)
}

// A18: from psql, a flush, a restore of some rows and one of the rest give the identical table.
func TestRestoreByPsql(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not on this machine: install postgresql-client to run this test")
	}
	u := shared(t)
	tb := u.table(t, "by_psql", 2000)
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command(psql, "-X", "-At", "-v", "VERBOSITY=terse", "-d", u.through(u.db.OwnerURL))
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	before := audit.Hot(t, u.db.SuperURL, tb.schema, tb.name, "")
	if out := run("FLUSH TABLE app.by_psql WITH (wait, " + small + ");\nSELECT count(*) FROM app.by_psql;\n"); !strings.Contains(out, "|completed|f|app.by_psql|\n0\n") {
		t.Fatalf("flush: %s", out)
	}
	// Without the right to insert there is no job.
	if out := run("RESTORE TABLE app.by_psql;\n"); !strings.Contains(out, "lacks INSERT") {
		t.Errorf("without INSERT: %s", out)
	}
	tb.mayRestore()
	out := run("RESTORE TABLE app.by_psql WITH (wait) WHERE tenant = 3 OR note IS NULL;\n" +
		"SELECT count(*) FILTER (WHERE tenant <> 3 AND note IS NOT NULL), count(*) FROM app.by_psql;\n" +
		"SELECT job_type, status, rows_flushed, rows_left IS NULL FROM system.jobs WHERE target = 'app.by_psql' ORDER BY created_at DESC LIMIT 1;\n" +
		"SELECT count(*), sum(row_count) FROM system.segments WHERE table_name = 'by_psql' AND restored_at IS NULL AND replaced_at IS NULL;\n")
	some := pgtest.Value[int](t, u.db, "SELECT count(*) FROM app.by_psql")
	for _, want := range []string{"restore:app.by_psql:", fmt.Sprintf("\n0|%d\n", some), fmt.Sprintf("\nrestore|completed|%d|t\n", some), fmt.Sprintf("|%d\n", 2000-some)} {
		if !strings.Contains(out, want) || some == 0 || some == 2000 {
			t.Errorf("no %q after restoring %d rows:\n%s", want, some, out)
		}
	}
	if out := run("RESTORE TABLE app.by_psql WITH (wait);\nSHOW COLD TABLE app.by_psql;\n"); !strings.Contains(out, "|completed|f|app.by_psql|") || strings.Contains(out, ".parquet") {
		t.Errorf("the rest: %s", out)
	}
	if after := audit.Hot(t, u.db.SuperURL, tb.schema, tb.name, ""); !maps.Equal(after, before) {
		t.Errorf("the table differs: %d rows, were %d", after.Count(), before.Count())
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.audit WHERE statement LIKE 'RESTORE TABLE app.by_psql%' AND outcome = 'started'"); n != 2 {
		t.Errorf("%d restores in the audit, want 2", n)
	}
}

// gateInserts closes a gate before those rows for which the condition over NEW holds. The restore has to fire triggers.
func (tb *table) gateInserts(condition string) *gate {
	tb.t.Helper()
	function := fmt.Sprintf("app.gate_of_%s", tb.name)
	tb.u.db.Super(tb.t, "CREATE FUNCTION "+function+`() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			WHILE NOT pg_try_advisory_xact_lock_shared(7, hashtext(TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME)) LOOP PERFORM pg_sleep(0.005); END LOOP;
			RETURN NEW;
		END $$`, fmt.Sprintf("CREATE TRIGGER gate_in BEFORE INSERT ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION %s()", tb, condition, function))
	return tb.close()
}

// halfRestored starts a restore and proves that it is in its middle: two segments are held, others are back.
func halfRestored(t *testing.T, u *up, name string) (tb *table, g *gate, id string, pids []int32) {
	t.Helper()
	tb = u.table(t, name, middleRows)
	tb.mayRestore()
	s := u.super(t)
	s.wait(s.flush(tb, "WITH ("+small+")").id, "completed")
	g = tb.gateInserts("NEW.id >= 2000")
	id = s.startedBy("RESTORE TABLE " + tb.String() + " " + fire("parallelism = 2")).id
	pids = g.held(id, 2)
	if hot := tb.hot(); hot == 0 || hot >= middleRows {
		t.Fatalf("not the middle: %d rows hot", hot)
	}
	return tb, g, id, pids
}

// A34: kill -9 of the process in the middle of a restore, and a restart: the same job completes.
func TestKillNineInRestore(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	tb, g, id, pids := halfRestored(t, u, "back_crashed")
	u.Kill()
	u.start()
	g.open()
	s := u.super(t)
	if j := s.wait(id, "completed"); j.Rows != middleRows || tb.hot() != middleRows || len(tb.segments()) != 0 {
		t.Errorf("%+v, %d rows hot, %d segments", j, tb.hot(), len(tb.segments()))
	}
	if !gone(t, u.db, pids) {
		t.Error("a backend of the dead process is still there")
	}
	u.Terminate()
}

// A26, A62: a restore is killed in its middle; its backends are gone, what is not back is cold, and a flush could not come between.
func TestKillRestore(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb, g, id, pids := halfRestored(t, u, "back_killed")
	s := u.super(t)
	if e := s.refused("FLUSH TABLE " + tb.String()); e.Code != "55006" || !strings.Contains(e.Message, id) {
		t.Errorf("a flush beside a restore: %s %s", e.Code, e.Message)
	}
	s.rows("KILL JOB '" + id + "'")
	j := s.wait(id, "cancelled")
	await.Until(t, "the backends are gone", func() bool { return gone(t, u.db, pids) })
	if hot := tb.hot(); hot != j.Rows || hot == 0 || hot >= middleRows {
		t.Errorf("%d rows hot, the job says %d", hot, j.Rows)
	}
	audit.Check(t, u.db.SuperURL, tb.schema, tb.name, tb.want)
	g.open()
	again := s.startedBy("RESTORE TABLE " + tb.String() + " " + fire("wait = true"))
	if again.status != "completed" || tb.hot() != middleRows {
		t.Errorf("the next restore: %+v, %d rows hot", again, tb.hot())
	}
}
