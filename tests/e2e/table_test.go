package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/await"
)

// table is a table of one test, audited when it ends.
type table struct {
	u            *up
	t            testing.TB
	schema, name string
	want         audit.Rows // hot and cold together; nil: not to be checked, the table is gone
}

// small cuts a table into chunks of eight blocks, about 250 rows of table's.
const small = "chunk_bytes = '64kB'"

const (
	createTable = "CREATE TABLE %s (id bigint PRIMARY KEY, tenant int NOT NULL, note text, amount numeric(12,2), at timestamptz)"
	fillTable   = `INSERT INTO %s SELECT i, i %% 7, CASE WHEN i %% 10 = 0 THEN NULL ELSE repeat(md5(i::text), 5) END, i / 100.0,
		'2026-01-01'::timestamptz + i * interval '1 min' FROM generate_series(%d, %d) i`
)

// table makes app.<name> with rows of about 200 bytes, whose ids count from 1.
func (u *up) table(t testing.TB, name string, rows int) *table {
	t.Helper()
	return u.tableIn(t, "app", name, rows)
}

func (u *up) tableIn(t testing.TB, schema, name string, rows int) *table {
	t.Helper()
	tb := &table{u: u, t: t, schema: schema, name: name}
	u.db.Exec(t, fmt.Sprintf(createTable, tb), fmt.Sprintf(fillTable, tb, 1, rows))
	u.grant(tb.String())
	tb.want = audit.Hot(t, u.db.SuperURL, schema, name, "")
	t.Cleanup(tb.audit)
	return tb
}

func (tb *table) String() string { return tb.schema + "." + tb.name }

// dir is the folder of the table's segments.
func (tb *table) dir() string { return filepath.Join(tb.u.storage, tb.schema, tb.name) }

// insert adds rows with ids from first to last.
func (tb *table) insert(first, last int) {
	tb.t.Helper()
	tb.u.db.Exec(tb.t, fmt.Sprintf(fillTable, tb, first, last))
	tb.want = tb.want.Add(audit.Hot(tb.t, tb.u.db.SuperURL, tb.schema, tb.name, fmt.Sprintf("id BETWEEN %d AND %d", first, last)))
}

// audit checks that each row is hot or cold, once, and that the folder holds what the ledger says.
func (tb *table) audit() {
	if tb.want != nil {
		audit.Check(tb.t, tb.u.db.SuperURL, tb.schema, tb.name, tb.want)
	}
	if _, err := os.Stat(tb.dir()); err == nil {
		audit.Storage(tb.t, tb.u.db.SuperURL, tb.dir())
	}
}

// hot is how many rows are in the table.
func (tb *table) hot() int64 {
	tb.t.Helper()
	return pgtest.Value[int64](tb.t, tb.u.db, "SELECT count(*) FROM "+tb.String())
}

// segment is what must not change once it is registered.
type segmentRow struct {
	ID, Location, SHA256 string
	Chunk                int
	Rows                 int64
}

// segments lists the table's live segments.
func (tb *table) segments() []segmentRow {
	tb.t.Helper()
	conn := tb.u.db.Connect(tb.t, tb.u.db.SuperURL)
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), `SELECT segment_id::text, location, sha256, chunk, row_count FROM spillway.segments
		WHERE table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL ORDER BY job_id, chunk`, tb.schema, tb.name)
	must(tb.t, err)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[segmentRow])
	must(tb.t, err)
	return found
}

// objects lists the files in the table's folder, but for the manifest. Unfinished ones are among them.
func (tb *table) objects() []string {
	tb.t.Helper()
	entries, err := os.ReadDir(tb.dir())
	if !os.IsNotExist(err) {
		must(tb.t, err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "manifest.json" && !strings.HasPrefix(e.Name(), ".tmp-manifest") {
			names = append(names, e.Name())
		}
	}
	return names
}

// gateFunctions wait by looking, not in a queue: lock_timeout must not end the wait, and a terminate ends it at once.
const gateFunctions = `
CREATE FUNCTION app.gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT pg_try_advisory_xact_lock_shared(7, hashtext(TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME)) LOOP PERFORM pg_sleep(0.005); END LOOP;
	RETURN OLD;
END $$;
CREATE FUNCTION app.gate_of_segment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT pg_try_advisory_xact_lock_shared(7, hashtext(NEW.table_schema || '.' || NEW.table_name)) LOOP PERFORM pg_sleep(0.005); END LOOP;
	RETURN NEW;
END $$`

// gate holds transactions that move rows of a table where the test wants them, until it is opened.
type gate struct {
	tb   *table
	conn *pgx.Conn
}

// gate closes a gate before those rows for which the condition over OLD holds. The flush has to fire triggers.
func (tb *table) gate(condition string) *gate {
	tb.t.Helper()
	tb.u.db.Super(tb.t, fmt.Sprintf("CREATE TRIGGER gate BEFORE DELETE ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION app.gate()", tb, condition))
	return tb.close()
}

// close closes the gate; how transactions come to it is for the caller to see to.
func (tb *table) close() *gate {
	tb.t.Helper()
	g := &gate{tb: tb, conn: tb.u.db.Connect(tb.t, tb.u.db.SuperURL)}
	_, err := g.conn.Exec(context.Background(), "SELECT pg_advisory_lock(7, hashtext($1))", tb.String())
	must(tb.t, err)
	return g
}

// open lets all pass.
func (g *gate) open() {
	g.tb.t.Helper()
	_, err := g.conn.Exec(context.Background(), "SELECT pg_advisory_unlock(7, hashtext($1))", g.tb.String())
	must(g.tb.t, err)
}

// held waits until n transactions of the job stand before the gate, and returns their backends.
func (g *gate) held(job string, n int) []int32 {
	g.tb.t.Helper()
	var pids []int32
	await.Until(g.tb.t, fmt.Sprintf("%d chunks of %s are held", n, job), func() bool {
		// A transaction that deleted its attempt's row has not committed, so the row is still there to see.
		rows, err := g.conn.Query(context.Background(), `SELECT pid FROM pg_stat_activity JOIN spillway.attempts ON backend_pid = pid
			WHERE job_id = $1 AND wait_event = 'PgSleep' ORDER BY pid`, job)
		must(g.tb.t, err)
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int32])
		must(g.tb.t, err)
		return len(pids) == n
	})
	return pids
}

// gone reports whether none of the backends is left.
func gone(t testing.TB, db *pgtest.DB, pids []int32) bool {
	t.Helper()
	return pgtest.Value[int](t, db, "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1)", pids) == 0
}

// job is a row of system.jobs.
type job struct {
	ID          string     `db:"job_id"`
	Status      string     `db:"status"`
	Rows        int64      `db:"rows_flushed"`
	RowsLeft    *int64     `db:"rows_left"`
	Bytes       int64      `db:"bytes_written"`
	Segments    int64      `db:"segments"`
	ChunksDone  int64      `db:"chunks_done"`
	Attempt     int        `db:"attempt"`
	Error       *string    `db:"error"`
	Class       *string    `db:"error_class"`
	Location    *string    `db:"location"`
	CreatedAt   time.Time  `db:"created_at"`
	StartedAt   *time.Time `db:"started_at"`
	FinishedAt  *time.Time `db:"finished_at"`
	CancelledAt *time.Time `db:"cancelled_at"`
	WorkflowID  string     `db:"workflow_id"`
}

const jobColumns = `job_id, status, rows_flushed, rows_left, bytes_written, segments, chunks_done, attempt, error, error_class, location,
	created_at, started_at, finished_at, cancelled_at, workflow_id`

// started is an answer to FLUSH.
type started struct {
	id       string
	status   string
	existing bool
}

// flush starts a flush of the table through the front-end. rest is what follows its name.
func (s session) flush(tb *table, rest string) started {
	s.t.Helper()
	return s.startedBy("FLUSH TABLE " + tb.String() + " " + rest)
}

func (s session) startedBy(statement string) started {
	s.t.Helper()
	rows := s.rows(statement)
	if len(rows) != 1 {
		s.t.Fatalf("%s answered %v", statement, rows)
	}
	id, _ := rows[0]["job_id"].(string)
	status, _ := rows[0]["status"].(string)
	existing, _ := rows[0]["existing"].(bool)
	if id == "" {
		s.t.Fatalf("%s answered %v", statement, rows)
	}
	return started{id, status, existing}
}

// fire is the option list of flushes whose table has a gate.
func fire(options ...string) string {
	return "WITH (" + strings.Join(append([]string{"triggers = fire"}, options...), ", ") + ")"
}

// job reads one row of system.jobs.
func (s session) job(id string) job {
	s.t.Helper()
	found := s.jobs("WHERE job_id = '" + id + "'")
	if len(found) != 1 {
		s.t.Fatalf("system.jobs has %d rows of %s", len(found), id)
	}
	return found[0]
}

// jobs reads system.jobs.
func (s session) jobs(clause string) []job {
	s.t.Helper()
	rows, err := s.Query(context.Background(), "SELECT "+jobColumns+" FROM system.jobs "+clause)
	must(s.t, err)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[job])
	must(s.t, err)
	return found
}

// wait polls a job until it has the status. Another final one fails the test.
func (s session) wait(id, status string) job {
	s.t.Helper()
	var j job
	await.Until(s.t, "the job is "+status, func() bool {
		j = s.job(id)
		if j.Status != status && final(j.Status) {
			s.t.Fatalf("job %s is %s, want %s: %s", id, j.Status, status, text(j.Error))
		}
		return j.Status == status
	})
	return j
}

func final(status string) bool {
	return status == "completed" || status == "failed" || status == "cancelled"
}

func text(s *string) string {
	if s == nil {
		return "<null>"
	}
	return *s
}
