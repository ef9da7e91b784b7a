package sqlfront_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// withViews makes the real ledger, and a reader of its views.
func withViews(t *testing.T, opt *sqlfront.Options) (*world, string) {
	t.Helper()
	w := newWorld(t, opt)
	pool, err := pgxpool.New(t.Context(), w.WorkerURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := ledger.New(pool, nil).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, reader := w.user(t, "reader", "GRANT USAGE ON SCHEMA system TO USER", "GRANT SELECT ON ALL TABLES IN SCHEMA system TO USER")
	return w, reader
}

func (w *world) addJobs(n int, statement string) {
	for i := range n {
		id := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: fmt.Sprintf("t%d", i)}, UUID: uuid.New()}
		w.jobs.all = append(w.jobs.all, jobmanager.JobInfo{ID: id, Status: jobmanager.Running, CreatedAt: created, RowsFlushed: int64(i), Statement: statement})
		w.jobs.specs = append(w.jobs.specs, jobmanager.JobSpec{})
	}
}

func TestSystemJobs(t *testing.T) { // A2, A3
	t.Parallel()
	for name, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "statement": pgx.QueryExecModeCacheStatement,
		"describe": pgx.QueryExecModeCacheDescribe, "exec": pgx.QueryExecModeExec} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reader := withViews(t, nil)
			w.addJobs(3, "it's \x00 \\u0000 \"ü\"")
			conn := w.through(t, reader, mode)
			read := func() {
				t.Helper()
				var n, sum int64
				var text string
				if err := conn.QueryRow(t.Context(), `SELECT count(*), sum(rows_flushed)::bigint, min(statement) FROM system.jobs WHERE status = $1`, "running").Scan(&n, &sum, &text); err != nil || n != 3 || sum != 3 || text != "it's  \\u0000 \"ü\"" {
					t.Errorf("%d %d %q %v", n, sum, text, err)
				}
			}
			read()
			read()
			if err := exec(t, conn, "DISCARD ALL"); mode == pgx.QueryExecModeExec && err != nil {
				t.Fatal(err)
			}
			conn.DeallocateAll(t.Context())
			read()
			if err := exec(t, conn, "DECLARE c CURSOR FOR SELECT job_id FROM system.jobs"); pgError(t, err).Code != "25P01" {
				t.Errorf("a cursor outside a transaction: %v", err)
			}
			if err := exec(t, conn, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			read()
			read()
			if err := exec(t, conn, "DECLARE c CURSOR FOR SELECT job_id FROM system.jobs"); err != nil {
				t.Fatal(err)
			}
			var id string
			if err := conn.QueryRow(t.Context(), "FETCH 1 FROM c").Scan(&id); err != nil || !strings.HasPrefix(id, "flush:app.t") {
				t.Errorf("%s %v", id, err)
			}
			if err := exec(t, conn, "SELECT nonsense FROM system.jobs"); pgError(t, err).Code != "42703" {
				t.Error(err)
			}
			if err := exec(t, conn, "SELECT 1 FROM system.jobs"); pgError(t, err).Code != "25P02" {
				t.Error(err)
			}
			if err := exec(t, conn, "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
			read()
			for _, sql := range []string{"EXPLAIN SELECT * FROM system.jobs", "EXPLAIN ANALYZE SELECT * FROM system.jobs", "TABLE \"system\" . jobs",
				"WITH j AS (SELECT * FROM system.jobs) SELECT 1 FROM j JOIN pg_class c ON c.relname = j.job_type", "(SELECT job_id FROM system.jobs) LIMIT 1",
				"CREATE TEMP TABLE copied AS SELECT * FROM system.jobs", "INSERT INTO copied SELECT * FROM system.jobs", "PREPARE p AS SELECT * FROM system.jobs", "EXECUTE p"} {
				if err := exec(t, conn, sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
			if mode != pgx.QueryExecModeSimpleProtocol {
				return
			}
			for _, sql := range []string{"BEGIN; SELECT * FROM system.jobs; COMMIT", "SELECT 1; SELECT * FROM system.jobs; SELECT * FROM system.jobs"} {
				if err := exec(t, conn, sql); err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			}
		})
	}
}

func TestSystemJobsCopyAndFetchSize(t *testing.T) {
	t.Parallel()
	w, reader := withViews(t, nil)
	w.addJobs(10, "")
	conn := w.through(t, reader, pgx.QueryExecModeExec)
	var b strings.Builder
	if tag, err := conn.PgConn().CopyTo(t.Context(), &b, "COPY (SELECT job_id FROM system.jobs) TO STDOUT"); err != nil || tag.RowsAffected() != 10 {
		t.Errorf("%v %v", tag, err)
	}
	// Our own answers arrive in portions, too: the wire package tests it.
}

func TestSystemJobsRights(t *testing.T) { // A52
	t.Parallel()
	w, reader := withViews(t, nil)
	w.addJobs(1, "a secret")
	_, nobody := w.user(t, "nobody")
	conn := w.through(t, nobody, pgx.QueryExecModeExec)
	if pe := pgError(t, exec(t, conn, "SELECT * FROM system.jobs")); pe.Code != "42501" {
		t.Error(pe)
	}
	var set string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(current_setting('spillway.jobs', true), '') /* system.jobs */").Scan(&set); err != nil || set != "" {
		t.Errorf("told to who may not read: %q %v", set, err)
	}
	// Without the proxy, the view says so.
	direct := w.Connect(t, reader)
	if pe := pgError(t, exec(t, direct, "SELECT * FROM system.jobs")); pe.Code != "55000" || pe.Hint == "" {
		t.Errorf("%+v", pe)
	}
	// A view of the user's own does not name it: it fails, and shows nothing old.
	w.Super(t, "CREATE VIEW public.mine AS SELECT * FROM system.jobs", "GRANT SELECT ON public.mine TO PUBLIC")
	own := w.through(t, reader, pgx.QueryExecModeExec)
	if err := exec(t, own, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if err := exec(t, own, "SELECT * FROM system.jobs"); err != nil {
		t.Fatal(err)
	}
	if pe := pgError(t, exec(t, own, "SELECT * FROM public.mine")); pe.Code != "55000" {
		t.Errorf("%+v", pe)
	}
}

func TestSystemJobsCap(t *testing.T) {
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, reader := withViews(t, &sqlfront.Options{LiveLimit: 10_000})
			w.addJobs(100, "")
			conn := w.through(t, reader, mode)
			for _, block := range []bool{false, true} {
				if block {
					if err := exec(t, conn, "BEGIN"); err != nil {
						t.Fatal(err)
					}
				}
				if pe := pgError(t, exec(t, conn, "SELECT * FROM system.jobs")); pe.Code != "54000" || pe.Hint == "" {
					t.Errorf("%+v", pe)
				}
				want := map[bool]string{false: "", true: "25P02"}[block]
				if err := exec(t, conn, "SELECT 1"); want == "" && err != nil || want != "" && pgError(t, err).Code != want {
					t.Error(err)
				}
			}
		})
	}
}

// Every job has its page in the Web UI, while it lives and afterwards.
func TestSystemJobsLinks(t *testing.T) {
	t.Parallel()
	w, reader := withViews(t, &sqlfront.Options{UIPrefix: "http://ui/namespaces/n/workflows/"})
	w.addJobs(1, "")
	w.jobs.set(func(j *jobmanager.JobInfo) { j.UIURL = "http://ui/namespaces/n/workflows/a%2Fapp.t0/r/history" })
	w.Super(t, `INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, created_at, workflow_id, run_id)
		VALUES ('ended', 'flush', 'app', 't', 'completed', now(), 'a%20b/app.t', 'r')`)
	conn := w.through(t, reader, pgx.QueryExecModeExec)
	for status, want := range map[string]string{"running": "http://ui/namespaces/n/workflows/a%2Fapp.t0/r/history", "completed": "http://ui/namespaces/n/workflows/a%2520b%2Fapp.t/r/history"} {
		var url string
		if err := conn.QueryRow(t.Context(), "SELECT ui_url FROM system.jobs WHERE status = $1", status).Scan(&url); err != nil || url != want {
			t.Errorf("%s: %s %v", status, url, err)
		}
	}
}

// crew is what a test says about workers.
type crew struct {
	list []sqlfront.Worker
	err  error
}

func (c *crew) Workers(context.Context) ([]sqlfront.Worker, error) { return c.list, c.err }

func TestSystemWorkers(t *testing.T) {
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, four := int64(1), int64(4)
			c := &crew{list: []sqlfront.Worker{
				{Identity: "1@a", Host: "a", PID: "1", TaskQueue: "app/chunks", Status: "running", SlotsUsed: &one, SlotsTotal: &four, Version: "v1", StartedAt: &created, LastSeenAt: &created},
				{Identity: "2@it's\x00\\u0000", Status: "silent"},
			}}
			w, reader := withViews(t, &sqlfront.Options{Workers: c})
			w.addJobs(3, "")
			conn := w.through(t, reader, mode)
			read := func(sql, want string) {
				t.Helper()
				var got string
				if err := conn.QueryRow(t.Context(), sql).Scan(&got); err != nil || got != want {
					t.Errorf("%s: %s %v; want %s", sql, got, err, want)
				}
			}
			read(`SELECT string_agg(concat_ws(',', identity, host, pid, task_queue, status, slots_used, slots_total, version,
				started_at AT TIME ZONE 'UTC', last_seen_at = started_at), ';' ORDER BY identity) FROM system.workers`,
				`1@a,a,1,app/chunks,running,1,4,v1,2026-03-04 05:06:07,t;2@it's\u0000,silent`)
			read("SELECT count(*)::text FROM system.workers, system.jobs", "6")
			read("SELECT count(*)::text FROM system.workers WHERE slots_used IS NULL", "1")
			c.list = nil
			read("SELECT count(*)::text FROM system.workers", "0")
			c.err = fmt.Errorf("look: %w", jobmanager.ErrUnavailable)
			// This session has named jobs too: they can still be read.
			if pe := pgError(t, exec(t, conn, "SELECT * FROM system.workers")); pe.Code != "55000" || !strings.Contains(pe.Message, "look: job manager unavailable (57P03)") {
				t.Errorf("%+v", pe)
			}
			read("SELECT count(*)::text FROM system.jobs", "3")
			if pe := pgError(t, exec(t, w.through(t, reader, mode), "SELECT * FROM system.workers")); pe.Code != "57P03" {
				t.Errorf("%+v", pe)
			}
			c.err = nil
			read("SELECT count(*)::text FROM system.workers", "0")
			_, nobody := w.user(t, "nobody")
			if pe := pgError(t, exec(t, w.through(t, nobody, mode), "SELECT * FROM system.workers")); pe.Code != "42501" {
				t.Errorf("%+v", pe)
			}
			if pe := pgError(t, exec(t, w.Connect(t, reader), "SELECT * FROM system.workers")); pe.Code != "55000" || !strings.Contains(pe.Message, "workers") || pe.Hint == "" {
				t.Errorf("outside the front-end: %+v", pe)
			}
		})
	}
	t.Run("nobody who knows", func(t *testing.T) {
		t.Parallel()
		w, reader := withViews(t, nil)
		if pe := pgError(t, exec(t, w.through(t, reader, pgx.QueryExecModeExec), "SELECT * FROM system.workers")); pe.Code != "0A000" {
			t.Errorf("%+v", pe)
		}
	})
}

// BenchmarkSystemJobs is the cost of listing, through the proxy.
func BenchmarkSystemJobs(b *testing.B) {
	w := newWorld(b, &sqlfront.Options{LiveLimit: 64 << 20})
	pool, err := pgxpool.New(b.Context(), w.WorkerURL)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if err := ledger.New(pool, nil).Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	w.addJobs(100, "FLUSH TABLE app.t")
	conn := w.through(b, w.WorkerURL, pgx.QueryExecModeExec)
	for b.Loop() {
		if _, err := conn.Exec(b.Context(), "SELECT * FROM system.jobs ORDER BY created_at DESC LIMIT 100"); err != nil {
			b.Fatal(err)
		}
	}
}
