package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
	"github.com/spillwaydb/spillway/tests/product"
)

// A20 A21 A22 A23: what a FLUSH says of its files is what happens, from the statement to the folder.
func TestLayoutBySQL(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "laid_out", 2000)
	u.db.Exec(t, `UPDATE app.laid_out SET note = '../x' WHERE id % 3 = 0`, `ANALYZE app.laid_out`)
	tb.want = audit.Hot(t, u.db.SuperURL, "app", "laid_out", "")
	s := u.owner(t)
	const with = `WITH (partition_by = (tenant, day(at)), order_by = (amount DESC), path = '{namespace}/{table}/t={column:tenant}/{yyyy}/{mm}/{dd}', codec = snappy, bloom = (id), ` + small + `)`
	said := map[string]string{}
	for _, r := range s.rows("EXPLAIN FLUSH TABLE app.laid_out " + with) {
		value, _ := r["value"].(string)
		property, _ := r["property"].(string)
		said[property] = value
	}
	for property, want := range map[string]string{"partition_by": "tenant, day(at)", "order_by": "amount DESC", "sort": "by PostgreSQL", "codec": "snappy", "outcome": "ready",
		"directory": "app/laid_out/t=<tenant>/<yyyy>/<mm>/<dd>"} {
		if said[property] != want {
			t.Errorf("EXPLAIN says %s = %q, want %q", property, said[property], want)
		}
	}
	j := s.flush(tb, with)
	s.wait(j.id, "completed")
	if tb.hot() != 0 {
		t.Errorf("%d rows are hot", tb.hot())
	}
	segments := tb.segments()
	dirs := map[string]bool{}
	for _, g := range segments {
		dir := strings.TrimPrefix(filepath.Dir(strings.TrimPrefix(g.Location, "file://")), u.storage+"/")
		dirs[dir] = true
	}
	if len(dirs) != 14 || !dirs["app/laid_out/t=3/2026/01/02"] || len(segments) < 14 {
		t.Errorf("%d files in %v", len(segments), dirs)
	}
	if n := pgtest.Value[int](t, u.db, `SELECT count(*) FROM spillway.segments WHERE table_name = 'laid_out' AND codec = 'snappy' AND location LIKE
		'%/t=' || (partition_values->>'tenant') || '/' || replace(partition_values->>'at_day', '-', '/') || '/%'`); n != len(segments) {
		t.Errorf("%d of %d segments lie where their values say", n, len(segments))
	}
	told := s.rows("SELECT segments, rows_flushed FROM system.jobs WHERE job_id = '" + j.id + "'")
	if len(told) != 1 || told[0]["segments"] != int64(len(segments)) || told[0]["rows_flushed"] != int64(2000) {
		t.Errorf("system.jobs says %v, there are %d segments", told, len(segments))
	}
	manifest, err := os.ReadFile(filepath.Join(tb.dir(), "manifest.json"))
	must(t, err)
	if n := strings.Count(string(manifest), `"at_day":`); n != len(segments) || !strings.Contains(string(manifest), `"codec":"snappy"`) {
		t.Errorf("the manifest lists %d of %d files with their values", n, len(segments))
	}
	if got := catJSON(t, u, "app.laid_out"); len(got) != 2000 {
		t.Errorf("cat gives %d rows", len(got))
	}
	tb.insert(3001, 3010)
	s.wait(s.flush(tb, "").id, "completed") // beside the others, in the table's own directory
	if len(tb.segments()) != len(segments)+1 {
		t.Errorf("%d segments", len(tb.segments()))
	}
}

// What a layout asks for in vain is an error of the statement, at its place, and starts no job.
func TestLayoutErrorsOfTheStatement(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "not_laid_out", 10)
	u.db.Exec(t, "ALTER TABLE app.not_laid_out ADD COLUMN doc json, ADD COLUMN flag boolean")
	tb.want = audit.Hot(t, u.db.SuperURL, "app", "not_laid_out", "")
	s := u.owner(t)
	for _, c := range []struct{ with, at, message string }{
		{`partition_by = (tenant, nobody)`, "nobody", `column "nobody" does not exist`},
		{`partition_by = (day(note))`, "day(note)", "expected date, timestamp or timestamptz"},
		{`order_by = (id, "Id")`, `"Id"`, `column "Id" does not exist`},
		{`order_by = (doc)`, "(doc)", "could not identify an ordering operator for type json"},
		{`bloom = (id, flag)`, "flag", "exclude nothing"},
		{`path = '{namespace}/{tabel}'`, "'{namespace}", "unknown variable {tabel}"},
		{`path = '../{table}'`, "'../", "begins with a dot"},
		{`path = '{column:tenant}'`, "'{column", "partition_by, which is not given"},
		{`path = '{dd}', partition_by = (month(at))`, "'{dd}'", "finer than month(at)"},
		{`file_bytes = '1kB'`, "'1kB'", "size"},
	} {
		sql := "FLUSH TABLE app.not_laid_out WITH (" + c.with + ")"
		for _, verb := range []string{"", "EXPLAIN "} {
			e := s.refused(verb + sql)
			if want := strings.Index(verb+sql, c.at) + 1; e.Code != "22023" || int(e.Position) != want || !strings.Contains(e.Message, c.message) {
				t.Errorf("%s%s: %s at %d, want %d: %s", verb, sql, e.Code, e.Position, want, e.Message)
			}
		}
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.requests WHERE table_name = 'not_laid_out'"); n != 0 {
		t.Errorf("%d jobs were asked for", n)
	}
	if tb.hot() != 10 {
		t.Errorf("%d rows are hot", tb.hot())
	}
}

// A15: cat shows segments of several versions under the columns of all.
func TestCatOfMixedVersions(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "mixed", 2)
	tb.want = nil // its shape changes; its rows are compared below
	s := u.owner(t)
	s.wait(s.flush(tb, "").id, "completed")
	u.db.Exec(t, "ALTER TABLE app.mixed DROP COLUMN note", "ALTER TABLE app.mixed ADD COLUMN note boolean", "ALTER TABLE app.mixed RENAME COLUMN tenant TO customer",
		"ALTER TABLE app.mixed ALTER COLUMN amount TYPE text", "ALTER TABLE app.mixed ALTER COLUMN id TYPE numeric", "INSERT INTO app.mixed VALUES (3.5, 4, 'much', NULL, true)")
	s.wait(s.flush(tb, "").id, "completed")
	out := product.MustRun(t, binary, nil, "cat", "app.mixed", "-o", "json", "--sql-url", u.through(u.db.OwnerURL))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], `{"id":1,"tenant":1,"note":"c4ca`) || !strings.Contains(lines[0], `"amount":"0.01"`) || !strings.HasSuffix(lines[0], `"customer":null}`) ||
		lines[2] != `{"id":3.5,"tenant":null,"note":"t","amount":"much","at":null,"customer":4}` {
		t.Errorf("cat gives\n%s", out)
	}
}
