package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// before is the build that is upgraded from while there is no release: a commit of the main branch. A tag that is an ancestor
// of the commit under test takes its place.
const before = "22b3c28"

// previousBuild builds the last release, or before. A clone without history has neither: that is said aloud. Where the build is
// there already, SPILLWAY_PREVIOUS_BINARY names it.
func previousBuild(t *testing.T) (path, version string) {
	t.Helper()
	if path := os.Getenv("SPILLWAY_PREVIOUS_BINARY"); path != "" {
		return path, path
	}
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", product.Root()}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	version, err := git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
	if err != nil {
		version = before
	}
	if out, err := git("cat-file", "-e", version+"^{commit}"); err != nil {
		t.Skipf("the build to upgrade from is not in this clone: %s: %s", version, out)
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if out, err := git("worktree", "add", "--detach", tree, version); err != nil {
		t.Fatalf("git worktree add: %s", out)
	}
	t.Cleanup(func() {
		if out, err := git("worktree", "remove", "--force", tree); err != nil {
			t.Errorf("git worktree remove: %s", out)
		}
	})
	path = filepath.Join(dir, "spillway")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/spillway")
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", version, err, out)
	}
	return path, version
}

// A11, A34: a flush that a previous build began is finished by this one, under its id, after a stop in the middle: the ledger is
// migrated forwards, the workflow's history replayed, each row is there once. The previous build then refuses the ledger.
func TestUpgradeInMidFlush(t *testing.T) {
	t.Parallel()
	if !product.Long() {
		t.Skip("it builds the previous version, which takes minutes: SPILLWAY_LONG=1 runs it")
	}
	old, version := previousBuild(t)
	db := pgtest.Database(t)
	const rows = 6000
	db.Exec(t, "CREATE TABLE app.events (id int PRIMARY KEY, note text)", fmt.Sprintf("INSERT INTO app.events SELECT i, 'note ' || i || repeat('x', 200) FROM generate_series(1, %d) i", rows))
	db.Super(t, "REVOKE CREATE ON DATABASE "+db.Name+" FROM "+db.Worker)
	want := audit.Hot(t, db.OwnerURL, "app", "events", "")
	dir, err := os.MkdirTemp("", "spillway-upgrade-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	environ := append(os.Environ(), "SPILLWAY_DATABASE_URL="+db.WorkerURL)
	grant := func(binary string) {
		db.Super(t, product.MustRun(t, binary, nil, "grants", "--database-url", db.OwnerURL, "--role", db.Worker, "--reader", db.Owner, "--operators=false", "--for", "app.events"))
	}
	args := []string{"up", "--data-dir", dir, "--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0", "--ui-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
		"--shutdown-timeout", "20s"}
	ask := func(binary, statement string) string {
		t.Helper()
		out := product.MustRun(t, binary, nil, "sql", "-c", statement, "-o", "csv", "--sql-url", product.Through(t, db.OwnerURL, product.ReadUp(t, dir).SQLURL))
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1]
	}

	grant(old)
	first := product.Start(t, old, environ, args...)
	first.Ready()
	id, _, _ := strings.Cut(ask(old, "FLUSH TABLE app.events WITH (chunk_bytes = '64kB', parallelism = 1, max_rows_per_second = 400)"), ",")
	moved := "SELECT count(*) FROM spillway.segments WHERE job_id = '" + id + "'"
	await.Until(t, "some chunks have moved", func() bool { return superValue(t, db, moved) >= 3 })
	first.Terminate()
	known := superValue(t, db, ledgerVersion)
	began := superValue(t, db, moved)
	if left := pgtest.Value[int](t, db, "SELECT count(*) FROM app.events"); left == 0 {
		t.Fatal("the flush was over before the upgrade")
	}

	grant(binary)
	second := product.Start(t, binary, environ, args...)
	second.Ready()
	if got := ask(binary, "SELECT status FROM system.jobs WHERE job_id = '"+id+"'"); got == "failed" || got == "cancelled" {
		t.Errorf("after the upgrade the job is %s", got)
	}
	r := product.Run(t, binary, nil, "jobs", "wait", id, "-o", "json", "--sql-url", product.Through(t, db.OwnerURL, product.ReadUp(t, dir).SQLURL))
	if r.Code != 0 || !strings.Contains(r.Out, fmt.Sprintf(`"rows_flushed":%d,`, rows)) {
		t.Errorf("the job of %s: exit code %d: %s%s", version, r.Code, r.Out, r.Err)
	}
	if all := superValue(t, db, moved); all <= began {
		t.Errorf("%d segments before the upgrade, %d after it", began, all)
	}
	second.Terminate()
	audit.Check(t, db.SuperURL, "app", "events", want)
	audit.Storage(t, db.SuperURL, filepath.Join(dir, "segments"))

	if superValue(t, db, ledgerVersion) == known {
		return // both know the same ledger: there is no way back to refuse
	}
	if r := product.Run(t, old, environ, args...); r.Code != 1 || !strings.Contains(r.Err, "use a newer build") {
		t.Errorf("%s on the ledger of this build: exit code %d: %s", version, r.Code, r.Err)
	}
}

const ledgerVersion = "SELECT max(version) FROM spillway.migrations"

// superValue asks what only the worker's role and a superuser may read.
func superValue(t *testing.T, db *pgtest.DB, query string) (n int) {
	t.Helper()
	conn := db.Connect(t, db.SuperURL)
	defer conn.Close(t.Context()) // and not at the end of the test: it is asked again and again
	must(t, conn.QueryRow(t.Context(), query).Scan(&n))
	return n
}
