package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
)

// storeErrors are what can be wrong with the embedded Temporal's store in PostgreSQL.
func storeErrors() map[string]errorCase {
	const elsewhere = "postgres://u:p@127.0.0.1:1/d?sslmode=disable"
	return map[string]errorCase{
		"the Temporal store's URL cannot be read": func(t *testing.T) result {
			return upOnce(t, "--database-url", elsewhere, "--temporal-store", "postgres://u:pa%ss@h:5432/d")
		},
		"the Temporal store is no PostgreSQL": func(t *testing.T) result {
			return upOnce(t, "--database-url", elsewhere, "--temporal-store", "mysql://u:p@h/d")
		},
		"the Temporal store without a database to serve": func(t *testing.T) result { return upOnce(t, "--temporal-store", elsewhere) },
		"nobody listens at the Temporal store's address": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-store", elsewhere)
		},
		"no right to make the Temporal store": func(t *testing.T) result {
			db := pgtest.Database(t)
			store := pgtest.Database(t)
			store.Super(t, "REVOKE CREATE ON DATABASE "+store.Name+" FROM "+store.Worker)
			return upOnce(t, "--database-url", db.WorkerURL, "--temporal-store", store.WorkerURL)
		},
		"the Temporal store of another installation": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-store", madeStore(t, "somebody").WorkerURL)
		},
		"the Temporal store has another number of shards": func(t *testing.T) result {
			s := newSite(t, []string{"app.t"}, []string{"CREATE TABLE app.t (id int)"})
			s.stop(t)
			owner := pgtest.Value[string](t, s.db, "SELECT 'the installation ' || name || ' (' || installation_id || ')' FROM spillway.installation")
			return upOnce(t, "--database-url", s.db.WorkerURL, "--temporal-store", madeStore(t, owner).WorkerURL, "--temporal-store-shards", "8")
		},
		"the Temporal store beside a cluster": func(t *testing.T) result {
			return upOnce(t, "--database-url", pgtest.Database(t).WorkerURL, "--temporal-store", elsewhere, "--temporal-address", "127.0.0.1:1")
		},
	}
}

// madeStore is a database with a store that nobody has.
func madeStore(t *testing.T, owner string) *pgtest.DB {
	t.Helper()
	db := pgtest.Database(t)
	p, err := embedtemporal.OpenPostgres(t.Context(), &embedtemporal.PostgresOptions{URL: db.WorkerURL, Owner: owner, Holder: "db1, process 7"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	return db
}

// The doctor says of a store whether it could be made, who has it, and that it is in the wrong place. It makes nothing.
func TestDoctorOfStore(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	doctor := func(store string, more ...string) result {
		return invoke(t, append([]string{"doctor", "-o", "json", "--database-url", db.WorkerURL, "--data-dir", t.TempDir(), "--storage", t.TempDir(), "--temporal-store", store}, more...))
	}
	r := doctor(db.WorkerURL)
	mustContain(t, line(t, r, "Temporal store"), `"status":"ok"`)
	mustContain(t, line(t, r, "Temporal store"), "the first start makes it in schema temporal of database "+db.Name)
	mustContain(t, line(t, r, "Temporal store's place"), `"status":"warn"`)
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM pg_namespace WHERE nspname LIKE 'temporal%'"); n != 0 {
		t.Errorf("%d schemas were made", n)
	}
	made := madeStore(t, "somebody")
	r = doctor(made.WorkerURL)
	mustContain(t, line(t, r, "Temporal store"), "4 shards, of somebody; no process is active, the last was db1, process 7")
	if strings.Contains(r.out, "Temporal store's place") {
		t.Error("another database is the right place")
	}
	mustContain(t, line(t, doctor(made.WorkerURL, "--temporal-store-shards", "8"), "Temporal store"), `"status":"fail"`)
	p, err := embedtemporal.OpenPostgres(t.Context(), &embedtemporal.PostgresOptions{URL: made.WorkerURL, Owner: "somebody", Holder: "db2, process 8"})
	if err != nil {
		t.Fatal(err)
	}
	mustContain(t, line(t, doctor(made.WorkerURL), "Temporal store"), "the active process is db2, process 8")
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	r = doctor("postgres://u:s3cret@127.0.0.1:1/d?sslmode=disable")
	mustContain(t, line(t, r, "Temporal store"), "check that PostgreSQL runs")
	if strings.Contains(r.out, "s3cret") {
		t.Error("the password is shown")
	}
}

// fakeHistory lets a test see what a sweep asks of the ledger and of Temporal.
type fakeHistory struct {
	busy   bool
	old    []int64 // what each ForgetJobs removes
	ends   []temporaljobs.End
	filled []jobstep.EndInput
	kept   []time.Duration
}

func (f *fakeHistory) Alone(ctx context.Context, _ string, fn func(context.Context) error) (bool, error) {
	if f.busy {
		return false, nil
	}
	return true, fn(ctx)
}

func (f *fakeHistory) ForgetJobs(_ context.Context, keep time.Duration, limit int) (int64, error) {
	f.kept = append(f.kept, keep)
	if len(f.old) == 0 || limit != sweepMost {
		return 0, errors.New("asked too often, or for too much")
	}
	n := f.old[0]
	f.old = f.old[1:]
	return n, nil
}

func (f *fakeHistory) Unrecorded(context.Context, int) ([]temporaljobs.End, error) {
	return f.ends, nil
}

// A47: a sweep is bounded, leaves the work to another process that is at it, and one end that cannot be recorded does not keep
// the others, nor the sweep.
func TestSweep(t *testing.T) {
	t.Parallel()
	at := time.Now()
	id := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: "t"}}
	f := &fakeHistory{old: []int64{sweepMost, sweepMost, 3, 99}, ends: []temporaljobs.End{
		{Job: jobmanager.JobInfo{ID: id, Status: jobmanager.Failed}, RequestID: "bad"},
		{Job: jobmanager.JobInfo{ID: id, Status: jobmanager.Cancelled, FinishedAt: &at, Error: "by force", ErrorClass: "terminated", WorkflowID: "w", RunID: "r"}, RequestID: "good"},
	}}
	var log syncBuffer
	n, err := newNode(&Env{Stderr: &log}, (&serverOptions{}).lookedAt())
	if err != nil {
		t.Fatal(err)
	}
	s := &sweeper{ledger: f, jobs: f, keep: time.Hour, log: n.log, fill: func(_ context.Context, in jobstep.EndInput) error {
		f.filled = append(f.filled, in)
		if in.RequestID == "bad" {
			return errors.New("not this one")
		}
		return nil
	}}
	f.busy = true
	s.sweep(t.Context())
	if len(f.kept)+len(f.filled) != 0 {
		t.Error("it worked beside another")
	}
	f.busy = false
	s.sweep(t.Context())
	if len(f.kept) != 3 || f.kept[0] != time.Hour {
		t.Errorf("asked with %v", f.kept)
	}
	if len(f.filled) != 2 || f.filled[1].Status != "cancelled" || !f.filled[1].FinishedAt.Equal(at) || f.filled[1].Table != "t" || f.filled[1].Error != "by force" {
		t.Errorf("filled in %+v", f.filled)
	}
	for retention, want := range map[time.Duration]time.Duration{time.Second: time.Second, 10 * time.Minute: 6 * time.Second, defaultRetention: 10 * time.Minute} {
		if got := sweepEvery(retention); got != want {
			t.Errorf("a retention of %s is looked at every %s, want %s", retention, got, want)
		}
	}
}

// Retentions that make no sense are wrong usage.
func TestRetentionFlags(t *testing.T) {
	t.Parallel()
	for flag, says := range map[string]string{"--retention=0s": "expected 1s or more", "--retention=-1h": "expected 1s or more", "--temporal-retention=1h": "Temporal's own limit"} {
		r := invoke(t, []string{"up", "--data-dir", t.TempDir(), flag})
		if r.code != exitUsage || !strings.Contains(r.errOut, says) {
			t.Errorf("%s: exit code %d: %s", flag, r.code, r.errOut)
		}
	}
}
