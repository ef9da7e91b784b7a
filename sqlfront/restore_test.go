package sqlfront_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// The statement becomes the job that it asks for, by both protocols, and is audited.
func TestRestoreTable(t *testing.T) {
	t.Parallel()
	const job = "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint, at timestamptz)")
	w.catalog.segments = []sqlfront.Segment{{JobID: job}}
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			conn := w.through(t, w.OwnerURL, mode)
			for _, c := range []struct {
				sql    string
				params map[string]string
			}{
				{"RESTORE TABLE app.events", map[string]string{}},
				{"restore table app.events with (on_conflict = error, replicate = false)", map[string]string{}},
				{"RESTORE TABLE app.events FROM JOB '" + job + "' WITH (on_conflict = skip, parallelism = 3, lock_timeout = '1s', drop_columns = (a, b), replicate) WHERE id > 5",
					map[string]string{"from_job": job, "on_conflict": "skip", "parallelism": "3", "lock_timeout": "1000", "drop_columns": "a, b", "replicate": "true",
						"where": "((id > 5)) AND CASE WHEN true THEN true ELSE COALESCE(id, NULL::bigint) IS NULL END"}},
			} {
				got, err := start(t.Context(), conn, c.sql)
				if err != nil || len(got) != 1 || got[0].JobID == nil || !strings.HasPrefix(*got[0].JobID, "restore:app.events:") || got[0].Target != "app.events" {
					t.Fatalf("%s: %+v, %v", c.sql, got, err)
				}
				spec := w.jobs.last()
				if spec.Type != "restore" || !maps.Equal(spec.Params, c.params) || spec.Statement != c.sql || spec.RequestedBy != w.Owner {
					t.Errorf("%s: %+v", c.sql, spec)
				}
				if e := w.catalog.lastAudit(); e.JobID != *got[0].JobID || e.Outcome != "started" {
					t.Errorf("audit: %+v", e)
				}
				w.jobs.endAll()
			}
		})
	}
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeCacheStatement)
	var id, status, target string
	var existing bool
	var failed *string
	if err := conn.QueryRow(t.Context(), "RESTORE TABLE app.events FROM JOB $1", job).Scan(&id, &status, &existing, &target, &failed); err != nil || w.jobs.last().Params["from_job"] != job {
		t.Errorf("with a parameter: %v, %+v", err, w.jobs.last())
	}
}

func TestRestoreErrors(t *testing.T) {
	t.Parallel()
	refusal := &sqlfront.Refusal{Table: "app.refused", Code: "42501", Message: "permission denied: the worker's role lacks INSERT", Hint: "grants --restore"}
	w := newWorld(t, &sqlfront.Options{CheckRestore: func(_ context.Context, table jobmanager.Table, _ map[string]string) (*sqlfront.Refusal, error) {
		switch table.Name {
		case "refused":
			return refusal, nil
		case "unseen":
			return nil, errors.New("the database does not answer")
		}
		return nil, nil
	}})
	w.Exec(t, "CREATE TABLE app.events (id bigint)", "CREATE TABLE app.refused (id bigint)", "CREATE TABLE app.unseen (id bigint)", "CREATE VIEW app.v AS SELECT 1 AS one")
	const gone = "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	for _, c := range []struct {
		sql, code string
		pos       int32
		message   string
	}{
		{"RESTORE TABLE events", "42601", 15, "is not qualified"},
		{"RESTORE TABLE app.missing", "42P01", 15, `relation "app.missing" does not exist`},
		{"RESTORE TABLE app.v", "42809", 15, `"app.v" is a view`},
		{"RESTORE TABLE pg_catalog.pg_class", "42501", 15, "cannot be restored"},
		{"RESTORE TABLE app.events WITH (on_conflict = update)", "22023", 46, "expected error or skip"},
		{"RESTORE TABLE app.events WITH (verify = full)", "22023", 32, `unknown option "verify"`},
		{"RESTORE TABLE app.events WITH (drop_columns = 'a')", "22023", 47, "a list in parentheses"},
		{"RESTORE TABLE app.events WITH (triggers = fire)", "42501", 0, "triggers"},
		{"RESTORE TABLE app.events WHERE nope = 1", "42703", 32, "nope"},
		{"RESTORE TABLE app.events WHERE id IN (SELECT 1)", "0A000", 32, "subquer"},
		{"RESTORE TABLE app.events FROM JOB 'x'", "22023", 35, "malformed job id"},
		{"RESTORE TABLE app.events FROM JOB '" + gone + "'", "42704", 35, "not found"},
		{"RESTORE TABLE app.refused FROM JOB '" + gone + "'", "22023", 36, "is not one of table app.refused"},
		{"RESTORE TABLE app.refused", "42501", 15, "table app.refused cannot be restored: permission denied: the worker's role lacks INSERT"},
	} {
		_, err := conn.Exec(t.Context(), c.sql)
		if pe := pgError(t, err); pe.Code != c.code || c.pos > 0 && pe.Position != c.pos || !strings.Contains(pe.Message, c.message) {
			t.Errorf("%s: %s %d %s", c.sql, pe.Code, pe.Position, pe.Message)
		} else if e := w.catalog.lastAudit(); c.code != "42601" && (e.Outcome != c.code || e.Statement != c.sql) {
			t.Errorf("%s: audit %+v", c.sql, e)
		}
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	// Who could not look leaves it to the job.
	if _, err := start(t.Context(), conn, "RESTORE TABLE app.unseen"); err != nil {
		t.Error(err)
	}
	// A job that is known but has left nothing cold is no error: its restore brings nothing.
	old := jobmanager.JobInfo{Status: jobmanager.Completed}
	var err error
	if old.ID, err = jobmanager.ParseJobID(gone); err != nil {
		t.Fatal(err)
	}
	w.jobs.mu.Lock()
	w.jobs.all, w.jobs.specs = append(w.jobs.all, old), append(w.jobs.specs, jobmanager.JobSpec{})
	w.jobs.mu.Unlock()
	if _, err := start(t.Context(), conn, "RESTORE TABLE app.events FROM JOB '"+gone+"'"); err != nil {
		t.Error(err)
	}
	// A flush of a table that is being restored names the job that runs.
	_, err = start(t.Context(), conn, "FLUSH TABLE app.events")
	if pe := pgError(t, err); pe.Code != "55006" || !strings.Contains(pe.Message, "restore:app.events:") {
		t.Errorf("%s %s", pe.Code, pe.Message)
	}
	// Another's table.
	_, direct := w.user(t, "stranger")
	_, err = w.through(t, direct, pgx.QueryExecModeExec).Exec(t.Context(), "RESTORE TABLE app.events")
	if pe := pgError(t, err); pe.Code != "42501" || !strings.Contains(pe.Message, "must be owner") {
		t.Errorf("%s %s", pe.Code, pe.Message)
	}
}

func TestRestoreWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	go func() {
		for w.jobs.count() == 0 {
			runtime.Gosched()
		}
		w.jobs.set(func(j *jobmanager.JobInfo) {
			j.Status, j.Error, j.ErrorClass = jobmanager.Failed, "segment 4711 is damaged", "damaged"
		})
	}()
	_, err := start(t.Context(), conn, "RESTORE TABLE app.events WITH (wait = true)")
	if pe := pgError(t, err); pe.Code != "XX001" || !strings.Contains(pe.Message, "4711") || !strings.Contains(pe.Hint, "still cold") {
		t.Errorf("%s %s %s", pe.Code, pe.Message, pe.Hint)
	}
	_, err = conn.Exec(t.Context(), "BEGIN")
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), "RESTORE TABLE app.events WITH (wait = true)")
	if pe := pgError(t, err); pe.Code != "25001" || !strings.HasPrefix(pe.Message, "RESTORE") {
		t.Errorf("%s %s", pe.Code, pe.Message)
	}
}
