package flush_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// ways are the three ways of rows back into a table.
var ways = map[string]map[string]string{"straight": nil, "staged": {"where": "(k > 0)"}, "one by one": {"on_conflict": "skip"}, "some": {"where": "((k % 2) = 0)"}}

// restoreEachWay flushes app.t, with columns as text where that is said, restores it by each way, and wants the identical table every
// time.
func restoreEachWay(t *testing.T, asText string, setup ...string) {
	for name, params := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRestoreRig(t, setup...)
			if asText != "" {
				r.params["as_text"] = asText
			}
			r.newJob().run()
			if r.hotCount() != 0 {
				t.Fatalf("%d rows are hot", r.hotCount())
			}
			r.restore(params)
			if name == "some" && (r.hotCount() == 0 || coldCount(t, r) == 0) {
				t.Errorf("%d rows are hot and %d cold", r.hotCount(), coldCount(t, r))
			}
			r.restore(nil)
			if got := audit.Hot(t, r.db.SuperURL, "app", "t", ""); !maps.Equal(got, r.want) {
				t.Errorf("the table differs: %d rows, were %d", got.Count(), r.want.Count())
			}
		})
	}
}

// A11, A18: every value comes back as it was.
func TestEveryTypeComesBack(t *testing.T) {
	t.Parallel()
	restoreEachWay(t, "a2", `CREATE TYPE app.mood AS ENUM ('sad', 'so so', 'it''s "fine"\')`, `CREATE TYPE app.pair AS (x int, y text)`, `CREATE DOMAIN app.code AS varchar(5) CHECK (VALUE <> 'bad')`, `CREATE DOMAIN app.codes AS app.code`,
		`CREATE TABLE app.t (k int, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, o oid, n numeric, n92 numeric(9,2), n38 numeric(38,10), t text, v varchar(30), c char(6), nm name, cc "char",
			by bytea, u uuid, d date, tm time, ttz timetz, ts timestamp, tstz timestamptz, ts3 timestamptz(3), iv interval, j json, jb jsonb, x xml, inet inet, cidr cidr, mac macaddr, bt bit(5), vb varbit, mo money,
			pt point, bx box, tsv tsvector, tsq tsquery, r4 int4range, mr int8multirange, nr numrange, lsn pg_lsn, m app.mood, p app.pair, dc app.codes, a int[], ta text[], ma app.mood[], a2 int[][], pa app.pair[], rc regclass)`,
		`INSERT INTO app.t VALUES
			(1, true, -32768, -2147483648, -9223372036854775808, '-0', '-0', 4294967295, 'NaN', -1234567.89, 1234567890123456789012345678.0123456789, E'\\N', E'\\.', 'a', 'nm', 'x',
			 '\x00ff5c0a0d09', '00000000-0000-0000-0000-000000000000', '0044-03-15 BC', '24:00:00', '23:59:59.999999-15:59', '0001-01-01 00:00:00 BC', '99999-12-31 23:59:59.999999+00', '2026-01-01 00:00:00.123+00', '-1 year -2 mons +3 days -04:05:06.000007',
			 '{"a" :  1, "a": 2}', '{"b": "\\u00e9\\n", "a": [1.50, null]}', '<a b="c">&lt;</a>', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'', '-$1,234.56', '(1.5,-2e300)', '((1,2),(3,4))', '''a b'':1 c:2A', '''x'' & !y:*',
			 '[1,5)', '{[1,3),[5,8)}', '(,1.50]', '16/B374D848', 'it''s "fine"\', ROW(1, E'a"b\\,\n'), 'ok', '{1,NULL,-3}', ARRAY[NULL, 'NULL', '', E'a"\\,{}\t'], '{sad,"so so"}', '{{1,2},{3,4}}', ARRAY[ROW(1, 'x'), NULL]::app.pair[], 'app.t')`, `INSERT INTO app.t VALUES
			(2, false, 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity', 0, 'Infinity', 0.00, -0.0000000001, '', ' ', '', '', '',
			 '', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '2026-02-28', '00:00:00', '00:00:00+15:59', '2026-01-01 00:00:00.000001', '2026-06-30 12:00:00+02', '2026-01-01 00:00:00.999+00', '0',
			 'null', 'null', 'text', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', B'00000', B'1', '0', '(0,0)', '((0,0),(0,0))', '', '', 'empty', '{}', 'empty', '0/0', 'sad', ROW(NULL, NULL), '', '{}', '{}', '{}', '{}', '{}', 'pg_catalog.pg_class')`, `INSERT INTO app.t VALUES
			(3, NULL, 0, 0, 0, 1e-45, 5e-324, 1, 1e100, 1.1, 1, E'line\nline\r\ttab\\back \u00fc\U0001F600', E'\x01\x7f', '      ', 'N', '\377')`,
		`INSERT INTO app.t (k, t) SELECT i, repeat(chr(920 + i % 50), i) FROM generate_series(4, 300) i`)
}

// A14: names that need quoting, many columns, large values.
func TestOddTablesComeBack(t *testing.T) {
	t.Parallel()
	t.Run("names", func(t *testing.T) {
		t.Parallel()
		restoreEachWay(t, "", `CREATE TABLE app.t (k int, "Odd ""Name"" ' \ $$" text, "select" int, spillway_one int, spillway_rows int, spillway_file_1 text, "ctid " int, "ünïcödé" text)`,
			`INSERT INTO app.t SELECT i, 'it''s ' || i, i, i, i, 'x', i, 'ü' FROM generate_series(1, 50) i`)
	})
	t.Run("columns", func(t *testing.T) {
		t.Parallel()
		var cols []string
		for i := range 500 {
			cols = append(cols, fmt.Sprintf("c%d int DEFAULT %d", i, i))
		}
		restoreEachWay(t, "", "CREATE TABLE app.t (k int, "+strings.Join(cols, ", ")+")", "INSERT INTO app.t (k, c3) SELECT i, NULL FROM generate_series(1, 20) i")
	})
	t.Run("values", func(t *testing.T) {
		t.Parallel()
		restoreEachWay(t, "", "CREATE TABLE app.t (k int, b bytea, t text)", `INSERT INTO app.t SELECT i, decode(repeat('00ff', 5000000), 'hex'), repeat(E'\\\t\n', 3000000) FROM generate_series(1, 2) i`)
	})
}

// A predicate whose constants hold what could end a string, where it is put into one.
func TestPredicateWithQuotes(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, "CREATE TABLE app.t (k int PRIMARY KEY, t text)", `INSERT INTO app.t VALUES (1, 'it''s $$ $spillway$ \'), (2, 'other')`)
	r.newJob().run()
	if res := r.restore(map[string]string{"on_conflict": "skip", "where": `(t = 'it''s $$ $spillway$ \'::text)`}); res.Rows != 1 || r.hotCount() != 1 {
		t.Errorf("restored %+v", res)
	}
	r.restore(nil)
}

// Rows that were hot, went cold and came back lose nothing where another type took their column's place meanwhile.
func TestRemainderKeepsTheTypesOfItsFile(t *testing.T) {
	t.Parallel()
	r := newRestoreRig(t, events, fill(100))
	r.newJob().run()
	r.db.Exec(t, "ALTER TABLE app.t ALTER amount TYPE text, ALTER tenant TYPE bigint, DROP COLUMN note")
	r.want = nil
	before := audit.Cold(t, r.db.SuperURL, "app", "t")
	j := r.newRestore(map[string]string{"where": "((id <= 10) AND (amount > '0'::text))", "drop_columns": "note"})
	j.restore()
	after := audit.Cold(t, r.db.SuperURL, "app", "t")
	if r.hotCount() != 10 || after.Count() != 90 {
		t.Fatalf("%d rows are hot, %d cold", r.hotCount(), after.Count())
	}
	for row := range after {
		if before[row] != 1 {
			t.Fatalf("a row that stayed cold has changed: %q", row)
		}
	}
	if n := pgtest.Value[int](t, r.db, "SELECT count(DISTINCT schema_version) FROM spillway.segments"); n != 1 {
		t.Errorf("%d versions of the columns, want 1", n)
	}
}

// A18: settings of the database do not change what comes back: under array_nulls = off NULL in an array would be a text.
func TestSettingsOfTheDatabaseDoNotMatter(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	for _, set := range []string{"array_nulls = off", "standard_conforming_strings = off", "quote_all_identifiers = on", "transform_null_equals = on", "xmlbinary = hex", "constraint_exclusion = on"} {
		db.Super(t, "ALTER DATABASE "+db.Name+" SET "+set)
	}
	r := newRigOn(t, db, "", "CREATE TABLE app.t (id bigint PRIMARY KEY, words text[], said text)",
		`INSERT INTO app.t VALUES (1, ARRAY['a', NULL, 'NULL'], E'it''s \\'' back'), (2, ARRAY[NULL], NULL)`)
	r.mayRestore()
	before := audit.Hot(t, db.SuperURL, "app", "t", "")
	r.newJob().run()
	r.restore(map[string]string{"where": "(id > 0)"})
	if after := audit.Hot(t, db.SuperURL, "app", "t", ""); !maps.Equal(before, after) {
		t.Error("the table differs")
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*) FROM app.t, unnest(words) w WHERE w IS NULL"); n != 2 {
		t.Errorf("%d elements are NULL, want 2", n)
	}
}
