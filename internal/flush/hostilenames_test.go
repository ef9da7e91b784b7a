package flush_test

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A14, A20: names and values that would break a statement, a path or a line of text come through a flush, a verification and a restore.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, "CREATE TABLE app.t (id int)")
	hostile := []string{
		`x"; DROP TABLE app.t; --`, `'); DROP TABLE app.t; --`, `../../../etc/passwd`, `..`, `.`, `/`, `a/b\c`, "tab\tnew\nline\rbell\a", "\u202egnp.exe", `{namespace}/{column:id}`, `%2e%2e%2f`,
		`$$ $1 $x$`, `C:\con`, `.tmp-x-ABCDEFGHIJKL`, strings.Repeat("a", 63), strings.Repeat("ü", 31), strings.Repeat("😀", 15), "e\u0301", "\u00e9", ` `, `manifest.json`, `\N`, `\.`, `*?[]`,
	}
	for i, name := range hostile {
		if i%4 > 0 && os.Getenv("SPILLWAY_LONG") == "" {
			continue
		}
		table := pgx.Identifier{"app", name}.Sanitize()
		column := pgx.Identifier{name}.Sanitize()
		r.db.Exec(t, "CREATE TABLE "+table+" (id int PRIMARY KEY, "+column+" text)",
			"GRANT SELECT, DELETE, UPDATE, INSERT ON "+table+" TO "+r.db.Worker)
		conn := r.db.Connect(t, r.db.OwnerURL)
		for k, value := range hostile {
			_, err := conn.Exec(t.Context(), "INSERT INTO "+table+" VALUES ($1, $2)", k, value)
			must(t, err)
		}
		must(t, conn.Close(t.Context()))
		before := audit.Hot(t, r.db.SuperURL, "app", name, "")
		r.params = map[string]string{}
		if i%16 == 0 { // a directory for each value
			r.params["partition_by"] = column
		}
		if res := flushTable(t, r, name); res.Rows != int64(len(hostile)) {
			t.Errorf("%q: %d rows flushed, want %d", name, res.Rows, len(hostile))
		}
		if cold := audit.Cold(t, r.db.SuperURL, "app", name); !maps.Equal(before, cold) {
			t.Errorf("%q: %d cold rows differ from %d", name, cold.Count(), before.Count())
		}
		restoreNamed(t, r, name)
		if after := audit.Hot(t, r.db.SuperURL, "app", name, ""); !maps.Equal(before, after) {
			t.Errorf("%q: %d restored rows differ from %d", name, after.Count(), before.Count())
		}
	}
}

// restoreNamed verifies a table of the schema app and restores it.
func restoreNamed(t *testing.T, r *rig, name string) {
	t.Helper()
	ctx := context.Background()
	check := "verify:" + uuid.NewString()
	plan, err := r.k.PlanVerify(ctx, jobstep.PlanInput{JobID: check, RequestID: r.ask(jobstep.VerifyType, "app", name, nil), Generation: 1})
	must(t, err)
	for n := range plan.Chunks {
		_, err := r.k.CheckSegments(ctx, jobstep.ChunkInput{JobID: check, Chunk: n, Attempt: 1}, nil)
		must(t, err)
	}
	if found := r.findings(check); len(found) > 0 {
		t.Errorf("%q: VERIFY found %v", name, found)
	}
	id := uuid.New()
	must(t, r.ledger.PutRequest(ctx, ledger.Request{ID: id, JobType: "restore", Schema: "app", Table: name, Trigger: "command"}))
	j := &job{rig: r, id: "restore:app.x:" + uuid.NewString(), request: id.String()}
	j.plan, err = r.f.PlanRestore(ctx, jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1})
	must(t, err)
	j.restore()
}
