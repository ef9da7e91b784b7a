package command

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// A19: an array of another shape fails the job, which says where it is and what to do; what it says helps.
func TestFlushLocalArrays(t *testing.T) {
	t.Parallel()
	cold := t.TempDir()
	db := grantedDatabase(t, []string{"app.boards"}, []string{
		`CREATE TABLE app.boards (id int PRIMARY KEY, "Cells" int[], amount numeric(5,2))`,
		`INSERT INTO app.boards VALUES (1, '{{0,1},{1,0}}', 1), (2, '{7,NULL}', 'NaN')`,
	})
	want := audit.Hot(t, db.SuperURL, "app", "boards", "")
	flags := []string{"flush", "app.boards", "--local", "--database-url", db.WorkerURL, "--storage", cold}
	r := invoke(t, flags)
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, r.errOut, "failed (unrepresentable)", "app.boards", `"Cells"`, "ctid (0,1)", "key id=1", "2 dimensions", "as_text")
	if n := pgtest.Value[int](t, db, "SELECT count(*) FROM app.boards"); n != 2 {
		t.Errorf("%d rows are hot, want 2", n)
	}
	if r = invoke(t, append(flags, "--with", "as_text=(Cells)")); r.code != 1 {
		t.Errorf("a column that is not there: exit code %d", r.code)
	}
	mustContain(t, r.errOut, `"cells"`)
	if r = invoke(t, append(flags, "--with", `as_text=("Cells", amount)`)); r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.errOut)
	}
	audit.Check(t, db.SuperURL, "app", "boards", want)
	audit.Storage(t, db.SuperURL, cold)
}
