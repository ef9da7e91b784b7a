package e2e

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/product"
)

// plainPath is a path in which no shell, no SQL literal and no pattern of DuckDB sees anything special.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9._%~/=-]+$`)

// A14 A20: tables whose names would break a statement, a path or a pattern, through each command that names a table, from SQL and from
// the command line.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	u := shared(t)
	o := u.owner(t)
	for _, name := range []string{
		`x"; DROP TABLE app.victim; --`, `it's`, `../../etc/passwd`, `*?[a]{b,c}`, "two\nlines\tand a bell\a", strings.Repeat("ü", 31), `.tmp-x`, `%2e%2e`, `manifest.json`, ` `, `-o`,
	} {
		quoted := pgx.Identifier{"app", name}.Sanitize()
		u.db.Exec(t, fmt.Sprintf(createTable, quoted), fmt.Sprintf(fillTable, quoted, 1, 300))
		u.grant(quoted)
		u.db.Super(t, "GRANT INSERT ON "+quoted+" TO "+u.db.Worker)
		want := audit.Hot(t, u.db.SuperURL, "app", name, "")

		if plan := o.rows("EXPLAIN FLUSH TABLE " + quoted); len(plan) == 0 {
			t.Errorf("%q: EXPLAIN FLUSH says nothing", name)
		}
		id := o.rows("FLUSH TABLE " + quoted + " WITH (wait = true, " + small + ") WHERE id <= 200")[0]["job_id"].(string)
		if got := pgtest.Value[int64](t, u.db, "SELECT count(*) FROM "+quoted); got != 100 {
			t.Errorf("%q: %d rows are hot, want 100", name, got)
		}
		audit.Check(t, u.db.SuperURL, "app", name, want)
		if shown := o.rows("SHOW JOB '" + strings.ReplaceAll(id, "'", "''") + "'"); len(shown) != 1 || shown[0]["status"] != "completed" {
			t.Errorf("%q: SHOW JOB %s: %v", name, id, shown)
		}
		cold := o.rows("SHOW COLD TABLE " + quoted)
		if len(cold) == 0 {
			t.Fatalf("%q: SHOW COLD TABLE lists nothing", name)
		}
		for _, c := range cold {
			at, err := url.Parse(c["location"].(string))
			must(t, err)
			if !plainPath.MatchString(at.EscapedPath()) || !plainPath.MatchString(at.Path) || !strings.HasPrefix(at.Path, u.storage+"/") {
				t.Errorf("%q: a file at %q", name, c["location"])
			}
			if _, err := os.Stat(at.Path); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		if call := cold[0]["read_parquet"].(string); strings.Count(call, "'") != 2*len(cold) || strings.ContainsAny(call[strings.Index(call, "'"):strings.LastIndex(call, "'")], "*?{") {
			t.Errorf("%q: DuckDB would not read %s", name, call)
		}
		printed, err := csv.NewReader(strings.NewReader(product.MustRun(t, binary, nil, "cat", "--sql-url", u.through(u.db.OwnerURL), "--", quoted))).ReadAll()
		if err != nil || len(printed) != 201 {
			t.Errorf("%q: cat printed %d lines, want 201: %v", name, len(printed), err)
		}

		o.rows("VERIFY TABLE " + quoted + " WITH (wait = true)")
		o.rows("ALTER TABLE " + quoted + " SET FLUSH POLICY (rows = 100000)")
		o.rows("ALTER TABLE " + quoted + " RESET FLUSH POLICY")
		o.rows("CREATE SCHEDULE hostile FOR FLUSH TABLE " + quoted + " EVERY '1 day'")
		o.rows("DROP SCHEDULE hostile")
		if out := product.MustRun(t, binary, nil, "flush", "--sql-url", u.through(u.db.OwnerURL), "--wait", "--where", "id <= 250", "--", quoted); !strings.Contains(out, "50") {
			t.Errorf("%q: flush said %s", name, out)
		}
		o.rows("RESTORE TABLE " + quoted + " WITH (wait = true)")
		if after := audit.Hot(t, u.db.SuperURL, "app", name, ""); after.Count() != want.Count() {
			t.Errorf("%q: %d rows after RESTORE, want %d", name, after.Count(), want.Count())
		}
		audit.Check(t, u.db.SuperURL, "app", name, want)
		u.db.Exec(t, "DROP TABLE "+quoted)
		if left := o.rows("SHOW JOB '" + strings.ReplaceAll(id, "'", "''") + "'"); len(left) != 1 {
			t.Errorf("%q: its job is gone with the table", name)
		}
	}
}
