package sqlfront_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// VERIFY is for who may FLUSH, CLEANUP for operators; both are audited, refusals too.
func TestUpkeepRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.t (id int)", "CREATE VIEW app.v AS SELECT 1 AS x", "CREATE TABLE app.t"+strings.Repeat("x", 62)+" (id int)")
	w.Super(t, "CREATE ROLE operator_"+w.Name)
	t.Cleanup(func() { w.Super(t, "DROP ROLE operator_"+w.Name) })
	_, operator := w.user(t, "op", "GRANT operator_"+w.Name+" TO USER")
	_, stranger := w.user(t, "stranger")
	urls := map[string]string{"owner": w.OwnerURL, "operator": operator, "stranger": stranger, "super": w.SuperURL}
	for _, c := range []struct {
		who, sql, code, says string
		pos                  int32
	}{
		{"owner", "VERIFY TABLE app.t", "", "", 0},
		{"operator", "VERIFY TABLE app.t WITH (parallelism = 3)", "", "", 0},
		{"super", "VERIFY TABLE app.t", "", "", 0},
		{"stranger", "VERIFY TABLE app.t", "42501", "must be owner", 14},
		{"owner", "VERIFY TABLE app.v", "42809", "is a view", 14},
		{"owner", "VERIFY TABLE app.nothing", "42P01", "does not exist", 14},
		{"owner", "VERIFY TABLE app.t" + strings.Repeat("x", 80), "42P01", "does not exist", 14},
		{"operator", "VERIFY TABLE app.nothing", "42P01", "does not exist", 14},
		{"owner", "VERIFY TABLE app.t WITH (dry_run)", "22023", `unknown option "dry_run"`, 26},
		{"owner", "VERIFY TABLE app.t WITH (parallelism = 0)", "22023", "parallelism", 40},
		{"operator", "CLEANUP", "", "", 0},
		{"super", "CLEANUP OBJECT 'file:///a', 'file:///b' WITH (dry_run = true)", "", "", 0},
		{"owner", "CLEANUP", "42501", "permission denied", 0},
		{"stranger", "CLEANUP OBJECT 'file:///a'", "42501", "permission denied", 0},
		{"super", "CLEANUP WITH (older_than = '1 day')", "22023", "unknown option", 15},
	} {
		t.Run(c.who+" "+c.sql, func(t *testing.T) {
			w.jobs.endAll()
			before := w.jobs.count()
			conn := w.through(t, urls[c.who], pgx.QueryExecModeSimpleProtocol)
			rows, err := conn.Query(t.Context(), c.sql)
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			audit := w.catalog.lastAudit()
			if audit.Statement != c.sql {
				t.Errorf("audited: %+v", audit)
			}
			if c.code == "" {
				if err != nil || w.jobs.count() != before+1 || audit.Outcome != "started" || audit.JobID == "" {
					t.Errorf("%v, %d jobs, audit %+v", err, w.jobs.count()-before, audit)
				}
				return
			}
			e := pgError(t, err)
			if e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Position != c.pos || w.jobs.count() != before || audit.Outcome != c.code {
				t.Errorf("%s %q at %d, audit %+v", e.Code, e.Message, e.Position, audit)
			}
		})
	}
}

// A dropped table may have cold rows, which operators may look at.
func TestVerifyOfADroppedTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.catalog.segments = []sqlfront.Segment{{ID: "x"}}
	if _, err := start(t.Context(), w.through(t, w.SuperURL, pgx.QueryExecModeSimpleProtocol), "VERIFY TABLE app.gone"); err != nil {
		t.Error(err)
	}
	if _, err := start(t.Context(), w.through(t, w.OwnerURL, pgx.QueryExecModeSimpleProtocol), "VERIFY TABLE app.gone"); pgError(t, err).Code != "42P01" {
		t.Errorf("the owner of nothing: %v", err)
	}
}

func TestCleanupSpec(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn := w.through(t, w.SuperURL, pgx.QueryExecModeSimpleProtocol)
	var id, status string
	var existing bool
	var target, failed *string
	row := conn.QueryRow(t.Context(), "CLEANUP OBJECT 'file:///it''s', E'\\x41' WITH (dry_run = on)")
	if err := row.Scan(&id, &status, &existing, &target, &failed); err != nil || target != nil || failed != nil || !strings.HasPrefix(id, "cleanup::") {
		t.Errorf("%v: %s %s %v %v", err, id, status, target, failed)
	}
	spec := w.jobs.last()
	if spec.Type != "cleanup" || !spec.Table.IsZero() || spec.Params["dry_run"] != "true" || spec.Params["objects"] != `["file:///it's","A"]` || spec.RequestedBy == "" {
		t.Errorf("%+v", spec)
	}
	// It can be found and stopped as any job.
	if _, err := conn.Exec(t.Context(), "KILL JOB '"+id+"'"); err != nil {
		t.Error(err)
	}
	if _, err := w.through(t, w.OwnerURL, pgx.QueryExecModeSimpleProtocol).Exec(t.Context(), "KILL JOB '"+id+"'"); pgError(t, err).Code != "42501" {
		t.Errorf("KILL by somebody else: %v", err)
	}
}

// What was found is told at the end, and damage is an error with a code of its own.
func TestFindingsAreTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql    string
		found  sqlfront.Findings
		status jobmanager.Status
		notice string
	}{
		{"VERIFY TABLE app.t", sqlfront.Findings{Segments: 2, Rows: 30, Bytes: 2048}, jobmanager.Completed,
			"app.t: 2 segments read back (30 rows, 2048 bytes), all as they were registered; no stray objects"},
		{"VERIFY TABLE app.t", sqlfront.Findings{Segments: 1, Rows: 30, Bytes: 20480, Strays: 1, StrayBytes: 5}, jobmanager.Completed,
			"app.t: 1 segment read back (30 rows, 20 kB): 0 damaged, 0 missing; 1 stray object (5 bytes)"},
		{"VERIFY TABLE app.t", sqlfront.Findings{Segments: 3, Damaged: 1, Missing: 2}, jobmanager.Failed,
			"app.t: 3 segments read back (0 rows, 0 bytes): 1 damaged, 2 missing; 0 stray objects"},
		{"CLEANUP", sqlfront.Findings{Deleted: 2, DeletedBytes: 7, Kept: 1}, jobmanager.Completed, "cleanup: 2 objects removed (7 bytes), 1 kept"},
		{"CLEANUP", sqlfront.Findings{ToDelete: 1, ToDeleteBytes: 7}, jobmanager.Completed,
			"cleanup: 0 objects removed (0 bytes), 1 object to be removed (7 bytes)"},
	} {
		w := newWorld(t, nil)
		operator := "operator_" + w.Name
		w.Exec(t, "CREATE TABLE app.t (id int)")
		w.Super(t, "CREATE ROLE "+operator, "GRANT "+operator+" TO "+w.Owner)
		t.Cleanup(func() { w.Super(t, "DROP ROLE "+operator) })
		w.catalog.findings = c.found
		notices := make(chan string, 10)
		conn := w.noticing(t, func(m string) { notices <- m })
		var id string
		if err := conn.QueryRow(t.Context(), c.sql).Scan(&id, nil, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		w.jobs.set(func(j *jobmanager.JobInfo) {
			j.Status = c.status
			if c.status == jobmanager.Failed {
				j.ErrorClass, j.Error = "damaged", "file:///x is missing"
			}
		})
		if _, err := conn.Exec(t.Context(), "SHOW JOB '"+id+"'"); err != nil {
			t.Fatal(err)
		}
		if got := <-notices; got != c.notice {
			t.Errorf("%s\nnotice %s\nwant   %s", c.sql, got, c.notice)
		}
	}
}
