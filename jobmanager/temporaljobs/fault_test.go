package temporaljobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// asWorker makes this test program a worker that dies at a point. tests/faults has the points below Temporal.
const asWorker = "SPILLWAY_FAULTS_WORKER"

// fatal says which worker a child is, and where it dies.
type fatal struct {
	URL, Address, Namespace, Name string
	Point                         fault.Point
	After                         bool // the effect
}

func workerMain(text string) error {
	var f fatal
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.Dial(client.Options{HostPort: f.Address, Namespace: f.Namespace, Logger: worker.Logger(quiet)})
	if err != nil {
		return err
	}
	db, err := hot.Open(context.Background(), f.URL, nil)
	if err != nil {
		return err
	}
	l := ledger.New(db.Pool(), nil)
	steps, err := flush.New(flush.Deps{Hot: db, Ledger: l, Stores: coldstore.NewLedgerStores(l, nil), Log: quiet})
	if err != nil {
		return err
	}
	ctx := fault.With(context.Background(), func(_ context.Context, p fault.Point, effect func() error) error {
		if p != f.Point {
			return effect()
		}
		if f.After {
			_ = effect()
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	})
	w, err := worker.New(c, workflows.TaskQueue(f.Name), activities.New(steps, nil), &worker.Options{Logger: quiet, Context: ctx})
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return errors.Join(errors.New("the worker was not killed"), w.Run(patience))
}

// faulty is one fault of an activity.
type faulty struct {
	point fault.Point
	kind  string
	kill  bool // the job is killed at that moment
}

// A29 A33 A34 A37: what goes wrong between activities and Temporal: heartbeats that stop, results that never arrive, a worker that
// dies before and after each.
func TestFaultsOfActivities(t *testing.T) {
	t.Parallel()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	for _, f := range []faulty{
		{fault.Plan, "silent", true}, {fault.Plan, "crash before", true}, {fault.Heartbeat, "crash before", true},
		{fault.Heartbeat, "hang", false}, {fault.Heartbeat, "hang", true}, {fault.Heartbeat, "crash before", false}, {fault.Heartbeat, "crash after", false},
		{fault.Activity, "fail", false}, {fault.Activity, "fail", true}, {fault.Activity, "deny", false}, {fault.Activity, "deny", true},
		{fault.Activity, "hang", true}, {fault.Activity, "crash before", false}, {fault.Activity, "crash after", false},
		{fault.Manifest, "crash before", true}, {fault.Manifest, "crash after", true}, {fault.Manifest, "hang", true}, {fault.Manifest, "deny", false},
		{fault.WorkflowEnd, "fail", false}, {fault.WorkflowEnd, "deny", false}, {fault.WorkflowEnd, "hang", false},
		{fault.WorkflowEnd, "crash before", false}, {fault.WorkflowEnd, "crash after", false},
	} {
		name := fmt.Sprintf("%s/%s", f.point, f.kind)
		if f.kill {
			name += "/kill"
		}
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			f.take(t)
		})
	}
}

func (f faulty) take(t *testing.T) {
	c := temporaltest.Client(t)
	r := newRealWithoutWorker(t, c, workflows.Tuning{Heartbeat: 2 * time.Second, Backoff: 50 * time.Millisecond, Parallelism: 1})
	r.db.Exec(t, `INSERT INTO app.events SELECT i, repeat('note ' || i, 20) FROM generate_series(1, 2000) AS i`)
	want := audit.Hot(t, r.db.SuperURL, "app", "events", "")
	spec := smallChunks("true")
	var id jobmanager.JobID
	var told chan struct{} // closed when the job's end is known
	if strings.HasPrefix(f.kind, "crash") {
		child := f.child(t, r)
		id = mustStart(t, r.manager, spec)
		child(t)
		if f.kill { // nobody is there to hear of it, and Temporal gives the dead worker's step no further try
			if err := r.manager.CancelJob(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		r.startWorker(t, c, t.Context())
	} else {
		var fired atomic.Bool
		at := make(chan struct{})
		release := make(chan struct{})
		told = make(chan struct{})
		defer close(release)
		r.startWorker(t, c, fault.With(t.Context(), func(ctx context.Context, p fault.Point, effect func() error) error {
			if f.kind == "silent" && p == fault.Heartbeat && fired.Load() { // for the server, as if this worker were dead
				select {
				case <-told:
				case <-ctx.Done():
				}
			}
			if p != f.point || !fired.CompareAndSwap(false, true) {
				return effect()
			}
			close(at)
			return f.suffer(ctx, release, effect)
		}))
		id = mustStart(t, r.manager, spec)
		<-at
		if f.kill {
			if err := r.manager.CancelJob(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := r.manager.WaitJob(t.Context(), id)
	if told != nil {
		close(told)
	}
	// With all rows moved, a kill that no worker was there to hear of may come too late: docs/job-states.md.
	late := f.kill && f.point == fault.Manifest && info.Status == jobmanager.Completed && info.RowsFlushed == 2000
	if err != nil || f.kill && !late && info.Status != jobmanager.Cancelled || !f.kill && (info.Status != jobmanager.Completed || info.RowsFlushed != 2000) {
		t.Errorf("the job ended as %s (%s) with %d rows, %v", info.Status, info.ErrorClass, info.RowsFlushed, err)
	}
	mustWait(t, r.manager, mustStart(t, r.manager, spec), jobmanager.Completed)
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM app.events`); n != 0 {
		t.Errorf("%d rows are hot", n)
	}
	r.audit(t, want)
	audit.Storage(t, r.db.SuperURL, r.dir)
	if n := pgtest.Value[int](t, r.db, `SELECT count(*) FROM spillway.job_history`); n != 2 {
		t.Errorf("%d jobs have an end, want 2", n)
	}
}

func (f faulty) suffer(ctx context.Context, release chan struct{}, effect func() error) error {
	injected := &jobstep.ClassifiedError{Class: jobstep.ClassConnection, Err: errors.New("injected")}
	switch f.kind {
	case "fail":
		return injected
	case "deny":
		if err := effect(); err != nil {
			return err
		}
		return injected
	}
	select { // it hangs
	case <-release:
	case <-ctx.Done():
	}
	return effect()
}

// child starts a worker that will die. The returned function waits for that.
func (f faulty) child(t *testing.T, r *real) func(*testing.T) {
	t.Helper()
	srv := temporaltest.Shared(t)
	text, err := json.Marshal(fatal{
		URL: r.db.WorkerURL, Address: srv.Address(), Namespace: srv.Namespace(), Name: r.name, Point: f.point, After: f.kind == "crash after",
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^$")
	cmd.Env = append(os.Environ(), asWorker+"="+string(text))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T) {
		t.Helper()
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
			t.Fatalf("the worker was to die: %v\n%s", err, out.String())
		}
	}
}
