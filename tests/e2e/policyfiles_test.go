package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
)

// places are the directories of a table's segments, below u's folder, and how many lie in each.
func (tb *table) places(u *up) map[string]int {
	places := map[string]int{}
	for _, g := range tb.segments() {
		dir := filepath.Dir(strings.TrimPrefix(g.Location, "file://"))
		places[strings.TrimPrefix(dir, u.dir+"/")]++
	}
	return places
}

// A22: the flushes of a policy write where it says, and so does FLUSH ALL; a table without such words gets the default storage.
func TestPolicyPlacesFiles(t *testing.T) {
	t.Parallel()
	u := ownUp(t)
	tenants, plain := u.table(t, "tenants", 100), u.table(t, "plain", 100)
	super := u.super(t)
	super.rows("CREATE STORAGE second LOCATION '" + u.dir + "/second'")
	s := u.owner(t)
	s.rows("ALTER TABLE app.tenants SET FLUSH POLICY (rows = 50, storage = second, partition_by = (tenant), path = '{table}/{partition}')")
	product.MustRun(t, binary, nil, "policy", "set", "app.plain", "--rows", "50", "--sql-url", u.through(u.db.OwnerURL))
	tenants.flushes(1)
	plain.flushes(1)
	want := func(tb *table, n int, dirs ...string) {
		t.Helper()
		places := tb.places(u)
		if len(places) != len(dirs) {
			t.Errorf("%s lies in %v", tb, places)
		}
		for _, dir := range dirs {
			if places[dir] != n {
				t.Errorf("%d files of %s in %s, want %d: %v", places[dir], tb, dir, n, places)
			}
		}
	}
	var all []string
	for _, tenant := range strings.Split("0123456", "") {
		all = append(all, "second/tenants/tenant="+tenant)
	}
	want(tenants, 1, all...)
	want(plain, 1, "segments/app/plain")
	tenants.insert(101, 130)
	plain.insert(101, 130)
	super.rows("FLUSH ALL WITH (wait = true)")
	want(tenants, 2, all...)
	want(plain, 2, "segments/app/plain")
	list := product.MustRun(t, binary, nil, "policy", "list", "-o", "json", "--sql-url", u.through(u.db.OwnerURL))
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 2 || !strings.Contains(lines[1], `"table":"app.tenants","status":"active"`) || !strings.Contains(lines[1], "second") {
		t.Errorf("policy list prints %s", list)
	}
	u.Terminate()
}

// A30: a job that a policy started is paused, outlives kill -9 in its pause, and goes on; the policy starts no other meanwhile.
func TestPausePolicysJob(t *testing.T) {
	t.Parallel()
	u := ownUp(t, "--heartbeat-timeout", "2s")
	tb := u.table(t, "slow", 2000)
	gate := tb.gate("OLD.id > 500")
	u.super(t).rows("ALTER TABLE app.slow SET FLUSH POLICY (rows = 1000, chunk_bytes = '64kB', parallelism = 1, triggers = fire)")
	var id string
	await.Until(t, "the policy has started a job", func() bool {
		id = pgtest.Value[string](t, u.db, "SELECT coalesce(max(policy_job_id), '') FROM spillway.tables WHERE table_name = 'slow'")
		return id != ""
	})
	gate.held(id, 1)
	u.super(t).rows("PAUSE JOB '" + id + "'")
	u.Kill()
	u.start()
	gate.open()
	s := u.super(t)
	s.wait(id, "paused")
	if n := tb.hot(); n == 0 {
		t.Error("no row is left to go on with")
	}
	s.rows("RESUME JOB '" + id + "'")
	if j := s.wait(id, "completed"); j.Rows != 2000 {
		t.Errorf("%d rows", j.Rows)
	}
	if jobs := tb.begun(); len(jobs) != 1 || tb.hot() != 0 {
		t.Errorf("jobs %v, %d rows hot", jobs, tb.hot())
	}
	u.Terminate()
}
