package sqlfront_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// jobZoo fills a world with live jobs and ended ones, and returns the ids of some.
func (w *world) jobZoo(t *testing.T) []string {
	t.Helper()
	w.addJobs(40, "")
	var ids []string
	for i := range w.jobs.all {
		j := &w.jobs.all[i]
		j.Status = []jobmanager.Status{jobmanager.Running, jobmanager.Pending, jobmanager.Paused}[i%3]
		j.Phase = []string{"moving", "planning", ""}[i%3]
		if i%4 == 0 {
			j.ID.Type = "verify"
		}
		ids = append(ids, j.ID.String())
	}
	// One has ended since, one ended long ago, and one is of a table with a dot in its name.
	w.jobs.all[7].ID.Table = jobmanager.Table{Namespace: "app", Name: "t6.x"}
	ids[7] = w.jobs.all[7].ID.String()
	for i, id := range []string{ids[5], "flush:app.t3:" + uuid.NewString()} {
		w.Super(t, fmt.Sprintf(`INSERT INTO spillway.job_history (job_id, job_type, table_schema, table_name, status, created_at, workflow_id, run_id, rows_flushed)
			VALUES ('%s', 'flush', 'app', 't%d', 'completed', '2026-01-01', 'w', 'r', %d)`, id, 5-2*i, i))
		ids = append(ids, id)
	}
	return ids
}

// narrowConditions are written over three ids.
func narrowConditions(ids []string) []string {
	a, b, ended := ids[1], ids[8], ids[len(ids)-1]
	return []string{
		"job_id = '" + a + "'", "'" + b + "' = job_id", "job_id = '" + ended + "'", "job_id = 'nonsense'", "job_id = ''",
		"job_id IN ('" + a + "', '" + b + "', 'x')", "job_id IN ('" + ended + "') AND status = 'completed'",
		"job_id = '" + a + "' AND status <> 'running'", "job_id = '" + a + "' AND job_id = '" + b + "'", "job_id = '" + strings.ToUpper(a) + "'",
		"target = 'app.t3'", "target IN ('app.t5', 'app.t6.x', 'app.t6')", "target = 'app.t6.x' AND rows_flushed > 3", "target = 'none.such'",
		"job_type = 'verify'", "job_type = 'flush' AND status = 'paused'", "job_type IN ('flush', 'verify')", "job_type = ''",
		"target = 'app.t4' AND job_type = 'verify' AND created_at < now()", "target = 'app.t4' AND job_type = 'flush'",
		"status = 'running' AND target LIKE 'app.t%' AND job_type = 'verify'", "NOT status = 'running' AND job_type = 'verify'",
		"job_id = '" + ids[5] + "'", "target = 'app.t5'", "job_type = 'verify' AND (phase IS NULL AND NOT progress > 0.5)",
	}
}

var narrowForms = []string{
	"SELECT * FROM system.jobs WHERE %s ORDER BY job_id",
	"SELECT count(*), sum(rows_flushed) AS total, min(status), max(created_at) FROM system.jobs WHERE %s",
	"SELECT status, count(DISTINCT target) FROM system.jobs WHERE %s GROUP BY status ORDER BY 1 LIMIT 3",
	"SELECT DISTINCT coalesce(phase, 'none') AS phase, left(target, 5) FROM system.jobs WHERE %s ORDER BY 1, 2 DESC",
}

// rows reads a statement as texts.
func rows(t *testing.T, conn *pgx.Conn, sql string) (string, error) {
	t.Helper()
	result := conn.PgConn().ExecParams(t.Context(), sql, nil, nil, nil, nil).Read()
	return fmt.Sprintf("%s", result.Rows), result.Err
}

// A hundred statements give the same answers from the jobs that they can see and from all. The judge is a named prepared
// statement: such ones always get the whole list.
func TestNarrowedAnswers(t *testing.T) {
	t.Parallel()
	w, reader := withViews(t, nil)
	ids := w.jobZoo(t)
	narrow, whole, simple := w.through(t, reader, pgx.QueryExecModeExec), w.through(t, reader, pgx.QueryExecModeExec), w.through(t, reader, pgx.QueryExecModeExec)
	n := 0
	for _, cond := range narrowConditions(ids) {
		for _, form := range narrowForms {
			sql := fmt.Sprintf(form, cond)
			name := fmt.Sprint("s", n)
			if _, err := whole.PgConn().Prepare(t.Context(), name, sql, nil); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
			judge := whole.PgConn().ExecPrepared(t.Context(), name, nil, nil, nil).Read()
			if asked := w.jobs.questions(); judge.Err != nil || len(asked) != 1 || !all(asked[0]) {
				t.Fatalf("%s: the judge asked %+v, %v", sql, asked, judge.Err)
			}
			got, err := rows(t, narrow, sql)
			if want := fmt.Sprintf("%s", judge.Rows); err != nil || got != want {
				t.Errorf("%s\n%s\nwant %s (%v)", sql, got, want, err)
			}
			for _, f := range w.jobs.questions() {
				if all(f) && !strings.Contains(cond, "('flush', 'verify')") && cond != "job_type = ''" {
					t.Errorf("%s asked for all", sql)
				}
			}
			results, err := simple.PgConn().Exec(t.Context(), sql).ReadAll()
			if err != nil || len(results) != 1 || fmt.Sprintf("%s", results[0].Rows) != got {
				t.Errorf("simple protocol: %s: %v", sql, err)
			}
			w.jobs.questions()
			n++
		}
	}
	if n < 100 {
		t.Errorf("only %d statements", n)
	}
}

func all(f jobmanager.JobFilter) bool { return len(f.IDs)+len(f.Targets) == 0 && f.Type == "" }

// Statements out of random tokens: whatever is narrowed gives on the rows that it names what it gives on all rows. PostgreSQL is
// the judge, over a plain table in the view's place.
func TestNarrowAgainstPostgreSQL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Super(t, `CREATE SCHEMA system; CREATE TABLE system.jobs AS SELECT 'id' || i AS job_id, 'type' || i % 2 AS job_type, 'app.t' || i % 3 AS target,
		(ARRAY['running','paused'])[1 + i % 2] AS status, NULL::text AS phase, 0.5::float8 AS progress, 1::bigint AS rows_total, i::bigint AS rows_flushed, now() AS created_at
		FROM generate_series(1, 6) AS i; GRANT USAGE ON SCHEMA system TO PUBLIC; GRANT ALL ON system.jobs TO PUBLIC`)
	conn := w.Connect(t, w.OwnerURL)
	pool := strings.Fields(`SELECT * , FROM system . jobs AS j WHERE job_id job_id target job_type status rows_flushed = = = <> < >= IN ( ) ( ) , 'id1' 'id2' 'app.t1' 'type1' 'running' 1 2
		AND AND AND OR NOT IS NULL true false LIKE BETWEEN CASE WHEN THEN END UNION ALL EXCEPT TABLE count ( * ) lower ( max ( ORDER BY GROUP BY 1 LIMIT 1 OFFSET - + interval j . jobs . DISTINCT`)
	seeds := []string{
		"SELECT count ( * ) , max ( status ) FROM system . jobs WHERE job_id = 'id1' AND status = 'running'",
		"SELECT job_id FROM system . jobs AS j WHERE j . target IN ( 'app.t1' , 'app.t2' ) AND NOT rows_flushed < 2 ORDER BY 1",
		"SELECT DISTINCT status FROM system . jobs j WHERE 'type1' = j . job_type AND ( job_id <> 'id3' ) ORDER BY status LIMIT 2",
		"SELECT status , count ( * ) FROM system . jobs WHERE job_id IN ( 'id1' ) AND 'app.t1' = target GROUP BY status ORDER BY 1",
	}
	random := rand.New(rand.NewPCG(4, 11))
	narrowedTo, compared := 0, 0
	for range 60_000 {
		toks := strings.Fields(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(4) {
			at, word := random.IntN(len(toks)), pool[random.IntN(len(pool))]
			switch random.IntN(3) {
			case 0:
				toks = slices.Insert(toks, at, word)
			case 1:
				toks[at] = word
			default:
				toks = slices.Delete(toks, at, at+1)
			}
		}
		sql := strings.Join(toks, " ")
		n := parse.Narrow(sql, "system")
		if n == nil {
			continue
		}
		narrowedTo++
		full, err := rows(t, conn, sql)
		if err != nil {
			continue // no statement of PostgreSQL's
		}
		exec1(t, conn, "BEGIN")
		exec1(t, conn, "DELETE FROM system.jobs WHERE NOT ("+kept("job_id", n.JobIDs)+" AND "+kept("target", n.Targets)+" AND "+kept("job_type", n.Types)+")")
		part, err := rows(t, conn, sql)
		exec1(t, conn, "ROLLBACK")
		if compared++; err != nil || part != full {
			t.Errorf("%s\n%s of all\n%s of %+v (%v)", sql, full, part, n, err)
		}
	}
	if compared < 500 {
		t.Errorf("compared %d of %d", compared, narrowedTo)
	}
}

func kept(column string, values []string) string {
	if len(values) == 0 {
		return "true"
	}
	return column + " IN ('" + strings.Join(values, "', '") + "')"
}

func exec1(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if err := exec(t, conn, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Who reads a narrowed list beside the statement that it was made for gets an error, never a short answer.
func TestNarrowedListIsReadOnce(t *testing.T) {
	t.Parallel()
	w, _ := withViews(t, nil)
	ids := w.jobZoo(t)
	_, user := w.user(t, "user", "GRANT USAGE ON SCHEMA system TO USER", "GRANT SELECT ON ALL TABLES IN SCHEMA system TO USER", "GRANT USAGE ON SCHEMA app TO USER")
	conn := w.through(t, user, pgx.QueryExecModeExec)
	sql := "SELECT job_id FROM system.jobs WHERE job_id = '" + ids[1] + "' AND rows_flushed <> status"
	// A cast can hide in a comparison, where nothing shows it.
	w.Super(t, `CREATE FUNCTION app.nosy(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM system.jobs); END $$`,
		`CREATE CAST (text AS bigint) WITH FUNCTION app.nosy(text) AS IMPLICIT`)
	_, err := rows(t, conn, sql)
	if pe := pgError(t, err); pe.Code != "55000" || !strings.Contains(pe.Hint, "parentheses") {
		t.Errorf("%+v", pe)
	}
	if asked := w.jobs.questions(); len(asked) != 1 || len(asked[0].IDs) != 1 {
		t.Errorf("asked %+v: the statement was not narrowed, and shows nothing", asked)
	}
	// As the hint says. The function is another reader of the same statement, so it sees the same list.
	head, cond, _ := strings.Cut(sql, "WHERE ")
	if got, err := rows(t, conn, head+"WHERE ("+cond+")"); err != nil || got != "[["+ids[1]+"]]" {
		t.Errorf("%s %v", got, err)
	}
	w.Super(t, `DROP CAST (text AS bigint)`)

	// A function of the user's under the name of one of PostgreSQL's: nothing is narrowed.
	w.jobs.questions()
	w.Super(t, `CREATE FUNCTION app.lower(bigint) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT count(*) FROM system.jobs)::text; END $$`)
	exec1(t, conn, "SET search_path = app")
	if got, err := rows(t, conn, "SELECT lower(rows_flushed) FROM system.jobs WHERE job_id = '"+ids[1]+"'"); err != nil || got != "[[41]]" {
		t.Errorf("%s %v", got, err)
	}
	if asked := w.jobs.questions(); len(asked) != 1 || !all(asked[0]) {
		t.Errorf("asked %+v", asked)
	}
	// So with an operator.
	w.Super(t, `CREATE FUNCTION app.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'`, `CREATE OPERATOR app.= (LEFTARG = text, RIGHTARG = text, FUNCTION = app.never)`)
	exec1(t, conn, "SET search_path = app, pg_catalog")
	if got, err := rows(t, conn, "SELECT job_id FROM system.jobs WHERE job_id = '"+ids[1]+"'"); err != nil || got != "[]" {
		t.Errorf("%s %v", got, err)
	}
	if asked := w.jobs.questions(); len(asked) != 1 || !all(asked[0]) {
		t.Errorf("asked %+v", asked)
	}
}

// A portal that was bound before cannot read what was handed over for another statement.
func TestNarrowedListIsForItsStatement(t *testing.T) {
	t.Parallel()
	w, reader := withViews(t, nil)
	ids := w.jobZoo(t)
	conn := w.through(t, reader, pgx.QueryExecModeExec)
	batch := func(first, second string) error {
		p := conn.PgConn().StartPipeline(t.Context())
		p.SendPrepare("whole", "SELECT count(*) FROM system.jobs", nil)
		p.SendQueryParams(first, nil, nil, nil, nil)
		p.SendQueryPrepared("whole", nil, nil, nil)
		p.SendQueryParams(second, nil, nil, nil, nil)
		p.SendDeallocate("whole")
		if err := p.Sync(); err != nil {
			return err
		}
		var all error
		for {
			r, err := p.GetResults()
			if err != nil {
				all = errors.Join(all, err)
				break
			}
			if rr, ok := r.(*pgconn.ResultReader); ok {
				res := rr.Read()
				all = errors.Join(all, res.Err)
				if got := string(res.Rows[0][0]); got != ids[1] && got != "41" {
					all = errors.Join(all, fmt.Errorf("read %s", got))
				}
			}
			if _, ok := r.(*pgconn.PipelineSync); ok {
				break
			}
		}
		return errors.Join(all, p.Close())
	}
	one := "SELECT job_id FROM system.jobs WHERE job_id = '" + ids[1] + "'"
	if err := batch(one, one); err != nil {
		t.Error(err)
	}
	// By SQL, and in a block: DECLARE and EXECUTE are other statements than what they run.
	exec1(t, conn, "BEGIN")
	exec1(t, conn, "DECLARE c CURSOR FOR SELECT job_id FROM system.jobs")
	exec1(t, conn, one)
	if pe := pgError(t, exec(t, conn, "FETCH ALL FROM c")); pe.Code != "55000" || pe.Hint == "" {
		t.Errorf("%+v", pe)
	}
	exec1(t, conn, "ROLLBACK")
	exec1(t, conn, "PREPARE p AS SELECT count(*) FROM system.jobs")
	for range 2 {
		if got, err := rows(t, conn, "EXECUTE p"); err != nil || got != "[[41]]" {
			t.Errorf("%s %v", got, err)
		}
		exec1(t, conn, one)
	}
	// What is prepared under the name is PostgreSQL's affair; the text that the client has sent is not what runs.
	exec1(t, conn, "PREPARE same AS SELECT count(*) FROM system.jobs")
	if _, err := conn.PgConn().Prepare(t.Context(), "same", one, nil); pgError(t, err).Code != "42P05" {
		t.Error(err)
	}
	if res := conn.PgConn().ExecPrepared(t.Context(), "same", nil, nil, nil).Read(); res.Err != nil || string(res.Rows[0][0]) != "41" {
		t.Errorf("%s %v", res.Rows, res.Err)
	}
}

// The cap is on what is handed over: one job among many can always be read, and killed.
func TestNarrowedBeyondTheCap(t *testing.T) {
	t.Parallel()
	w, reader := withViews(t, &sqlfront.Options{LiveLimit: 10_000})
	w.addJobs(20_000, "")
	id := w.jobs.all[12_345].ID.String()
	conn := w.through(t, reader, pgx.QueryExecModeExec)
	if pe := pgError(t, exec(t, conn, "SELECT * FROM system.jobs")); pe.Code != "54000" {
		t.Errorf("%+v", pe)
	}
	for _, cond := range []string{"job_id = '" + id + "'", "target = 'app.t12345'"} {
		if got, err := rows(t, conn, "SELECT job_id FROM system.jobs WHERE "+cond); err != nil || got != "[["+id+"]]" {
			t.Errorf("%s: %s %v", cond, got, err)
		}
	}
	if pe := pgError(t, exec(t, conn, "SELECT * FROM system.jobs WHERE job_type = 'flush'")); pe.Code != "54000" {
		t.Errorf("%+v", pe)
	}
	if pe := pgError(t, exec(t, conn, "KILL JOBS WHERE status = 'running'")); pe.Code != "54000" {
		t.Errorf("%+v", pe)
	}
	super := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	w.Super(t, "GRANT USAGE ON SCHEMA system TO PUBLIC", "GRANT SELECT ON ALL TABLES IN SCHEMA system TO PUBLIC", "CREATE TABLE app.t12345 (id int)", "ALTER TABLE app.t12345 OWNER TO "+w.Owner)
	if got, err := killJobs(t, super, "KILL JOBS WHERE job_id = '"+id+"' AND status = 'running'"); err != nil || len(got) != 1 || got[0].Error != nil || *got[0].JobID != id {
		t.Errorf("%+v %v", got, err)
	}
}
