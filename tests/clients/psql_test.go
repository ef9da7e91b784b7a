package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// psql runs psql over a script. Errors do not end it.
func psql(t *testing.T, env []string, address, script string, args ...string) string {
	t.Helper()
	// Standard output and errors in one stream, line by line, in the order in which psql writes them.
	shell := []string{"-c", `"$@" 2>&1; true`, "sh", "stdbuf", "-oL", find(t, "psql", "postgresql-client"), "-X", "-d", address}
	return commandIn(t, append(env, "LC_ALL=C.UTF-8"), script, "sh", append(shell, args...)...)
}

func psqlScene(t *testing.T, r *rig, name string) string {
	text, err := os.ReadFile(script("scene.psql"))
	must(t, err)
	dir := t.TempDir()
	out := psql(t, []string{"SCENE_DIR=" + dir}, r.through(t, r.db.OwnerURL), string(text), "-A", "-t", "-q", "-F", " ", "-v", "name="+name, "-v", "dir="+dir, "-v", "VERBOSITY=terse")
	// The script has said what it thinks of the errors, and only one notice belongs to the scene.
	out = strings.ReplaceAll(out, "NOTICE:  hello", "notice hello")
	return regexp.MustCompile(`(?m)^((ERROR|NOTICE): .*)?\n`).ReplaceAllString(out, "")
}

// majorOf is the major version of one of PostgreSQL's programs.
func majorOf(t *testing.T, program string) int {
	t.Helper()
	major, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(command(t, program, "--version")))
	must(t, err)
	return major
}

// psqlBind plays psql's extended protocol, which version 16 has.
func psqlBind(t *testing.T, r *rig) {
	major := majorOf(t, find(t, "psql", "postgresql-client-16"))
	if major < 16 {
		t.Skipf("psql %d has no \\bind: install a psql of version 16 or newer to run this test", major)
	}
	got := psql(t, nil, r.through(t, r.db.OwnerURL), `
SELECT $1::int + 1 \bind 41 \g
SELECT count(*) FROM system.jobs WHERE target = $1 \bind app.none \g
\set VERBOSITY sqlstate
KILL JOB $1 \bind 'flush:app.x:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f' \g
`, "-A", "-t")
	if got != "42\n0\nERROR:  42704\n" {
		t.Errorf("got %s", got)
	}
}

// sameOutput lets psql run a script directly and through the front-end. Only process ids may differ.
func sameOutput(t *testing.T, r *rig) {
	text, err := os.ReadFile(script("same.psql"))
	must(t, err)
	run := func(through bool) string {
		db := pgtest.DatabaseOn(t, r.db.Server)
		address := db.OwnerURL
		if through {
			address = r.through(t, address)
		}
		dir := t.TempDir()
		out := psql(t, []string{"SCENE_DIR=" + dir}, address, string(text), "-v", "dir="+dir)
		for name, stands := range map[string]string{db.Name: "DATABASE", db.Owner: "OWNER", dir: "DIR"} {
			out = strings.ReplaceAll(out, name, stands)
		}
		out = regexp.MustCompile(`(PID|lo_import) \d+`).ReplaceAllString(out, "$1")
		return out
	}
	direct, proxied := run(false), run(true)
	if direct == proxied && strings.Count(direct, "\n") > 1000 {
		return
	}
	a, b := strings.Split(direct, "\n"), strings.Split(proxied, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("line %d: direct\n%s\nthrough the front-end\n%s", i+1,
				strings.Join(a[max(0, i-5):min(len(a), i+5)], "\n"), strings.Join(b[max(0, i-5):min(len(b), i+5)], "\n"))
		}
	}
	t.Fatalf("%d lines directly, %d through the front-end", len(a), len(b))
}

// pgbench runs in all its modes, on its own tables and on our views.
func pgbench(t *testing.T, r *rig) {
	bench := find(t, "pgbench", "postgresql-contrib")
	db := pgtest.DatabaseOn(t, r.db.Server)
	address := r.through(t, db.OwnerURL)
	db.Super(t, "ALTER ROLE "+db.Owner+" SET search_path = app")
	command(t, bench, "-i", "-q", "-s", "1", address)
	jobs := filepath.Join(t.TempDir(), "jobs.sql")
	must(t, os.WriteFile(jobs, []byte("\\set n random(1, 5)\nSELECT count(*) FROM system.jobs WHERE attempt = :n;\nSHOW JOBS;\nBEGIN;\nSELECT 1;\nSHOW JOBS;\nEND;\n"), 0o600))
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for what, args := range map[string][]string{
			"its own": {"-n", address}, "select only": {"-n", "-S", address}, "ours": {"-n", "-f", jobs, r.through(t, r.db.OwnerURL)},
		} {
			out := command(t, bench, append([]string{"-M", mode, "-c", "4", "-j", "2", "-t", "10"}, args...)...)
			if !strings.Contains(out, "40/40") {
				t.Errorf("%s, %s: %s", mode, what, out)
			}
		}
	}
}

// dump compares what pg_dump writes, and what a session of the replication protocol is told, which is passed on without a
// look.
func dump(t *testing.T, r *rig) {
	pgDump := find(t, "pg_dump", "postgresql-client")
	db := pgtest.DatabaseOn(t, r.db.Server)
	db.Exec(t, "CREATE TABLE app.t (id int PRIMARY KEY, note text)", "INSERT INTO app.t SELECT i, repeat('ü', i % 100) FROM generate_series(1, 5000) i",
		"CREATE VIEW app.v AS SELECT * FROM app.t", "COMMENT ON VIEW app.v IS 'FLUSH TABLE app.t; KILL'")
	if mine, its := majorOf(t, pgDump), pgtest.Value[int](t, r.db, "SELECT current_setting('server_version_num')::int / 10000"); mine < its {
		t.Skipf("pg_dump %d does not dump PostgreSQL %d: install its own to run this test", mine, its)
	}
	restrict := regexp.MustCompile(`(?m)^\\(un)?restrict .*$`) // a random word
	run := func(address string) string {
		out := command(t, pgDump, "-n", "app", "-d", address)
		return restrict.ReplaceAllString(out, "")
	}
	if direct, proxied := run(db.OwnerURL), run(r.through(t, db.OwnerURL)); direct != proxied || len(direct) < 100_000 {
		t.Errorf("pg_dump writes %d bytes directly, %d through the front-end", len(direct), len(proxied))
	}
	replication := func(address string) string {
		return psql(t, nil, address+"&replication=database", "IDENTIFY_SYSTEM;\nSHOW server_version;\nCREATE_REPLICATION_SLOT x TEMPORARY PHYSICAL;\nSELECT 1;\nSHOW JOBS;\n", "-A")
	}
	positions := regexp.MustCompile(`\|[0-9A-F]+/[0-9A-F]+\|`)
	direct, proxied := replication(db.SuperURL), replication(r.through(t, db.SuperURL))
	if positions.ReplaceAllString(direct, "") != positions.ReplaceAllString(proxied, "") {
		t.Errorf("replication: direct\n%s\nthrough the front-end\n%s", direct, proxied)
	}
}

// views reads system.jobs in the ways in which people do.
func views(t *testing.T, r *rig) {
	got := psql(t, nil, r.through(t, r.db.OwnerURL), `
\set VERBOSITY terse
SELECT count(*) >= 0 AS plain FROM system.jobs;
SELECT 1 AS a \; SELECT count(*) >= 0 AS among_others FROM system.jobs \; SELECT 2 AS b;
BEGIN \; SELECT count(*) >= 0 AS in_a_block FROM system.jobs \; COMMIT;
SELECT count(*) >= 0 FROM system.jobs \; SHOW JOB 'x' \; SELECT 3;
COPY (SELECT count(*) >= 0 FROM system.jobs) TO STDOUT;
\copy (SELECT count(*) >= 0 FROM system.jobs) TO STDOUT
EXPLAIN (COSTS OFF) SELECT FROM system.jobs LIMIT 0;
CREATE TEMP TABLE kept AS SELECT * FROM system.jobs;
INSERT INTO kept SELECT * FROM system.jobs WHERE false;
WITH j AS (SELECT * FROM system . "jobs") SELECT count(*) >= 0 AS cte FROM j;
(SELECT count(*) >= 0 AS parentheses FROM system.jobs);
SELECT count(*) >= 0 AS joined FROM system.jobs j JOIN pg_catalog.pg_class c ON c.oid = to_regclass(j.target);
\set FETCH_COUNT 1
SELECT count(*) >= 0 AS portions FROM system.jobs;
\set FETCH_COUNT 0
BEGIN;
DECLARE c CURSOR FOR SELECT count(*) >= 0 AS by_cursor FROM system.jobs UNION ALL SELECT false;
FETCH 1 FROM c;
FETCH 1 FROM c;
COMMIT;
DECLARE c CURSOR WITH HOLD FOR SELECT count(*) >= 0 AS held FROM system.jobs;
FETCH c;
CLOSE c;
DECLARE c CURSOR FOR SELECT * FROM system.jobs;
PREPARE p AS SELECT count(*) >= 0 AS prepared FROM system.jobs;
EXECUTE p;
DO $$BEGIN PERFORM FROM system.jobs; RAISE NOTICE 'done'; END$$;
SELECT 1/0 FROM system.jobs UNION ALL SELECT 1/0;
SELECT nonsense FROM system.jobs;
BEGIN;
SELECT 1/0;
SELECT * FROM system.jobs;
ROLLBACK;
ROLLBACK;
CREATE VIEW pg_temp.hidden AS SELECT * FROM system.jobs;
SELECT * FROM hidden;
`, "-A", "-t", "-q")
	want := `t
1
t
2
t
t
ERROR:  malformed job id "x": expected <type>:<namespace>.<table>:<uuid> at character 50
t
t
PLAN
t
t
t
t
t
f
t
ERROR:  DECLARE CURSOR can only be used in transaction blocks
t
NOTICE:  done
ERROR:  division by zero
ERROR:  column "nonsense" does not exist at character 8
ERROR:  division by zero
ERROR:  current transaction is aborted, commands ignored until end of transaction block
WARNING:  there is no transaction in progress
ERROR:  the list of running jobs is not available on this connection
`
	got = regexp.MustCompile(`(?s)Limit\n.*?\n(t\n)`).ReplaceAllString(got, "PLAN\n$1")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
