package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// patience is how long anything may take before a test gives up.
const patience = 90 * time.Second

var binary string

func TestMain(m *testing.M) { product.Main(m, &binary) }

// rig is a `spillway up` in front of a PostgreSQL server.
type rig struct {
	db *pgtest.DB
	up upInfo
}

// upInfo is the part of up.json that these tests use.
type upInfo struct {
	SQLURL          string `json:"sql_url"`
	TemporalAddress string `json:"temporal_address"`
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
	text, err := os.ReadFile(filepath.Join(dir, "up.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &r.up))
	return r
}

// through turns a URL of the database into one that leads through the front-end.
func (r *rig) through(direct string) string { return at(direct, r.up.SQLURL) }

// at puts the host of one URL into another.
func at(direct, front string) string {
	d, err := url.Parse(direct)
	f, ferr := url.Parse(front)
	if err := errors.Join(err, ferr); err != nil {
		panic(err) // both come from us
	}
	d.Host = f.Host
	return d.String()
}

// process runs spillway until the test ends, and returns it and its line once it is ready. It must stop cleanly.
func process(t *testing.T, args ...string) (p *product.Process, line string) {
	t.Helper()
	p = product.Start(t, binary, nil, args...)
	t.Cleanup(p.Terminate)
	return p, p.Ready()
}

// until polls cond until it holds.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// command runs a program that must succeed, and returns what it prints on standard output.
func command(t *testing.T, program string, args ...string) string {
	t.Helper()
	return commandIn(t, nil, "", program, args...)
}

func commandIn(t *testing.T, env []string, stdin, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
