package cluster

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/tests/product"
	"github.com/spillwaydb/spillway/workflows"
)

// A45, A51: the watcher of policies moves to the other worker when its own is killed with -9, and at once when its own stops.
func TestWatcherMoves(t *testing.T) {
	t.Parallel()
	address := cluster(t)
	environ := []string{"TEMPORAL_ADDRESS=" + address}
	db, storage := database(t), t.TempDir()
	workers := map[int]*product.Process{}
	add := func() {
		p := product.Start(t, binary, environ, "worker", "--database-url", db.WorkerURL, "--storage", storage, "--metrics-listen", "", "--log-format", "json")
		p.Ready()
		workers[p.PID()] = p
	}
	add()
	add()
	db.Super(t, `INSERT INTO spillway.tables (table_schema, table_name, policy, policy_set_at) VALUES ('app', 'events', '{"rows": 1}', now())`)
	c, err := sdk.Dial(sdk.Options{HostPort: address})
	must(t, err)
	defer c.Close()
	watching := func() (pid int) {
		await.Until(t, "somebody watches", func() bool {
			d, err := c.DescribeWorkflowExecution(t.Context(), workflows.SchedulerID(workflows.TaskQueue(db.Name)), "")
			if err != nil || len(d.GetPendingActivities()) == 0 {
				return false
			}
			text, _, _ := strings.Cut(d.GetPendingActivities()[0].GetLastWorkerIdentity(), "@")
			pid, _ = strconv.Atoi(text)
			return workers[pid] != nil
		})
		return pid
	}
	flushed := func(n int) {
		await.Until(t, strconv.Itoa(n)+" flushes have ended", func() bool {
			return pgtest.Value[int](t, db, "SELECT count(*)::int FROM spillway.job_history WHERE status = 'completed' AND trigger = 'policy'") >= n
		})
	}
	flushed(1)
	for n, c := range []struct {
		leave func(p *product.Process)
		most  time.Duration // until the rows have been flushed
	}{
		{func(p *product.Process) { must(t, syscall.Kill(p.PID(), syscall.SIGKILL)) }, 15 * time.Second}, // its silence of 5 s has to be noticed
		{func(p *product.Process) { p.Terminate() }, 5 * time.Second},                                    // no silence has to be
	} {
		pid := watching()
		p := workers[pid]
		delete(workers, pid)
		if len(workers) == 0 {
			t.Fatal("nobody is left")
		}
		c.leave(p)
		left := time.Now()
		db.Exec(t, "INSERT INTO app.events SELECT i, 'x' FROM generate_series(1, 10) AS i")
		flushed(n + 2)
		took := time.Since(left).Round(10 * time.Millisecond)
		t.Logf("the rows were flushed %s after the watcher had left", took)
		if took > c.most {
			t.Errorf("the rows were flushed %s after the watcher had left, want %s at most", took, c.most)
		}
		add()
	}
	for _, p := range workers {
		p.Terminate()
	}
}
