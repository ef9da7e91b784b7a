package command

import (
	"bytes"
	"testing"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// A word too few must not kill all jobs, nor the wrong ones.
func TestJobsKillUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"jobs", "kill"}, "a job id is missing"},
		{[]string{"jobs", "kill", "--dry-run"}, "--where is missing or empty"},
		{[]string{"jobs", "kill", "--where", ""}, "--where true takes all live jobs"},
		{[]string{"jobs", "kill", "--where", "", "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"}, "--where is missing or empty"},
		{[]string{"jobs", "kill", "--where", "true", "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"}, "both ids and --where"},
		{[]string{"jobs", "kill", "--dry-run", "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"}, "--where is missing or empty"},
	} {
		r := invoke(t, c.args)
		if r.code != 2 {
			t.Errorf("%q: exit code %d", c.args, r.code)
		}
		mustContain(t, r.errOut, c.says)
	}
}

// A job that matched and could not be killed makes the command fail; all rows are printed.
func TestErrorsSink(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &errorsSink{Sink: &show.JSON{W: &out}}
	if err := s.Begin([]show.Column{{Name: "job_id"}, {Name: "status"}, {Name: "error"}}); err != nil {
		t.Fatal(err)
	}
	for _, row := range [][][]byte{{[]byte("a"), []byte("cancelling"), nil}, {[]byte("b"), []byte("running"), []byte("permission denied")}} {
		if err := s.Row(row); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.errors) != 1 || s.errors[0].Error() != "b: permission denied" {
		t.Errorf("%v", s.errors)
	}
	mustContain(t, out.String(), `"job_id":"a"`, `"job_id":"b"`)
}

func TestPredicateFunctionsFlag(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"app.is_stale(timestamptz)": true, `app."Odd Name"(int, text[])`: true, "app.f()": true, `"a b".f(app.t)`: true,
		"is_stale(timestamptz)": false, "app.is_stale": false, "": false, "app.(int)": false, "app.f(int": false, ".f()": false,
	} {
		if err := checkFunctions([]string{text}); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	r := invoke(t, []string{"up", "--predicate-functions", "is_stale"})
	if r.code != 2 {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, r.errOut, "expected schema.name(types)", "hint: for example")
}

// A schema system that is somebody else's is left alone: other names do, in every command.
func TestOtherSchemaNames(t *testing.T) {
	t.Parallel()
	s := &site{db: pgtest.Database(t), dir: t.TempDir()}
	s.db.Super(t, "CREATE SCHEMA system", "CREATE TABLE system.jobs (id int)")
	s.db.Exec(t, "CREATE TABLE app.events AS SELECT generate_series(1, 10) AS id")
	s.db.Super(t, "GRANT USAGE ON SCHEMA app TO "+s.db.Worker, "GRANT SELECT, UPDATE, DELETE ON app.events TO "+s.db.Worker)
	args := append([]string{"up", "--database-url", s.db.WorkerURL, "--data-dir", s.dir, "--ledger-schema", "cold", "--system-schema", "Cold Views"}, anyPorts...)
	s.server = startServer(t, args...)
	s.db.Super(t, `GRANT USAGE ON SCHEMA "Cold Views" TO `+s.db.Owner, `GRANT SELECT ON ALL TABLES IN SCHEMA "Cold Views" TO `+s.db.Owner)
	s.url = throughFront(t, s.dir, s.db.OwnerURL)
	for _, c := range []struct {
		args []string
		out  string
	}{
		{[]string{"flush", "app.events", "--wait"}, "completed"},
		{[]string{"jobs", "list", "--all"}, "completed"},
		{[]string{"jobs", "kill", "--where", "status = 'running'"}, "(0 rows)"},
		{[]string{"jobs", "kill", "--dry-run", "--where", `"Cold Views".jobs.rows_flushed > 0`}, "(0 rows)"},
		{[]string{"sql", "-c", `SELECT status, ui_url FROM "Cold Views".jobs`}, "/namespaces/default/workflows/"},
		{[]string{"sql", "-c", `SELECT status FROM "Cold Views".workers`}, "running"},
	} {
		r := s.spillway(t, c.args...)
		if r.code != 0 {
			t.Errorf("%q: exit code %d: %s", c.args, r.code, r.errOut)
		}
		mustContain(t, r.out, c.out)
	}
}
