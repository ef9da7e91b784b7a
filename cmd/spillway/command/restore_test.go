package command

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestRestoreStatement(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]restoreOptions{
		"RESTORE TABLE app.t": {},
		"RESTORE TABLE app.t FROM JOB 'flush:app.t:x' WITH (on_conflict = 'skip', drop_columns = (a, b)) WHERE id > 5": {
			fromJob: "flush:app.t:x", onConflict: "skip", with: []string{"drop_columns=(a, b)"}, where: "id > 5"},
		"RESTORE TABLE app.t FROM JOB 'it''s'": {fromJob: "it's"},
	} {
		if got, err := o.statement("app.t"); err != nil || got != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	if _, err := (&restoreOptions{with: []string{"x"}}).statement("app.t"); err == nil {
		t.Error("--with x: no error")
	}
}

// A18: the commands, with the rights that `spillway grants --restore` prints.
func TestRestoreCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events"}, []string{"CREATE TABLE app.events AS SELECT i AS id, 'n' || i AS note FROM generate_series(1, 500) i"})
	r := invoke(t, []string{"grants", "--restore", "--database-url", s.db.OwnerURL, "--role", s.db.Worker, "--operators=false", "--for", "app.events"})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	must(t, s.db.Connect(t, s.db.SuperURL), r.out)
	hot := func() int { return pgtest.Value[int](t, s.db, "SELECT count(*) FROM app.events") }
	if r := s.spillway(t, "flush", "app.events", "--wait"); r.code != 0 || hot() != 0 {
		t.Fatal(r.errOut)
	}
	if r := s.spillway(t, "restore", "app.events", "--where", "id <= 120", "--wait"); r.code != 0 || hot() != 120 {
		t.Fatalf("%d rows hot\n%s%s", hot(), r.out, r.errOut)
	} else {
		mustContain(t, r.out, "restore:app.events:", "completed", "120")
	}
	s.db.Exec(t, "CREATE UNIQUE INDEX ON app.events (id)", "INSERT INTO app.events VALUES (200, 'mine')")
	if r := s.spillway(t, "restore", "app.events", "--wait"); r.code != 1 || hot() != 121 {
		t.Errorf("exit code %d, %d rows hot", r.code, hot())
	} else {
		mustContain(t, r.errOut, "failed (data)", "on_conflict = skip")
	}
	if r := s.spillway(t, "restore", "app.events", "--on-conflict", "skip", "--wait"); r.code != 0 || hot() != 500 {
		t.Errorf("%d rows hot\n%s", hot(), r.errOut)
	}
	if r := s.spillway(t, "cat", "app.events"); r.out != "id,note\n200,n200\n" {
		t.Errorf("cold: %q", r.out)
	}
}
