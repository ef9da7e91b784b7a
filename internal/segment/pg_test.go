package segment

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// pinned are the settings under which PostgreSQL prints what a Reader prints.
const pinned = `SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET TimeZone = 'UTC';
	SET bytea_output = 'hex'; SET lc_monetary = 'C'`

// describe reads a table's columns from the catalog.
func describe(t *testing.T, conn *pgx.Conn, table string) []Column {
	t.Helper()
	const q = `
		WITH RECURSIVE base AS (
			SELECT a.attnum, a.atttypid AS oid, a.atttypmod AS typmod FROM pg_attribute a
			 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
			UNION ALL
			SELECT b.attnum, t.typbasetype, t.typtypmod FROM base b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
		)
		SELECT a.attname, a.atttypid, t.oid, b.typmod, t.typname, t.typnamespace::regnamespace::text, t.typtype::text,
		       format_type(a.atttypid, a.atttypmod), a.attnotnull, t.typelem <> 0 AND t.typlen = -1
		  FROM pg_attribute a JOIN base b USING (attnum) JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
		 WHERE a.attrelid = $1::regclass ORDER BY a.attnum`
	r, err := conn.Query(context.Background(), q, table)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var cols []Column
	for r.Next() {
		var c Column
		var kind string
		if err := r.Scan(&c.Name, &c.TypeOID, &c.BaseOID, &c.TypMod, &c.TypeName, &c.TypeSchema, &kind, &c.Declared, &c.NotNull, &c.HasElem); err != nil {
			t.Fatal(err)
		}
		c.TypeKind = kind[0]
		cols = append(cols, c)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	for i := range cols {
		inner := describeType(t, conn, cols[i].BaseOID, cols[i].TypMod)
		cols[i].Extension, cols[i].Elem, cols[i].Attributes = inner.Extension, inner.Elem, inner.Attributes
	}
	return cols
}

// describeType reads a type and what it is made of.
func describeType(t *testing.T, conn *pgx.Conn, oid uint32, typmod int32) Type {
	t.Helper()
	ctx := context.Background()
	typ := Type{TypeOID: oid, BaseOID: oid, TypMod: typmod}
	for {
		var base, elem, relation uint32
		var baseMod int32
		err := conn.QueryRow(ctx, `SELECT t.typbasetype, t.typtypmod, t.typname, t.typtype::text, format_type(t.oid, $2), t.typrelid,
			coalesce((SELECT e.oid FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid), 0::oid),
			coalesce((SELECT extname::text FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid WHERE d.objid = t.oid AND d.deptype = 'e'), '')
			FROM pg_type t WHERE t.oid = $1`, typ.BaseOID, typ.TypMod).
			Scan(&base, &baseMod, &typ.TypeName, &typ.TypeKind, &typ.Declared, &relation, &elem, &typ.Extension)
		if err != nil {
			t.Fatal(err)
		}
		if typ.TypeKind == "d" {
			typ.BaseOID, typ.TypMod = base, baseMod
			continue
		}
		if elem != 0 {
			inner := describeType(t, conn, elem, typ.TypMod)
			typ.Elem = &inner
		}
		rows, err := conn.Query(ctx, "SELECT attname, attnum, atttypid, atttypmod FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND $1 <> 0 ORDER BY attnum", relation)
		if err != nil {
			t.Fatal(err)
		}
		var a Attribute
		if _, err := pgx.ForEachRow(rows, []any{&a.Name, &a.AttNum, &a.TypeOID, &a.TypMod}, func() error {
			typ.Attributes = append(typ.Attributes, a)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range typ.Attributes {
			a := &typ.Attributes[i]
			a.Type = describeType(t, conn, a.TypeOID, a.TypMod)
		}
		return typ
	}
}

// selectList is what a flush puts in its RETURNING list.
func selectList(s *Schema) string {
	var parts []string
	for i, c := range s.Columns() {
		name := pgx.Identifier{c.Name}.Sanitize()
		if s.AsText(i) {
			name = fmt.Sprintf("CASE WHEN %[1]s IS DISTINCT FROM NULL THEN pg_catalog.concat(%[1]s) END", name)
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

// copyOut writes a table to a segment.
func copyOut(t *testing.T, conn *pgx.Conn, table string, opt *SchemaOptions) ([]byte, error) {
	t.Helper()
	s := mustSchema(t, describe(t, conn, table), opt)
	var version string
	if err := conn.QueryRow(context.Background(), "SHOW server_version").Scan(&version); err != nil {
		t.Fatal(err)
	}
	meta := testMeta
	meta.PGVersion = version
	var out bytes.Buffer
	w, err := NewWriter(&out, s, meta, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	query := fmt.Sprintf("COPY (SELECT %s FROM %s ORDER BY n) TO STDOUT (FORMAT binary)", selectList(s), table)
	if _, err := conn.PgConn().CopyTo(context.Background(), w, query); err != nil {
		return nil, err
	}
	_, err = w.Close()
	return out.Bytes(), err
}

// asPostgresPrints reads a table by the simple protocol, whose results are in text form.
func asPostgresPrints(t *testing.T, conn *pgx.Conn, table string) [][]string {
	t.Helper()
	results, err := conn.PgConn().Exec(context.Background(), "SELECT * FROM "+table+" ORDER BY n").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, r := range results[0].Rows {
		var row []string
		for _, v := range r {
			if v == nil {
				row = append(row, "<null>")
			} else {
				row = append(row, string(v))
			}
		}
		all = append(all, row)
	}
	return all
}

// pgTypes lists declared types with values at their limits.
var pgTypes = []struct{ declared, values string }{
	{"bool", `true, false`},
	{"int2", `-32768, 32767, 0`},
	{"int4", `-2147483648, 2147483647`},
	{"int8", `-9223372036854775808, 9223372036854775807`},
	{"oid", `0, 4294967295`},
	{"float4", `'NaN', 'Infinity', '-Infinity', '-0', 0.1, 1e6, 123456, 1234567, 1e-4, 1e-5, 3.4028235e38, 1e-45, 16777216, 0.3`},
	{"float8", `'NaN', 'Infinity', '-Infinity', '-0', 0.1, 1e14, 1e15, 123456789012345, 1234567890123456, 1e-4, 1e-5, 1e22, 1e23, 9007199254740993,
		1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 0.3, 1e100`},
	{"numeric(9,2)", `9999999.99, -9999999.99, 0, 0.01, -0.01, 100, 1000000`},
	{"numeric(1,1)", `0.9, -0.9, 0`},
	{"numeric(9,9)", `0.999999999, 0.000000001`},
	{"numeric(12,2)", `9999999999.99, -9999999999.99, 12.3`},
	{"numeric(18,18)", `0.999999999999999999, -0.000000000000000001`},
	{"numeric(18,0)", `999999999999999999, -100000000000000000`},
	{"numeric(19,0)", `9999999999999999999, -1`},
	{"numeric(38,10)", `9999999999999999999999999999.9999999999, -0.0000000001, 0, 12345678901234567890`},
	{"numeric(38,38)", `0.99999999999999999999999999999999999999, -0.00000000000000000000000000000000000001`},
	{"numeric", `'NaN', 'Infinity', '-Infinity', 0, 0.000, -1.50, 1e131071, 1e-16383, 123456789012345678901234567890.123456789`},
	{"numeric(50,3)", `'NaN', 12345678901234567890123456789012345678901234567.125`},
	{"numeric(5,-3)", `12345678, -99999000, 0`},
	{"numeric(2,5)", `0.00012, -0.00099`},
	{"text", `'', 'naïve 日本 🎉', E'tab\there\nnewline', repeat('long ', 50000)`},
	{"varchar(10)", `'', 'varchar'`},
	{"char(8)", `'', 'pad', 'exact678'`},
	{"name", `'a_name'`},
	{"bytea", `'', '\x00ff10', decode(repeat('ab', 100000), 'hex')`},
	{`"char"`, `'a', ''`},
	{"uuid", `'00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ffffffff-ffff-ffff-ffff-ffffffffffff'`},
	{"date", `'4714-11-24 BC', '0001-12-31 BC', '0001-01-01', '1969-12-31', '1970-01-01', '2000-02-29', '9999-12-31', '10000-01-01', '5874897-12-31'`},
	{"time", `'00:00', '24:00:00', '12:34:56.789', '23:59:59.999999'`},
	{"time(3)", `'12:34:56.7891'`},
	{"timestamp", `'4714-11-24 00:00 BC', '0001-12-31 23:59:59.999999 BC', '1969-12-31 23:59:59.999999', '2000-01-01', '294247-01-10 04:00:54.775807'`},
	{"timestamptz", `'4714-11-24 00:00+00 BC', '2024-02-29 12:34:56.7+02', '294247-01-10 04:00:54.775807+00', '1999-12-31 23:59:59.5+00'`},
	{"json", `'{"a" :  1}', 'null', '[]'`},
	{"jsonb", `'{"b": 2, "a": {"x": [1, null]}}', 'null', '"text"'`},
	{"mood", `'sad', 'ok', 'a, quoted "label"'`},
	{"positive", `1.25, 99999.99`},
	{"label", `'x', 'yy   '`},
	{"xml", `'<a>1</a>', '<?xml version="1.0"?><b/>'`},
	{"timetz", `'12:34:56+02', '24:00:00-15:59'`},
	{"interval", `'1 year 2 mons -3 days 04:05:06.7', '-00:00:01', '0'`},
	{"inet", `'10.0.0.1', '10.0.0.1/8', '::1'`},
	{"cidr", `'10.0.0.0/8'`},
	{"macaddr", `'08:00:2b:01:02:03'`},
	{"bit(4)", `'1010'`},
	{"varbit", `'101'`},
	{"money", `12.34, -0.01`},
	{"point", `'(1.5,-2)'`},
	{"tsvector", `'a fat cat'`},
	{"int4range", `'[1,5)', 'empty'`},
	{"pg_lsn", `'16/B374D848'`},
	{"regclass", `'pg_class'`},
	{"int4[]", `'{}', '{1,NULL,3}', '{NULL}', array_fill(7, ARRAY[5000])`},
	{"text[]", `'{"a b",NULL,"NULL","","null","nuLL ","{","a,b","q\"uote","back\\slash","tab	","naïve 日本"}', array_fill('same'::text, ARRAY[300])`},
	{"bool[]", `'{t,f,NULL}'`}, {"int2[]", `'{-32768,32767}'`}, {"int8[]", `'{-9223372036854775808}'`}, {"oid[]", `'{4294967295}'`},
	{"float4[]", `'{NaN,Infinity,-0,1.5}'`}, {"float8[]", `'{NaN,-Infinity,-0,1e100}'`},
	{"numeric(12,2)[]", `'{1.50,NULL,-9999999999.99}'`}, {"numeric(38,10)[]", `'{-0.0000000001,NULL}'`}, {"numeric(5,2)[]", `'{1.5}'`}, {"numeric[]", `'{NaN,1e200,-0.000}'`},
	{"char(5)[]", `'{a,"b c"}'`}, {"varchar(3)[]", `'{abc}'`}, {"name[]", `'{n}'`}, {`"char"[]`, `'{a,""}'`},
	{"bytea[]", `ARRAY['\x00ff'::bytea, '', NULL]`}, {"uuid[]", `'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'`},
	{"date[]", `'{4714-11-24 BC,2000-02-29}'`}, {"time[]", `'{24:00:00,12:34:56.789}'`}, {"timestamp(3)[]", `'{1969-12-31 23:59:59.999}'`},
	{"timestamptz[]", `'{2024-02-29 12:34:56.7+02,NULL}'`}, {"json[]", `ARRAY['{"a" :  1}'::json, 'null', NULL]`}, {"jsonb[]", `ARRAY['{"b": [1, "\\"]}'::jsonb]`},
	{"mood[]", `'{sad,"a, quoted \"label\"",NULL}'`}, {"price[]", `'{1.25,NULL}'`}, {"codes", `'{a,b}', '{}'`},
	{"pair", `ROW(1, 'x y'), ROW(NULL, NULL), ROW(NULL, ''), ROW(3, 'a,(b)"c"\d')`},
	{"pair[]", `ARRAY[ROW(1, 'x "y"')::pair, NULL, ROW(NULL, NULL)::pair], '{}'`},
	{"deep", `ROW(ARRAY[ROW(1, '"\')::pair, NULL], ROW(NULL, NULL), '{a,NULL}', 1.5, 'ok'), ROW(NULL, NULL, NULL, NULL, NULL), ROW('{}', ROW(1, NULL), '{}', NULL, NULL)`},
	{"deep[]", `ARRAY[ROW(ARRAY[ROW(1, '"\')::pair, ROW(2, '')::pair], ROW(NULL, 'NULL'), '{"a b",NULL}', 1.5, 'sad')::deep, NULL, ROW(NULL, NULL, NULL, NULL, NULL)::deep]`},
	{"pairish", `ROW(7, 'domain over a composite')`},
	{"hstore", `'', 'a=>1, b=>NULL', hstore(ARRAY['k "q"', '\', '', 'NULL'], ARRAY['v, w', '', NULL, 'null'])`},
	{"hstore[]", `ARRAY['a=>"x y"'::hstore, '', NULL]`},
	{"withstore", `ROW('a=>"1,2", "b c"=>NULL', 1), ROW(NULL, NULL)`},
	{"citext", `'CaSe'`}, {"citext[]", `'[2:2]={a}', '{a,NULL,"b c"}'`}, {"cube", `'(1,2),(3,4)'`},
	{"interval[]", `'{1 day,NULL}', '[2:2]={1 mon}', '{{1 day}}'`}, {"int4range[]", `'{"[1,2)",empty}'`}, {"hasinet", `ROW('10.0.0.1', 1), ROW(NULL, NULL), NULL`},
	{"int4multirange", `'{[1,3),[5,7)}', '{}'`}, {"tstzrange", `'[2020-01-01,)'`}, {"int2vector", `'1 2 3'`}, {"oidvector", `''`}, {"empty", `ROW()`}, {"inside", `ROW(1)`},
	{"tsquery", `'a & b'`}, {"jsonpath", `'$.a[*]'`}, {"box[]", `'{(1,1),(0,0);(2,2),(1,1)}'`}, {"macaddr8", `'08:00:2b:01:02:03:04:05'`}, {"lseg", `'[(1,2),(3,4)]'`},
	{"xid", `'7'`}, {"txid_snapshot", `'1:2:'`}, {"regtype[]", `'{int4,text}'`}, {"regproc", `'now'`}, {"words", `'[a,b)', '["x y",)'`},
	{"tid", `'(1,2)'`},
}

// A11: what a Reader prints is what PostgreSQL prints, for every type of the mapping at its limits.
func TestReaderPrintsAsPostgreSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Super(t, "CREATE EXTENSION hstore SCHEMA public", "CREATE EXTENSION citext SCHEMA public", "CREATE EXTENSION cube SCHEMA public")
	conn := db.Connect(t, db.OwnerURL)
	if _, err := conn.Exec(context.Background(), pinned+`;
		SET search_path = app, public;
		CREATE TYPE mood AS ENUM ('sad', 'ok', 'a, quoted "label"');
		CREATE DOMAIN price AS numeric(7,2); CREATE DOMAIN positive AS price CHECK (VALUE > 0);
		CREATE DOMAIN label AS char(5);
		CREATE DOMAIN codes AS varchar(5)[] CHECK (cardinality(VALUE) < 9);
		CREATE TYPE pair AS (a int, b text); CREATE DOMAIN pairish AS pair;
		CREATE TYPE deep AS (list pair[], "the ""pair""" pairish, tags text[], gone int, price price, mood mood); ALTER TYPE deep DROP ATTRIBUTE gone;
		CREATE TYPE withstore AS (h hstore, n int); CREATE TYPE hasinet AS (addr inet, n int); CREATE TYPE empty AS (); CREATE TYPE inside AS (x int);
		CREATE TYPE words AS RANGE (subtype = text)`); err != nil {
		t.Fatal(err)
	}
	for i, tc := range pgTypes {
		table := fmt.Sprintf("t%d", i)
		var inserts strings.Builder
		for _, v := range splitValues(tc.values) {
			fmt.Fprintf(&inserts, "INSERT INTO %s (v) VALUES (%s);", table, v)
		}
		if _, err := conn.Exec(context.Background(), fmt.Sprintf(
			`CREATE TABLE %s (n serial, v %s); INSERT INTO %[1]s (v) VALUES (NULL); %[3]s`, table, tc.declared, inserts.String())); err != nil {
			t.Fatalf("%s: %v", tc.declared, err)
		}
		file, err := copyOut(t, conn, table, nil)
		if err != nil {
			t.Errorf("%s: %v", tc.declared, err)
			continue
		}
		compareRows(t, tc.declared, rows(t, file), asPostgresPrints(t, conn, table))
		if _, err := Verify(bytes.NewReader(file), int64(len(file))); err != nil {
			t.Errorf("%s: %v", tc.declared, err)
		}
	}
}

// TestReaderPrintsRandomNumbers compares numbers that nobody thought of.
func TestReaderPrintsRandomNumbers(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	conn := db.Connect(t, db.OwnerURL)
	if _, err := conn.Exec(context.Background(), pinned+`;
		CREATE TABLE app.r AS SELECT i AS n,
			((random() - 0.5) * 10 ^ (random() * 40 - 20))::float4 AS f4, (random() - 0.5) * 10 ^ (random() * 600 - 300) AS f8,
			((random() - 0.5) * 2 ^ (i % 60))::float8 AS near, 2::float8 ^ (i % 2000 - 1000) AS power, (random() * 1e9)::int8 * 10::float8 ^ (i % 25) AS tens,
			((random() * 1e4)::int4 * 10::float8 ^ (i % 13))::float4 AS tens4,
			((random() - 0.5) * 10 ^ (i % 8))::numeric(10,3) AS d10, ((random() - 0.5) * 10 ^ (i % 20))::numeric(30,9) AS d30,
			(random() * 10 ^ (i % 12))::numeric AS num,
			date '2000-01-01' + ((random() - 0.5) * 1400000)::int AS d,
			timestamp '2000-01-01' + (random() - 0.5) * interval '4000 years' AS ts,
			timestamptz '2000-01-01' + (random() - 0.5) * interval '4000 years' AS tstz,
			(random() * interval '24 hours')::time AS t, gen_random_uuid() AS u
		FROM generate_series(1, 50000) i`); err != nil {
		t.Fatal(err)
	}
	file, err := copyOut(t, conn, "app.r", nil)
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, "random", rows(t, file), asPostgresPrints(t, conn, "app.r"))
}

func compareRows(t *testing.T, what string, got, want [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
		return
	}
	wrong := 0
	for i := range want {
		for j := range want[i] {
			if got[i][j] != want[i][j] && wrong < 10 {
				wrong++
				t.Errorf("%s, row %d, column %d: got %.100q, want %.100q", what, i, j, got[i][j], want[i][j])
			}
		}
	}
}

// splitValues cuts a list of SQL values at the commas outside of quotes and brackets.
func splitValues(list string) []string {
	var out []string
	depth, quoted, from := 0, false, 0
	for i, c := range list {
		switch {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			depth--
		case c == ',' && depth == 0:
			out = append(out, list[from:i])
			from = i + 1
		}
	}
	return append(out, list[from:])
}
