package temporaljobs_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
	"github.com/spillwaydb/spillway/workflows"
)

// BenchmarkLiveJobs reads system.jobs over the front-end, with live jobs on a real server and 10 000 ended ones in the
// ledger. Each question is asked twice in turn: as it is, and with its condition in parentheses, which lets the front-end ask
// for all jobs. It reports medians, and the processor time of the whole list, which says more where the machine is busy.
//
//	go test ./jobmanager/temporaljobs -run '^$' -bench LiveJobs -benchtime 40x
func BenchmarkLiveJobs(b *testing.B) {
	c := benchServer(b)
	name := "listing"
	serveSleepers(b, c, name)
	db := pgtest.Database(b)
	pool, err := pgxpool.New(b.Context(), db.WorkerURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	l := ledger.New(pool, nil)
	if err := l.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	db.Super(b, `INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, rows_flushed, created_at, workflow_id, run_id)
		SELECT 'flush:app.old' || i % 200 || ':' || md5(i::text)::uuid, 'flush', 'app', 'old' || i % 200, 'completed', i, now() - interval '1 day' - i * interval '1 minute', 'w', 'r'
		FROM generate_series(1, 10000) AS i`, "ANALYZE spillway.job_history")
	m, err := temporaljobs.New(c, l, &temporaljobs.Options{Installation: name, Types: map[jobmanager.JobType]temporaljobs.Type{
		workflows.FlushType: {Workflow: "sleeper", Mutating: true, Input: func(workflows.Memo) any { return nil }},
	}})
	if err != nil {
		b.Fatal(err)
	}
	conn := throughFront(b, m, db.WorkerURL)
	var newest jobmanager.JobID
	jobs := 0
	for _, live := range []int{0, 100, 1000} {
		for ; jobs < live; jobs++ {
			s, err := m.StartJob(b.Context(), jobmanager.JobSpec{Type: workflows.FlushType, Statement: "FLUSH TABLE app.t",
				Table: jobmanager.Table{Namespace: "app", Name: fmt.Sprint("t", jobs)}})
			if err != nil {
				b.Fatal(err)
			}
			newest = s.ID
		}
		awaitListed(b, m, live)
		for _, q := range []struct{ name, head, cond string }{
			{"newest", "SELECT * FROM system.jobs WHERE ", "true ORDER BY created_at DESC LIMIT 100"},
			{"running", "SELECT count(*) FROM system.jobs WHERE ", "status = 'running'"},
			{"table", "SELECT job_id, status, progress FROM system.jobs WHERE ", "target = 'app.t50'"},
			{"job", "SELECT job_id, status, progress FROM system.jobs WHERE ", "job_id = '" + newest.String() + "'"},
		} {
			b.Run(fmt.Sprintf("live=%d/%s", live, q.name), func(b *testing.B) {
				compare(b, conn, q.head+q.cond, q.head+strings.ReplaceAll("("+q.cond+")", "(true ORDER BY created_at DESC LIMIT 100)", "(true) ORDER BY created_at DESC LIMIT 100"))
			})
		}
	}
}

// compare asks two questions in turn and reports the medians of both.
func compare(b *testing.B, conn *pgx.Conn, narrow, whole string) {
	var times [2][]time.Duration
	var used time.Duration
	for b.Loop() {
		for i, sql := range []string{narrow, whole} {
			begin, before := time.Now(), processorTime(b)
			if _, err := conn.PgConn().Exec(b.Context(), sql).ReadAll(); err != nil {
				b.Fatal(err)
			}
			times[i] = append(times[i], time.Since(begin))
			if i == 1 {
				used += processorTime(b) - before
			}
		}
	}
	for i, unit := range []string{"narrowed-ms", "whole-ms"} {
		slices.Sort(times[i])
		b.ReportMetric(float64(times[i][len(times[i])/2].Microseconds())/1000, unit)
	}
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "whole-cpu-ms")
	b.ReportMetric(0, "ns/op")
}

// processorTime is what this process has used: the front-end, the manager and Temporal, not PostgreSQL.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// serveSleepers runs workflows that live until they are cancelled.
func serveSleepers(b *testing.B, c client.Client, installation string) {
	w := sdkworker.New(c, workflows.TaskQueue(installation), sdkworker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context) error {
		if err := workflow.UpsertTypedSearchAttributes(ctx, workflows.AttrStatus.ValueSet(string(jobmanager.Running))); err != nil {
			return err
		}
		ctx.Done().Receive(ctx, nil)
		return nil
	}, workflow.RegisterOptions{Name: "sleeper"})
	if err := w.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(w.Stop)
}

// awaitListed waits until visibility has caught up, and until nothing is asked for only because it is new.
func awaitListed(b *testing.B, m *temporaljobs.Manager, n int) {
	b.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for calm := time.Now().Add(11 * time.Second); ; {
		running := 0
		for info, err := range m.ListJobs(b.Context(), jobmanager.JobFilter{}) {
			if err != nil {
				b.Fatal(err)
			}
			if info.Status == jobmanager.Running {
				running++
			}
		}
		if running == n && (n == 0 || time.Now().After(calm)) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d jobs are listed as running", running, n)
		}
	}
}

// noCatalog has no tables: the benchmark only reads views.
type noCatalog struct{ sqlfront.Catalog }

// throughFront serves a front-end over a manager and connects to it.
func throughFront(b *testing.B, m jobmanager.JobManager, databaseURL string) *pgx.Conn {
	b.Helper()
	front, err := sqlfront.New(m, noCatalog{}, &sqlfront.Options{LiveLimit: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		b.Fatal(err)
	}
	srv, err := pgwire.New(front, pgwire.Target{Network: "tcp", Address: u.Host}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	b.Cleanup(func() {
		srv.Close(context.Background())
		<-served
	})
	u.Host = ln.Addr().String()
	conn, err := pgx.Connect(b.Context(), u.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
