package sqlfront_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/jobmanager"
)

// killed is one row of KILL JOBS.
type killed struct{ JobID, Status, Error *string }

func killJobs(t *testing.T, conn *pgx.Conn, sql string) ([]killed, error) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[killed])
}

// addJob adds a live job of a table, and the table.
func (w *world) addJob(t *testing.T, table string, change func(*jobmanager.JobInfo)) string {
	t.Helper()
	w.Exec(t, "CREATE TABLE IF NOT EXISTS app."+table+" (id int)")
	info := jobmanager.JobInfo{ID: jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: table}, UUID: uuid.New()},
		Status: jobmanager.Running, CreatedAt: created}
	if change != nil {
		change(&info)
	}
	w.jobs.mu.Lock()
	defer w.jobs.mu.Unlock()
	w.jobs.all = append(w.jobs.all, info)
	w.jobs.specs = append(w.jobs.specs, jobmanager.JobSpec{})
	return info.ID.String()
}

func (w *world) statuses() map[string]string {
	w.jobs.mu.Lock()
	defer w.jobs.mu.Unlock()
	out := map[string]string{}
	for _, j := range w.jobs.all {
		out[j.ID.Table.Name] = string(j.Status)
	}
	return out
}

// audits returns the audited entries as lines, and forgets them.
func (c *catalog) audits() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []string
	for _, e := range c.entries {
		id, _, _ := strings.Cut(strings.TrimPrefix(e.JobID, "flush:app."), ":")
		lines = append(lines, fmt.Sprintf("%s|%s|%s", e.Statement, id, e.Outcome))
	}
	c.entries = nil
	slices.Sort(lines)
	return lines
}

func TestKillJobs(t *testing.T) { // A28
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := withViews(t, nil)
			w.Super(t, "GRANT USAGE ON SCHEMA system TO "+w.Owner, "GRANT SELECT ON system.jobs TO "+w.Owner)
			a := w.addJob(t, "a", nil)
			w.addJob(t, "b", func(j *jobmanager.JobInfo) { j.Status, j.RequestedBy = jobmanager.Pending, "somebody" })
			w.addJob(t, "c", func(j *jobmanager.JobInfo) { j.RowsFlushed = 7 })
			w.addJob(t, "done", func(j *jobmanager.JobInfo) { j.Status = jobmanager.Completed })
			w.Exec(t, "CREATE TABLE app.keep (job_id text)", "INSERT INTO app.keep VALUES ('"+a+"')", "CREATE FUNCTION app.many(bigint) RETURNS bool LANGUAGE sql AS 'SELECT $1 > 5'")
			conn := w.through(t, w.OwnerURL, mode)
			for _, c := range []struct{ where, want string }{
				{"true", "a b c"}, {"status = 'pending'", "b"}, {"system.jobs.rows_flushed > 5", "c"}, {"jobs.target = 'app.a'", "a"},
				{"app.many(rows_flushed)", "c"}, {"job_id NOT IN (SELECT job_id FROM app.keep)", "b c"}, {"status = 'completed'", ""},
				{"job_id IN (SELECT j.job_id FROM system.jobs AS j WHERE j.rows_flushed = 0)", "a b"}, {"requested_by = 'somebody' -- all of his", "b"},
				{"created_at < now() - interval '1 h' AND 'it''s; )' <> $$ ) ; $$", "a b c"}, {"NULL", ""},
			} {
				rows, err := conn.Query(t.Context(), "EXPLAIN KILL JOBS WHERE "+c.where)
				if err != nil {
					t.Fatal(err)
				}
				type would struct {
					JobID, Status string
					Error         *string
					Target        string
					RequestedBy   *string
					CreatedAt     any
					RowsFlushed   int64
				}
				list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[would])
				if err != nil {
					t.Errorf("%s: %v", c.where, err)
					continue
				}
				var got []string
				for _, r := range list {
					got = append(got, strings.TrimPrefix(r.Target, "app."))
					if r.Error != nil {
						t.Errorf("%s: %s", c.where, *r.Error)
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("%s: %v, want %s", c.where, got, c.want)
				}
			}
			if s := w.statuses(); s["a"] != "running" || s["b"] != "pending" || len(w.catalog.audits()) != 0 {
				t.Errorf("EXPLAIN changed something: %v", s)
			}
			list, err := killJobs(t, conn, "KILL JOBS WHERE rows_flushed > 5 OR target = 'app.b';")
			if err != nil || len(list) != 2 || *list[0].Status != "cancelling" || list[0].Error != nil || !strings.Contains(*list[0].JobID, "app.b:") {
				t.Errorf("%+v %v", list, err)
			}
			if s := w.statuses(); s["a"] != "running" || s["b"] != "cancelling" || s["c"] != "cancelling" || s["done"] != "completed" {
				t.Errorf("%v", s)
			}
			text := "KILL JOBS WHERE rows_flushed > 5 OR target = 'app.b'"
			if got, want := w.catalog.audits(), []string{text + "|b|cancelling", text + "|c|cancelling"}; !slices.Equal(got, want) {
				t.Errorf("audit %v", got)
			}
			if list, err := killJobs(t, conn, "CANCEL JOBS WHERE false"); err != nil || len(list) != 0 {
				t.Errorf("%v %v", list, err)
			}
			if got := w.catalog.audits(); !slices.Equal(got, []string{"CANCEL JOBS WHERE false||no job"}) {
				t.Errorf("audit %v", got)
			}
			// It acts at once, and a transaction that is rolled back does not take it back.
			if err := exec(t, conn, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if list, err := killJobs(t, conn, "KILL JOBS WHERE target = 'app.a'"); err != nil || len(list) != 1 {
				t.Errorf("%v %v", list, err)
			}
			if err := exec(t, conn, "ROLLBACK"); err != nil || w.statuses()["a"] != "cancelling" {
				t.Errorf("%v %v", err, w.statuses())
			}
		})
	}
}

func TestKillJobsRights(t *testing.T) { // A52
	t.Parallel()
	w, readerURL := withViews(t, nil)
	w.Exec(t, "CREATE TABLE app.theirs (id int)")
	a, theirs := w.addJob(t, "mine", nil), w.addJob(t, "theirs", nil)
	w.Super(t, "ALTER TABLE app.mine OWNER TO reader_"+w.Name)
	reader := w.through(t, readerURL, pgx.QueryExecModeExec)
	for _, verb := range []string{"EXPLAIN KILL", "KILL"} {
		rows, err := reader.Query(t.Context(), verb+" JOBS WHERE true")
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowToMap)
		if err != nil || len(list) != 2 {
			t.Fatalf("%v %v", list, err)
		}
		if list[0]["job_id"] != a || list[0]["error"] != nil || list[1]["job_id"] != theirs || list[1]["status"] != "running" ||
			list[1]["error"] != `permission denied for job "`+theirs+`" (42501)` {
			t.Errorf("%s: %v", verb, list)
		}
	}
	if s := w.statuses(); s["mine"] != "cancelling" || s["theirs"] != "running" {
		t.Errorf("%v", s)
	}
	if got := w.catalog.audits(); !slices.Equal(got, []string{"KILL JOBS WHERE true|mine|cancelling", "KILL JOBS WHERE true|theirs|42501"}) {
		t.Errorf("audit %v", got)
	}
	// Who may not read system.jobs learns nothing from it.
	_, nobodyURL := w.user(t, "nobody")
	nobody := w.through(t, nobodyURL, pgx.QueryExecModeExec)
	if pe := pgError(t, exec(t, nobody, "KILL JOBS WHERE true")); pe.Code != "42501" || pe.Hint == "" {
		t.Errorf("%+v", pe)
	}
	if got := w.catalog.audits(); !slices.Equal(got, []string{"KILL JOBS WHERE true||42501"}) {
		t.Errorf("audit %v", got)
	}
}

func TestKillJobsErrors(t *testing.T) {
	t.Parallel()
	w, _ := withViews(t, nil)
	w.Super(t, "GRANT USAGE ON SCHEMA system TO "+w.Owner, "GRANT SELECT ON system.jobs TO "+w.Owner)
	w.addJob(t, "a", nil)
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	for sql, want := range map[string]string{
		"KILL JOBS WHERE nonsense = 1":                                            "42703 at 17",
		"KILL JOBS WHERE status = 'ü' AND nonsense = 1":                           "42703 at 34",
		"KILL JOBS WHERE status":                                                  "42804 at 17",
		"KILL JOBS WHERE true ORDER BY 1":                                         "42601 at 22",
		"KILL JOBS WHERE true UNION SELECT 'x'":                                   "42601 at 22",
		"KILL JOBS WHERE true) OR (true":                                          "42601 at 21",
		"KILL JOBS WHERE count(*) > 1":                                            "42803 at 17",
		"KILL JOBS WHERE 1 / rows_flushed > 0":                                    "22012 at 0",
		"KILL JOBS WHERE (WITH d AS (DELETE FROM app.a RETURNING 1) SELECT true)": "0A000 at 23",
	} {
		pe := pgError(t, exec(t, conn, sql))
		if got := fmt.Sprintf("%s at %d", pe.Code, pe.Position); got != want {
			t.Errorf("%s: %s, want %s (%s)", sql, got, want, pe.Message)
		}
	}
	if s := w.statuses(); s["a"] != "running" {
		t.Errorf("%v", s)
	}
	w.jobs.fail = errors.New("broken")
	list, err := killJobs(t, conn, "KILL JOBS WHERE true")
	if err != nil || len(list) != 1 || *list[0].Status != "running" || *list[0].Error != "broken (XX000)" {
		t.Errorf("%+v %v", list, err)
	}
	if err := exec(t, conn, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if pe := pgError(t, exec(t, conn, "KILL JOBS WHERE nonsense = 1")); pe.Code != "42703" {
		t.Errorf("%+v", pe)
	}
	if pe := pgError(t, exec(t, conn, "KILL JOBS WHERE true")); pe.Code != "25P02" {
		t.Errorf("%+v", pe)
	}
}

// The history may be long: who kills live jobs does not read it.
func TestKillJobsLeavesHistoryAlone(t *testing.T) {
	t.Parallel()
	w, _ := withViews(t, nil)
	conn := w.Connect(t, w.WorkerURL)
	rows, err := conn.Query(context.Background(), `EXPLAIN (COSTS off) SELECT job_id FROM system.jobs WHERE system.jobs.status OPERATOR(pg_catalog.=) ANY ('{pending,running}'::pg_catalog.text[]) AND (rows_flushed > 5)`)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if plan := strings.Join(lines, "\n"); err != nil || strings.Contains(plan, "Append") {
		t.Errorf("%v\n%s", err, plan)
	}
}

// A52: what is refused is audited as well, whoever asks and whatever keeps it from being done.
func TestRefusalsAreAudited(t *testing.T) {
	t.Parallel()
	w, _ := withViews(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id int)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	for sql, code := range map[string]string{
		"KILL JOB 'nonsense'": "22023", "KILL JOB 'flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f'": "42704",
		"FLUSH TABLE app.nothing": "42P01", "FLUSH TABLE app.events WITH (speed = 3)": "22023", "FLUSH TABLE app.events WHERE nope": "42703",
		"FLUSH ALL TABLES IN nowhere": "42704", "FLUSH ALL TABLES WITH (unregistered = true)": "22023",
	} {
		if err := exec(t, conn, sql); pgError(t, err).Code != code {
			t.Errorf("%s: %v", sql, err)
		}
		if got := w.catalog.audits(); len(got) != 1 || !strings.HasPrefix(got[0], sql+"|") || !strings.HasSuffix(got[0], "|"+code) {
			t.Errorf("%s: audit %v", sql, got)
		}
	}
	for _, sql := range []string{"SHOW JOBS", "SHOW JOB 'nonsense'", "EXPLAIN KILL JOBS WHERE nope", "EXPLAIN FLUSH TABLE app.nothing", "SHOW COLD TABLE app.nothing"} {
		_ = exec(t, conn, sql) // whether it works or not
		if got := w.catalog.audits(); len(got) != 0 {
			t.Errorf("%s: audit %v", sql, got)
		}
	}
}

// In a pipeline a KILL JOBS acts between its neighbours, and its error fails what follows.
func TestKillJobsInAPipeline(t *testing.T) {
	t.Parallel()
	w, _ := withViews(t, nil)
	w.Super(t, "GRANT USAGE ON SCHEMA system TO "+w.Owner, "GRANT SELECT ON system.jobs TO "+w.Owner)
	w.addJob(t, "a", nil)
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	batch := &pgx.Batch{}
	batch.Queue("INSERT INTO app.a VALUES (1)")
	batch.Queue("KILL JOBS WHERE target = 'app.a'")
	batch.Queue("SELECT status FROM system.jobs")
	results := conn.SendBatch(t.Context(), batch)
	var status string
	_, err1 := results.Exec()
	_, err2 := results.Exec()
	err3 := results.QueryRow().Scan(&status)
	if err := errors.Join(err1, err2, err3, results.Close()); err != nil || status != "cancelling" {
		t.Errorf("%s %v", status, err)
	}
	batch = &pgx.Batch{}
	batch.Queue("INSERT INTO app.a VALUES (2)")
	batch.Queue("KILL JOBS WHERE nonsense = 1")
	batch.Queue("INSERT INTO app.a VALUES (3)")
	if err := conn.SendBatch(t.Context(), batch).Close(); pgError(t, err).Code != "42703" {
		t.Error(err)
	}
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM app.a").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows, %v", n, err)
	}
}
