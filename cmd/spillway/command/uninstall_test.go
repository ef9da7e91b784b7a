package command

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// answer runs uninstall at a terminal where somebody types.
func answer(t *testing.T, typed string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	env := testEnv(&out, &errOut)
	env.Interactive = true
	env.Stdin = strings.NewReader(typed)
	code := Run(t.Context(), env, append([]string{"uninstall"}, args...))
	return result{code: code, out: out.String(), errOut: errOut.String()}
}

// A site that was used: nothing goes while it runs; afterwards both schemas go, and files and tables stay.
func TestUninstall(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events"}, []string{"CREATE TABLE app.events AS SELECT i AS id FROM generate_series(1, 3000) i"})
	if r := s.spillway(t, "flush", "app.events", "--where", "id <= 2000", "--with", "chunk_bytes=64kB", "--wait"); r.code != 0 {
		t.Fatal(r.errOut)
	}
	if r := s.spillway(t, "sql", "-c", "CREATE SCHEDULE nightly FOR VERIFY TABLE app.events CRON '0 3 * * *'"); r.code != 0 {
		t.Fatal(r.errOut)
	}
	s.db.Exec(t, "CREATE VIEW app.mine AS SELECT job_id FROM system.jobs")
	database := []string{"--database-url", s.db.WorkerURL}
	r := invoke(t, append([]string{"uninstall", "--yes"}, database...))
	if r.code != 1 {
		t.Errorf("while it runs: exit code %d", r.code)
	}
	mustContain(t, r.errOut, "spillway: uninstall: the ledger is in use: spillway from 127.0.0.1 (backend ", "hint: stop every `spillway up`")
	s.stop(t)

	if r = invoke(t, append([]string{"uninstall", "--yes"}, database...)); r.code != 1 {
		t.Errorf("below a view: exit code %d", r.code)
	}
	mustContain(t, r.errOut, "view app.mine depends on view system.jobs", "hint: drop them first, or give --cascade")
	manifest := filepath.Join(s.dir, "segments", "app", "events", "manifest.json")
	if err := os.WriteFile(manifest, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = answer(t, "n\n", append(database, "--cascade")...)
	if r.code != 0 || pgtest.Value[int](t, s.db, "SELECT count(*) FROM spillway.segments") == 0 {
		t.Errorf("answered no: exit code %d: %s", r.code, r.errOut)
	}
	mustContain(t, r.errOut, "--cascade also drops what depends on Spillway's:\n  view app.mine depends", "Remove the schemas spillway and system from the database "+s.db.Name, "nothing was removed\n")

	r = answer(t, "yes\n", append(database, "--cascade", "-o", "json")...)
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	mustContain(t, r.out, `{"table":"app.events","segments":`, `"rows":2000,`, `"manifest":"`+manifest+`"`)
	mustContain(t, r.errOut, "files stay where they are: 2 000 cold rows, ", "read_json('"+manifest+"')", "removed: schema spillway, schema system",
		"\n  temporal schedule delete --schedule-id "+show.ShellQuote(s.db.Name+"/schedule/nightly")+"\n", "\n  temporal workflow terminate --workflow-id "+show.ShellQuote(s.db.Name+"/scheduler")+"\n")
	if text, err := os.ReadFile(manifest); err != nil || !strings.Contains(string(text), `"rows": 2000`) {
		t.Errorf("the manifest was not written: %s, %v", text, err)
	}
	if n := pgtest.Value[int](t, s.db, "SELECT count(*) FROM app.events"); n != 1000 {
		t.Errorf("%d rows in the user's table, want 1000", n)
	}
	r = invoke(t, append([]string{"uninstall", "--yes"}, database...))
	if r.code != 0 {
		t.Errorf("the second time: exit code %d", r.code)
	}
	mustContain(t, r.errOut, `nothing to remove: the database has no schema "spillway" and none "system"`)
}

// installed makes a ledger that no process uses.
func installed(t *testing.T) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t)
	// As far as Temporal, which is not there: the ledger is made by then, and the process is gone.
	upOnce(t, "--database-url", db.WorkerURL, "--temporal-address", "127.0.0.1:1", "--storage", t.TempDir())
	return db
}

// uninstallErrors are rows of docs/errors.md.
func uninstallErrors() map[string]errorCase {
	after := func(sql string, flags ...string) errorCase {
		return func(t *testing.T) result {
			db := installed(t)
			db.Super(t, sql)
			return invoke(t, append([]string{"uninstall", "--yes", "--database-url", db.WorkerURL}, flags...))
		}
	}
	return map[string]errorCase{
		"no terminal to ask at": func(t *testing.T) result {
			return invoke(t, []string{"uninstall", "--database-url", "postgres://127.0.0.1:1/x"})
		},
		"a process of Spillway is connected": func(t *testing.T) result {
			db := installed(t)
			db.Connect(t, changed(t, db.WorkerURL, func(u *url.URL) { u.RawQuery += "&application_name=spillway" }))
			return invoke(t, []string{"uninstall", "--yes", "--database-url", db.WorkerURL})
		},
		"jobs have not ended":          after("INSERT INTO spillway.claims VALUES ('app', 'events', 'flush:app.events:1')"),
		"a view of yours upon ours":    after("CREATE VIEW app.mine AS SELECT job_id FROM system.jobs"),
		"a table of yours upon ours":   after("CREATE TABLE app.t (j system.jobs)", "--cascade"),
		"a table of yours among ours":  after("CREATE TABLE system.mine (id int)"),
		"a storage on another machine": after(elsewhere),
		"a ledger that is somebody's":  after("COMMENT ON SCHEMA spillway IS 'mine'"),
	}
}

// What is in the way, and what the answer is.
func TestUninstallRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sql string
		flags     []string
		code      int
		err       []string
	}{
		{"a foreign system", "DROP SCHEMA system CASCADE; CREATE SCHEMA system; CREATE TABLE system.theirs (id int)", nil, 0,
			[]string{`schema "system" is not Spillway's and stays as it is: it holds objects that are not Spillway's`, "removed: schema spillway\n"}},
		{"a foreign ledger", "COMMENT ON SCHEMA spillway IS 'mine'", nil, 1, []string{`schema "spillway" cannot be used`, "hint: Rename it"}},
		{"a job", "INSERT INTO spillway.claims VALUES ('app', 'events', 'flush:app.events:1')", nil, 1,
			[]string{"jobs have not ended: flush:app.events:1", "--abandon-jobs"}},
		{"a job that was given up", "INSERT INTO spillway.claims VALUES ('app', 'events', 'flush:app.events:1')", []string{"--abandon-jobs"}, 0, []string{"removed: "}},
		{"a storage elsewhere", elsewhere, nil, 1, []string{"the storage default (file:///srv/elsewhere) is not on this machine", "--keep-manifests"}},
		{"a storage elsewhere, as it is", elsewhere, []string{"--keep-manifests"}, 0, []string{"removed: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := installed(t)
			db.Super(t, c.sql)
			r := invoke(t, append([]string{"uninstall", "--yes", "--database-url", db.WorkerURL}, c.flags...))
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			mustContain(t, r.errOut, c.err...)
			left := pgtest.Value[bool](t, db, "SELECT to_regnamespace('spillway') IS NOT NULL")
			if left != (c.code != 0) {
				t.Errorf("schema spillway is there: %v", left)
			}
		})
	}
}

const elsewhere = `
	INSERT INTO spillway.storages (name, location, is_default) VALUES ('default', 'file:///srv/elsewhere', true)
		ON CONFLICT (name) DO UPDATE SET location = excluded.location;
	INSERT INTO spillway.segments (segment_id, job_id, chunk, attempt, table_schema, table_name, leaf, storage, location, row_count, bytes, sha256, schema_version)
	VALUES (gen_random_uuid(), 'j', 0, gen_random_uuid(), 'app', 'events', 'app.events', 'default', 'file:///srv/elsewhere/x.parquet', 1, 1, '', 1)`
