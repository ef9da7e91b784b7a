package ledger_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// injection is what the front-end runs before a statement that reads system.jobs. views.sql says why it looks so.
const injection = `SELECT pg_catalog.set_config('spillway.jobs', $1, true) IS NULL,
	pg_catalog.set_config('spillway.jobs_at', extract(epoch FROM pg_catalog.statement_timestamp())::pg_catalog.text, true) IS NULL,
	pg_catalog.set_config('spillway.ui_prefix', $2, true) IS NULL`

const live = `[{"job_id": "a", "job_type": "flush", "target": "app.t", "status": "running", "progress": 0.25, "rows_flushed": 7, "phase": "moving",
	"error": "", "created_at": "2030-01-01T00:00:00.5Z", "ui_url": "http://ui/a"}]`

// wire speaks the protocol message by message, as the front-end does on behalf of a client.
type wire struct {
	t  *testing.T
	fe *pgproto3.Frontend
}

func dial(t *testing.T, url string) *wire {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), url)
	must(t, err)
	raw, err := conn.Hijack()
	must(t, err)
	t.Cleanup(func() { raw.Conn.Close() })
	must(t, raw.Conn.SetDeadline(time.Now().Add(time.Minute)))
	return &wire{t: t, fe: raw.Frontend}
}

func inject(rows string) []pgproto3.FrontendMessage {
	const name = "spillway_jobs"
	return []pgproto3.FrontendMessage{
		&pgproto3.Close{ObjectType: 'S', Name: name}, // one that failed before left its statement behind
		&pgproto3.Parse{Name: name, Query: injection, ParameterOIDs: []uint32{25, 25}},
		&pgproto3.Bind{DestinationPortal: name, PreparedStatement: name, Parameters: [][]byte{[]byte(rows), []byte("http://ui/")}},
		&pgproto3.Execute{Portal: name},
		&pgproto3.Close{ObjectType: 'P', Name: name},
		&pgproto3.Close{ObjectType: 'S', Name: name},
	}
}

// send sends messages in one write and returns what comes back up to ReadyForQuery, on one line.
func (w *wire) send(messages ...pgproto3.FrontendMessage) string {
	w.t.Helper()
	for _, m := range messages {
		w.fe.Send(m)
	}
	must(w.t, w.fe.Flush())
	var out []string
	for {
		m, err := w.fe.Receive()
		must(w.t, err)
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			return strings.Join(append(out, "Z"+string(m.TxStatus)), " ")
		case *pgproto3.ErrorResponse:
			if m.Code == "55000" && !strings.Contains(m.Hint, "front-end") {
				w.t.Errorf("no hint in %+v", m)
			}
			out = append(out, m.Code)
		case *pgproto3.DataRow:
			out = append(out, "("+strings.ReplaceAll(string(joined(m.Values)), " ", "_")+")")
		case *pgproto3.CommandComplete:
			out = append(out, strings.ReplaceAll(string(m.CommandTag), " ", "_"))
		case *pgproto3.CopyData:
			out = append(out, strings.TrimSpace(string(m.Data)))
		default:
			out = append(out, strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3."))
		}
	}
}

func joined(values [][]byte) []byte {
	var out []byte
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return out
}

// query is a client's statement behind an injection, both in one transaction, as the front-end runs it; a simple Query would leave the
// transaction open, from PostgreSQL 18 on. Of the answers those are left that a client of the simple protocol gets.
func (w *wire) query(sql string) string {
	w.t.Helper()
	return w.queryOver(live, sql)
}

func (w *wire) queryOver(rows, sql string) string {
	w.t.Helper()
	out := w.send(append(inject(rows), &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{})...)
	_, rest, ok := strings.Cut(out, "CloseComplete CloseComplete ")
	if !ok {
		w.t.Fatalf("injection: %s", out)
	}
	return strings.TrimPrefix(strings.TrimPrefix(rest, "ParseComplete BindComplete "), "NoData ")
}

func (w *wire) want(got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("got  %s\nwant %s", got, want)
	}
}

func (w *wire) plain(sql string) string {
	w.t.Helper()
	return w.send(&pgproto3.Query{String: sql})
}

func withHistory(t *testing.T) (*ledger.Ledger, *pgtest.DB) {
	t.Helper()
	l, db, _ := migrated(t)
	_, err := l.InsertHistory(t.Context(), ledger.HistoryRow{JobID: "h", JobType: "flush", Schema: "app", Table: "t", Status: "failed", ChunksDone: 1, ChunksTotal: ptr(int64(3)),
		CreatedAt: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), WorkflowID: "db/app.t%2F", RunID: "r"})
	must(t, err)
	return l, db
}

const jobIDs = `SELECT job_id, status FROM system.jobs ORDER BY created_at DESC`

func TestJobsByQuery(t *testing.T) {
	t.Parallel()
	_, db := withHistory(t)
	w := dial(t, db.WorkerURL)
	const both = "RowDescription (a,running) (h,failed) SELECT_2 "
	w.want(w.plain(jobIDs), "RowDescription 55000 ZI") // never set
	w.want(w.query(jobIDs), both+"ZI")
	w.want(w.plain(jobIDs), "RowDescription 55000 ZI") // '' after the transaction
	w.want(w.query(`SELECT count(*) FROM system.jobs x JOIN system.jobs y USING (job_id)`), "RowDescription (2) SELECT_1 ZI")
	w.want(w.query(`COPY (SELECT job_id FROM system.jobs) TO STDOUT`), "CopyOutResponse a h CopyDone COPY_2 ZI")
	w.want(w.query(`CREATE TEMPORARY TABLE kept AS SELECT * FROM system.jobs`), "SELECT_2 ZI")
	w.want(w.query(`INSERT INTO kept SELECT * FROM system.jobs`), "INSERT_0_2 ZI")
	w.want(w.query(`SELECT nothing FROM system.jobs`), "42703 ZI")
	w.want(w.plain(`EXPLAIN (COSTS off) SELECT 1 FROM system.jobs LIMIT 0`)[:15], "RowDescription ")
	if got := w.plain(`EXPLAIN SELECT * FROM system.jobs`); !strings.HasSuffix(got, "EXPLAIN ZI") {
		t.Errorf("EXPLAIN without an injection: %s", got)
	}
}

// The trap: inside one transaction, the value of an earlier statement is still there.
func TestJobsAreOfferedOnce(t *testing.T) {
	t.Parallel()
	_, db := withHistory(t)
	w := dial(t, db.WorkerURL)
	const both = "RowDescription (a,running) (h,failed) SELECT_2 "
	w.plain(`PREPARE p AS ` + jobIDs)
	w.plain(`CREATE TEMPORARY VIEW mine AS ` + jobIDs)
	for _, sql := range []string{`EXECUTE p`, `SELECT * FROM mine`, `SET LOCAL search_path = system; SELECT job_id FROM jobs`} {
		w.want(w.plain(`BEGIN`), "BEGIN ZT")
		w.want(w.query(jobIDs), both+"ZT")
		if got := w.plain(sql); !strings.HasSuffix(got, "55000 ZE") {
			t.Errorf("%s after a statement that was served: %s", sql, got)
		}
		w.want(w.plain(`ROLLBACK`), "ROLLBACK ZI")
	}
	w.plain(`BEGIN READ ONLY`)
	w.want(w.query(`EXECUTE p`), both+"ZT")
	w.want(w.query(`EXECUTE p`), both+"ZT")
	w.plain(`SAVEPOINT s`)
	w.want(w.query(jobIDs), both+"ZT")
	w.plain(`ROLLBACK TO s`) // brings back the settings of before, which were used
	w.want(w.plain(`EXECUTE p`), "55000 ZE")
	w.plain(`ROLLBACK`)

	// Not used by its own statement, then too old, or of a clock that went back.
	for _, shift := range []string{"- 5.5", "+ 5.5"} {
		w.plain(`BEGIN`)
		w.query(`SELECT 1`)
		w.plain(`SELECT set_config('spillway.jobs_at', (current_setting('spillway.jobs_at')::numeric ` + shift + `)::text, true)`)
		w.want(w.plain(jobIDs), "RowDescription 55000 ZE")
		w.plain(`ROLLBACK`)
	}
}

func TestJobsByExtendedQuery(t *testing.T) {
	t.Parallel()
	_, db := withHistory(t)
	w := dial(t, db.WorkerURL)
	const injected = "CloseComplete ParseComplete BindComplete (" // DataRow of the injection
	parse := &pgproto3.Parse{Query: `SELECT job_id FROM system.jobs WHERE created_at > $1 ORDER BY created_at DESC`}
	bind := &pgproto3.Bind{Parameters: [][]byte{[]byte("2000-01-01")}}
	all := []pgproto3.FrontendMessage{parse, &pgproto3.Describe{ObjectType: 'S'}, bind, &pgproto3.Describe{ObjectType: 'P'}}
	all = append(all, inject(live)...)
	out := w.send(append(all, &pgproto3.Execute{}, &pgproto3.Sync{})...)
	if !strings.HasPrefix(out, "ParseComplete ParameterDescription RowDescription BindComplete RowDescription "+injected) ||
		!strings.HasSuffix(out, " SELECT_1 CloseComplete CloseComplete (a) (h) SELECT_2 ZI") {
		t.Errorf("in one go: %s", out)
	}

	// A driver that prepares first, and takes one row at a time.
	w.want(w.send(&pgproto3.Parse{Name: "mine", Query: jobIDs}, &pgproto3.Sync{}), "ParseComplete ZI")
	w.plain(`BEGIN`)
	w.want(w.send(&pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "mine"}, &pgproto3.Sync{}), "BindComplete ZT")
	one := &pgproto3.Execute{Portal: "c", MaxRows: 1}
	if out := w.send(append(inject(live), one, &pgproto3.Sync{})...); !strings.HasSuffix(out, "CloseComplete CloseComplete (a,running) PortalSuspended ZT") {
		t.Errorf("first row: %s", out)
	}
	w.want(w.send(one, &pgproto3.Sync{}), "(h,failed) PortalSuspended ZT")
	w.want(w.send(one, &pgproto3.Sync{}), "SELECT_0 ZT")
	w.want(w.send(&pgproto3.Bind{PreparedStatement: "mine"}, &pgproto3.Execute{}, &pgproto3.Sync{}), "BindComplete 55000 ZE")
	w.plain(`ROLLBACK`)

	// A failed injection makes PostgreSQL skip to the next Sync, a Query too.
	w.want(w.send(append(inject(live+"\x00"), &pgproto3.Query{String: jobIDs}, &pgproto3.Sync{})...), "CloseComplete ParseComplete 22021 ZI")
	w.want(w.query(jobIDs), "RowDescription (a,running) (h,failed) SELECT_2 ZI")
	// What is handed over but is no list of jobs is an error too, and never an empty answer.
	for _, rows := range []string{`{`, `7`, `[{"rows_total": "x"}]`} {
		if out := w.queryOver(rows, jobIDs); !strings.Contains(out, " 22") {
			t.Errorf("rows %s: %s", rows, out)
		}
	}
	w.want(w.queryOver(`[]`, jobIDs), "RowDescription (h,failed) SELECT_1 ZI")
}

// A cursor reads the view at the first FETCH.
func TestJobsByCursor(t *testing.T) {
	t.Parallel()
	_, db := withHistory(t)
	w := dial(t, db.WorkerURL)
	w.plain(`BEGIN`)
	w.want(w.query(`DECLARE c CURSOR FOR `+jobIDs), "DECLARE_CURSOR ZT")
	w.want(w.query(`FETCH 1 FROM c`), "RowDescription (a,running) FETCH_1 ZT")
	w.want(w.plain(`FETCH 1 FROM c`), "RowDescription (h,failed) FETCH_1 ZT") // all was read by the first, for it sorts
}

func TestJobsColumns(t *testing.T) {
	t.Parallel()
	l, db := withHistory(t)
	// design.md names these as a promise.
	want := "job_id,job_type,target,status,phase,progress,rows_total,rows_flushed,bytes_written,segments,chunks_done,chunks_total,attempt,error,error_class," +
		"location,requested_by,trigger,schedule,statement,created_at,started_at,finished_at,cancelled_at,workflow_id,run_id,ui_url,rows_left,rows_skipped_locked"
	got := pgtest.Value[string](t, db, `SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'system.jobs'::regclass AND attnum > 0`)
	if got != want {
		t.Errorf("columns of system.jobs:\n%s\nwant\n%s", got, want)
	}
	w := dial(t, db.WorkerURL)
	w.want(w.query(`SELECT target, phase, progress, rows_total, rows_flushed, error IS NULL, ui_url, extract(epoch FROM created_at) FROM system.jobs WHERE job_id = 'a'`),
		"RowDescription (app.t,moving,0.25,,7,t,http://ui/a,1893456000.500000) SELECT_1 ZI")
	w.want(w.query(`SELECT target, phase, progress, trigger, schedule, error, ui_url FROM system.jobs WHERE job_id = 'h'`),
		"RowDescription (app.t,,0.3333,command,,,http://ui/db%2Fapp.t%252F/r/history) SELECT_1 ZI")
	// A record is final, whatever a list made before it says.
	_, err := l.InsertHistory(t.Context(), ledger.HistoryRow{JobID: "a", JobType: "flush", Schema: "app", Table: "t", Status: "completed", CreatedAt: time.Now()})
	must(t, err)
	w.want(w.query(`SELECT status, progress FROM system.jobs WHERE job_id = 'a'`), "RowDescription (completed,1) SELECT_1 ZI")
}

// Readers need USAGE and SELECT, and nothing of theirs can stand before PostgreSQL's own functions.
func TestViewsRights(t *testing.T) { // A52
	t.Parallel()
	l, db := withHistory(t)
	segment(t, l, pool(t, db.WorkerURL), job, 0, "file:///x/y.parquet")
	must(t, l.RegisterTable(t.Context(), "app", "events"))
	w := dial(t, db.OwnerURL)
	w.want(w.query(jobIDs), "42501 ZI")
	worker := db.Connect(t, db.WorkerURL)
	_, err := worker.Exec(t.Context(), `GRANT USAGE ON SCHEMA system TO `+db.Owner+`; GRANT SELECT ON ALL TABLES IN SCHEMA system TO `+db.Owner)
	must(t, err)
	w.plain(`CREATE FUNCTION app.split_part(text, text, int) RETURNS text LANGUAGE sql AS 'SELECT ''x'''`)
	w.plain(`CREATE FUNCTION app.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now() - interval ''1 year'''`)
	w.plain(`SET search_path = app, pg_catalog`)
	w.want(w.query(jobIDs), "RowDescription (a,running) (h,failed) SELECT_2 ZI")
	w.want(w.plain(`SELECT location, row_count, replaced_by FROM system.segments`), "RowDescription (file:///x/y.parquet,10,) SELECT_1 ZI")
	w.want(w.plain(`SELECT table_schema, table_name, segments, rows_cold, bytes_cold FROM system.tables`), "RowDescription (app,events,1,10,100) SELECT_1 ZI")
	w.want(w.plain(`SELECT 1 FROM spillway.job_history`), "42501 ZI")
}

// The newest of many jobs come out of an index.
func TestJobsAreFast(t *testing.T) {
	t.Parallel()
	_, db := withHistory(t)
	db.Super(t, `INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, created_at)
		SELECT 'flush:app.t:' || g, 'flush', 'app', 't', 'completed', now() - g * interval '1 minute' FROM generate_series(1, 100000) g`, `ANALYZE spillway.job_history`)
	conn := db.Connect(t, db.WorkerURL)
	for sql, want := range map[string]string{
		`SELECT * FROM system.jobs ORDER BY created_at DESC LIMIT 100`: "Index Scan using job_history_by_time",
		`SELECT * FROM system.jobs WHERE job_id = 'x'`:                 "Index Scan using job_history_pkey",
	} {
		rows, err := conn.Query(context.Background(), "EXPLAIN "+sql)
		must(t, err)
		var plan strings.Builder
		for rows.Next() {
			var line string
			must(t, rows.Scan(&line))
			plan.WriteString(line + "\n")
		}
		must(t, rows.Err())
		if strings.Contains(plan.String(), "Seq Scan") || !strings.Contains(plan.String(), want) {
			t.Errorf("%s:\n%s", sql, plan.String())
		}
	}
}
