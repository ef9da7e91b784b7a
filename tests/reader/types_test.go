package reader

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/audit"
)

// typeCase is a column: its type in PostgreSQL, values at its limits (separated by "; "), the type that DuckDB must see, and, where the two
// programs print the type in different ways, expressions over column c that both give the same text for the same value.
type typeCase struct {
	declared string
	values   string
	duck     string
	pgText   string // default: c's output form
	duckText string // default: CAST(c AS VARCHAR)
}

// Expressions that ask for a value as a whole number, so that no calendar or clock of either program stands between.
const (
	pgMicros   = "trim_scale(extract(epoch FROM c) * 1000000)::text"
	duckMicros = "CAST(epoch_us(c) AS VARCHAR)"
	pgDays     = "(c - date '1970-01-01')::text"
	duckDays   = "CAST(date_diff('day', DATE '1970-01-01', c) AS VARCHAR)"
)

// Both programs write JSON in the same way.
const (
	pgJSON   = "to_json(c)::text"
	duckJSON = "CAST(to_json(c) AS VARCHAR)"
)

// floats are compared bit by bit in Go.
const bits = "bits"

// typeCases is the whole mapping, with a choice of the types that go as text.
var typeCases = []typeCase{
	{declared: "bool", values: `true; false`, duck: "BOOLEAN", pgText: "c::text"},
	{declared: "int2", values: `-32768; 32767; 0`, duck: "SMALLINT"},
	{declared: "int4", values: `-2147483648; 2147483647; -1`, duck: "INTEGER"},
	{declared: "int8", values: `-9223372036854775808; 9223372036854775807; 0`, duck: "BIGINT"},
	{declared: "oid", values: `0; 4294967295`, duck: "BIGINT"},
	{declared: "float4", values: `'NaN'; 'Infinity'; '-Infinity'; '-0'; 0.1; 3.4028235e38; -3.4028235e38; 1e-45; 16777217`, duck: "FLOAT", pgText: bits},
	{declared: "float8", values: `'NaN'; 'Infinity'; '-Infinity'; '-0'; 0.1; 1.7976931348623157e308; 5e-324; 9007199254740993`, duck: "DOUBLE", pgText: bits},
	{declared: "numeric(4,2)", values: `99.99; -99.99; 0.00; -0.01`, duck: "DECIMAL(4,2)"},
	{declared: "numeric(9,2)", values: `9999999.99; -9999999.99; 0; 0.01`, duck: "DECIMAL(9,2)"},
	{declared: "numeric(12,2)", values: `9999999999.99; -9999999999.99; 12.3`, duck: "DECIMAL(12,2)"},
	{declared: "numeric(18,0)", values: `999999999999999999; -999999999999999999`, duck: "DECIMAL(18,0)"},
	{declared: "numeric(19,4)", values: `999999999999999.9999; -999999999999999.9999`, duck: "DECIMAL(19,4)"},
	{declared: "numeric(38,10)", values: `9999999999999999999999999999.9999999999; -9999999999999999999999999999.9999999999; 0`, duck: "DECIMAL(38,10)"},
	{declared: "numeric(38,0)", values: `99999999999999999999999999999999999999; -99999999999999999999999999999999999999`, duck: "DECIMAL(38,0)"},
	{declared: "numeric", values: `'NaN'; 'Infinity'; '-Infinity'; 0.000; -1.50; 1e200; 1e-100; 123456789012345678901234567890.123456789`, duck: "VARCHAR"},
	{declared: "numeric(50,3)", values: `12345678901234567890123456789012345678901234567.125; 'NaN'`, duck: "VARCHAR"},
	{declared: "numeric(5,-3)", values: `12345678; -99999000`, duck: "VARCHAR"},
	{declared: "text", values: `''; 'naïve 日本 🎉'; E'tab\tnew\nline "quoted", back\\slash'; repeat('long ', 50000)`, duck: "VARCHAR"},
	{declared: "varchar(10)", values: `''; 'varchar'; 'ten chars!'`, duck: "VARCHAR"},
	{declared: "char(8)", values: `''; 'pad'; 'exact678'`, duck: "VARCHAR"},
	{declared: "name", values: `'a name'`, duck: "VARCHAR"},
	{declared: "xml", values: `'<a b="c">d</a>'`, duck: "VARCHAR"},
	{declared: "bytea", values: `''; '\x00ff10'; decode(repeat('ab', 5000), 'hex')`, duck: "BLOB", pgText: "upper(encode(c, 'hex'))", duckText: "hex(c)"},
	{declared: `"char"`, values: `'a'; ''`, duck: "BLOB", duckText: `replace(CAST(c AS VARCHAR), '\x00', '')`},
	{declared: "uuid", values: `'00000000-0000-0000-0000-000000000000'; 'ffffffff-ffff-ffff-ffff-ffffffffffff'; 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'`, duck: "UUID"},
	{declared: "date", values: `'4714-11-24 BC'; '0001-12-31 BC'; '0001-01-01'; '1970-01-01'; '2000-02-29'; '5874897-12-31'`, duck: "DATE", pgText: pgDays, duckText: duckDays},
	{declared: "time", values: `'00:00'; '23:59:59.999999'; '24:00:00'; '12:34:56.789'`, duck: "TIME", pgText: pgMicros, duckText: duckMicros},
	{declared: "timestamp", values: `'4714-11-24 00:00:00 BC'; '0001-01-01 00:00:00'; '1969-12-31 23:59:59.999999'; '2026-07-26 12:00:00.000001'; '294247-01-10 04:00:54.775806'`,
		duck: "TIMESTAMP", pgText: pgMicros, duckText: duckMicros},
	{declared: "timestamptz", values: `'4714-11-24 00:00:00+00 BC'; '1969-12-31 23:59:59.999999+00'; '2026-07-26 12:00:00+05:30'; '294247-01-10 04:00:54.775806+00'`,
		duck: "TIMESTAMP WITH TIME ZONE", pgText: pgMicros, duckText: duckMicros},
	{declared: "json", values: `'{"b" : 1, "a": [ 1,2 ], "a": null}'; 'null'; '"text"'`, duck: "JSON"},
	{declared: "jsonb", values: `'{"b" : 1, "a": [ 1,2, {"deep": "日本"} ]}'; '1e3'; 'null'`, duck: "JSON"},
	{declared: "app.mood", values: `'happy'; 'so so'; 'sad'`, duck: "VARCHAR"},
	{declared: "app.price", values: `0.00; 9999999.99`, duck: "DECIMAL(9,2)"},
	{declared: "app.code", values: `'a'; 'ab'`, duck: "VARCHAR"},
	{declared: "timetz", values: `'12:34:56.5+05:30'; '00:00:00-15:59'`, duck: "VARCHAR"},
	{declared: "interval", values: `'1 year 2 mons -3 days 04:05:06.789'; '-178000000 years'; '0'`, duck: "VARCHAR"},
	{declared: "inet", values: `'10.1.2.3'; '10.1.2.0/24'; '::1'`, duck: "VARCHAR"},
	{declared: "cidr", values: `'10.1.2.0/24'; '2001:db8::/32'`, duck: "VARCHAR"},
	{declared: "macaddr", values: `'08:00:2b:01:02:03'`, duck: "VARCHAR"},
	{declared: "bit(5)", values: `B'10101'`, duck: "VARCHAR"},
	{declared: "varbit", values: `B''; B'1011'`, duck: "VARCHAR"},
	{declared: "money", values: `'12.34'; '-92233720368547758.08'`, duck: "VARCHAR"},
	{declared: "point", values: `'(1.5,-2)'`, duck: "VARCHAR"},
	{declared: "tsvector", values: `'a fat cat'::tsvector`, duck: "VARCHAR"},
	{declared: "int4range", values: `'[1,5)'; 'empty'`, duck: "VARCHAR"},
	{declared: "pg_lsn", values: `'FFFFFFFF/FFFFFFFF'; '0/0'`, duck: "VARCHAR"},
	{declared: "int4[]", values: `'{1,NULL,3}'; '{}'; '{NULL}'`, duck: "INTEGER[]", pgText: pgJSON, duckText: duckJSON},
	{declared: "text[]", values: `'{"a b",NULL,"NULL","q\"uote"}'; '{""}'`, duck: "VARCHAR[]", pgText: pgJSON, duckText: duckJSON},
	{declared: "app.price[]", values: `'{1.25,NULL}'`, duck: "DECIMAL(9,2)[]", pgText: pgJSON, duckText: duckJSON},
	{declared: "uuid[]", values: `'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'`, duck: "UUID[]", pgText: pgJSON, duckText: duckJSON},
	{declared: "app.item", values: `ROW('a "b"', 1.25, '{1,NULL}'); ROW(NULL, NULL, NULL); ROW('', 0.75, '{}')`, duck: `STRUCT("name" VARCHAR, "the Price" DECIMAL(9,2), counts BIGINT[])`,
		pgText: pgJSON, duckText: duckJSON},
	{declared: "app.item[]", values: `ARRAY[ROW('x', 1.25, '{9007199254740993}')::app.item, NULL, ROW(NULL, NULL, NULL)::app.item]`,
		duck: `STRUCT("name" VARCHAR, "the Price" DECIMAL(9,2), counts BIGINT[])[]`, pgText: pgJSON, duckText: duckJSON},
	{declared: "public.hstore", values: `'a=>"x y", b=>NULL'; ''`, duck: "MAP(VARCHAR, VARCHAR)", pgText: `replace(replace(public.hstore_to_json(c)::text, ': ', ':'), ', ', ',')`, duckText: duckJSON},
	{declared: "public.hstore[]", values: `ARRAY['a=>1'::public.hstore, '', NULL]`, duck: "MAP(VARCHAR, VARCHAR)[]", pgText: "cardinality(c)::text", duckText: "CAST(len(c) AS VARCHAR)"},
	{declared: "inet[]", values: `'{10.0.0.1,10.0.0.1/8}'; '[2:2]={::1}'`, duck: "VARCHAR"},
}

// A11, A25: DuckDB sees each column under the right type and with the values and NULLs that PostgreSQL had.
func TestDuckDBReadsEveryType(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, `CREATE TYPE app.mood AS ENUM ('happy', 'so so', 'sad')`, `CREATE DOMAIN app.price AS numeric(9,2) CHECK (VALUE >= 0)`,
		`CREATE DOMAIN app.inner_code AS char(4)`, `CREATE DOMAIN app.code AS app.inner_code`,
		`CREATE TYPE app.item AS (name text, "the Price" app.price, counts int8[])`)
	db.Super(t, "CREATE EXTENSION hstore SCHEMA public")
	db.Exec(t, typesTable()...)
	db.Exec(t, "CREATE TABLE app.copy AS TABLE app.types")
	grantAll(db, t)
	want := audit.Hot(t, db.SuperURL, "app", "types", "")
	r := newRig(t, db, db.WorkerURL)
	files := r.flush("types", map[string]string{"verify": "full"})
	audit.Check(t, db.SuperURL, "app", "types", want)

	ddb := duck(t)
	types := describe(t, ddb, files)
	conn := db.Connect(t, db.SuperURL)
	for _, s := range []string{"SET TimeZone = 'UTC'", "SET lc_monetary = 'C'", "SET extra_float_digits = 1"} {
		_, err := conn.Exec(context.Background(), s)
		must(t, err)
	}
	for i, c := range typeCases {
		t.Run(c.declared, func(t *testing.T) {
			name := columnName(i)
			if types[name] != c.duck {
				t.Errorf("DuckDB takes it for %s, want %s", types[name], c.duck)
			}
			got, want := c.fromDuck(t, ddb, files, name), c.fromPostgres(t, conn, name)
			if len(got) != len(want) {
				t.Fatalf("DuckDB reads %d rows, PostgreSQL %d", len(got), len(want))
			}
			for n := range want {
				if got[n] != want[n] {
					t.Errorf("row %d: DuckDB reads %.200q, PostgreSQL had %.200q", n, got[n], want[n])
				}
			}
		})
	}
}

func columnName(i int) string { return fmt.Sprintf("c%02d", i) }

// typesTable makes a table with a column per case. Row n holds the n-th value of each, and NULL where there are fewer; the
// last row is all NULL.
func typesTable() []string {
	columns := []string{"n int PRIMARY KEY"}
	values := []string{"n"}
	rows := 0
	for i, c := range typeCases {
		columns = append(columns, columnName(i)+" "+c.declared)
		expr := "CASE n"
		literals := strings.Split(c.values, "; ")
		for n, v := range literals {
			expr += fmt.Sprintf(" WHEN %d THEN CAST(%s AS %s)", n+1, v, c.declared)
		}
		values = append(values, expr+" END")
		rows = max(rows, len(literals)+1)
	}
	return []string{
		"CREATE TABLE app.types (" + strings.Join(columns, ", ") + ")",
		fmt.Sprintf("INSERT INTO app.types SELECT %s FROM generate_series(1, %d) n", strings.Join(values, ", "), rows),
	}
}

func describe(t *testing.T, ddb *sql.DB, files []string) map[string]string {
	t.Helper()
	rows, err := ddb.Query("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM " + readParquet(files) + ")")
	must(t, err)
	defer rows.Close()
	types := map[string]string{}
	for rows.Next() {
		var name, typ string
		must(t, rows.Scan(&name, &typ))
		types[name] = typ
	}
	must(t, rows.Err())
	return types
}

const null = "<null>"

func (c typeCase) fromDuck(t *testing.T, ddb *sql.DB, files []string, name string) []string {
	t.Helper()
	expr := c.duckText
	if expr == "" {
		expr = "CAST(c AS VARCHAR)"
	}
	if c.pgText == bits {
		expr = "CAST(c AS DOUBLE)"
	}
	rows, err := ddb.Query(fmt.Sprintf("SELECT %s FROM (SELECT n, %s AS c FROM %s) ORDER BY n", expr, name, readParquet(files)))
	must(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var v any
		must(t, rows.Scan(&v))
		out = append(out, text(v))
	}
	must(t, rows.Err())
	return out
}

func (c typeCase) fromPostgres(t *testing.T, conn *pgx.Conn, name string) []string {
	t.Helper()
	expr := c.pgText
	switch expr {
	case "":
		expr = "CASE WHEN c IS NOT NULL THEN concat(c) END"
	case bits:
		expr = "c::float8"
	}
	rows, err := conn.Query(context.Background(), fmt.Sprintf("SELECT %s FROM (SELECT n, %s AS c FROM app.copy) AS t ORDER BY n", expr, name))
	must(t, err)
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return text(values[0]), err
	})
	must(t, err)
	return out
}

// text prints a value so that equal texts are equal values: floats by their bits, but for the many NaNs, which are one.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return null
	case float64:
		if math.IsNaN(v) {
			return "NaN"
		}
		return fmt.Sprintf("%v (%016x)", v, math.Float64bits(v))
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
