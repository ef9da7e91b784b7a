package clients

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary) }

// rig is a `spillway up` in front of a PostgreSQL server.
type rig struct {
	db *pgtest.DB
	up product.Up
}

// newRig starts both, and makes two tables for each name: app.<name>_rows with five rows to flush, and app.<name>_held.
func newRig(t *testing.T, names ...string) *rig {
	t.Helper()
	r := &rig{db: pgtest.DatabaseOn(t, pgtest.Own(t, map[string]string{"fsync": "off", "full_page_writes": "off", "max_connections": "300"}))}
	grants := []string{"grants", "--database-url", r.db.SuperURL, "--role", r.db.Worker, "--reader", r.db.Owner}
	for _, name := range names {
		for _, table := range []string{name + "_rows", name + "_held"} {
			r.db.Exec(t, "CREATE TABLE app."+table+" AS SELECT i AS id FROM generate_series(1, 5) i")
			grants = append(grants, "--for", "app."+table)
		}
	}
	r.db.Super(t, "REVOKE CREATE ON DATABASE "+r.db.Name+" FROM "+r.db.Worker, command(t, binary, grants...))
	dir := t.TempDir()
	process(t, "up", "--data-dir", dir, "--database-url", r.db.WorkerURL, "--sql-listen", "127.0.0.1:0", "--temporal-listen", "127.0.0.1:0",
		"--ui-listen", "127.0.0.1:0", "--metrics-listen", "")
	r.up = product.ReadUp(t, dir)
	return r
}

// through turns a URL of the database into one that leads through the front-end.
func (r *rig) through(t testing.TB, direct string) string {
	t.Helper()
	return product.Through(t, direct, r.up.SQLURL)
}

// process runs spillway until the test ends, and returns it and its line once it is ready. It must stop cleanly.
func process(t *testing.T, args ...string) (p *product.Process, line string) {
	t.Helper()
	p = product.Start(t, binary, nil, args...)
	t.Cleanup(p.Terminate)
	return p, p.Ready()
}

// command runs a program that must succeed, and returns what it prints on standard output.
func command(t *testing.T, program string, args ...string) string {
	t.Helper()
	return commandIn(t, nil, "", program, args...)
}

func commandIn(t *testing.T, env []string, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", program, err, out, errOut.String())
	}
	return string(out)
}

// find returns the path of a program, or skips the test aloud.
func find(t *testing.T, program, install string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not on this machine: install %s to run this test", program, install)
	}
	return path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
