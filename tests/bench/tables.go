package main

import (
	"fmt"
	"strings"
)

// column is one column of a benchmark table. value is an SQL expression over i, the row's number from 1, and the function
// bench.u(i, seed), which is uniform in [0, 1) and always the same.
type column struct {
	name, declared, value string
}

// table is a benchmark table.
type table struct {
	name    string
	key     string // primary key, or ""
	columns []column
	from    string // the table whose rows it has, "": its own
	parts   int64  // partitions by range of the key, of as many rows each; 0: it is a plain table
}

// leaves are the tables that hold its rows.
func (t table) leaves() []string {
	if t.parts == 0 {
		return []string{t.name}
	}
	var names []string
	for i := range t.parts {
		names = append(names, fmt.Sprintf("%s_%d", t.name, i+1))
	}
	return names
}

// source is the table that has the rows, in the schema src.
func (t table) source() table {
	if t.from == "" {
		return t
	}
	return tableNamed(t.from)
}

func tables() []table { return []table{eventsTable(), wideTable(), narrowTable()} }

func tableNames() []string {
	var names []string
	for _, t := range tables() {
		names = append(names, t.name)
	}
	return names
}

func tableNamed(name string) table {
	for _, t := range tables() {
		if t.name == name {
			return t
		}
	}
	return table{}
}

// eventsTable looks like the table that people flush: an append-only log of a multi-tenant product. A few tenants have
// most of the rows, users come back, times ascend with a little jitter.
func eventsTable() table {
	return table{name: "events", key: "id", columns: []column{
		{"id", "bigint NOT NULL", `i`},
		{"tenant_id", "integer NOT NULL", `(1 + 400 * bench.u(i, 1) ^ 3)::integer`},
		{"user_id", "uuid NOT NULL", `md5((200000 * bench.u(i, 2) ^ 2)::integer::text)::uuid`},
		{"kind", "text NOT NULL", `CASE WHEN bench.u(i, 3) < 0.60 THEN 'page_view' WHEN bench.u(i, 3) < 0.85 THEN 'click' ` +
			`WHEN bench.u(i, 3) < 0.94 THEN 'search' WHEN bench.u(i, 3) < 0.99 THEN 'purchase' ELSE 'refund' END`},
		{"amount", "numeric(12,2) NOT NULL", `round((bench.u(i, 4) ^ 4 * 20000)::numeric, 2)`},
		{"payload", "jsonb NOT NULL", `jsonb_build_object('path', '/shop/' || (5000 * bench.u(i, 5) ^ 2)::integer || '/item', ` +
			`'ms', (bench.u(i, 6) ^ 3 * 3000)::integer, ` +
			`'agent', (ARRAY['Firefox/128 Linux','Chrome/126 Windows','Safari/17 iOS','Chrome/126 Android'])[1 + (4 * bench.u(i, 7))::integer % 4], ` +
			`'session', md5((i / 7)::text), 'tags', jsonb_build_array((ARRAY['new','sale','ab_17','beta'])[1 + (4 * bench.u(i, 8))::integer % 4], 'v2'))`},
		{"created_at", "timestamptz NOT NULL", `timestamptz '2023-01-01 00:00:00+00' + i * interval '15 seconds' + bench.u(i, 9) * interval '20 seconds'`},
		{"note", "text", `CASE WHEN bench.u(i, 10) >= 0.10 THEN 'Order ' || (1000000 * bench.u(i, 11))::integer || ' handled by desk ' || ` +
			`(40 * bench.u(i, 12))::integer || repeat(', see ticket', (3 * bench.u(i, 13))::integer) END`},
	}}
}

// partedTable is the events in eight partitions.
func partedTable() table {
	t := eventsTable()
	t.name, t.from, t.parts = "parted", t.name, 8
	return t
}

// wideTable has 50 columns of mixed types, a tenth of the values NULL.
func wideTable() table {
	t := table{name: "wide", key: "id", columns: []column{{"id", "bigint NOT NULL", "i"}}}
	kinds := []struct{ declared, value string }{
		{"integer", `(bench.u(i, %d) * 1000000)::integer`},
		{"bigint", `(bench.u(i, %d) * 1e15)::bigint`},
		{"smallint", `(bench.u(i, %d) * 300)::smallint`},
		{"double precision", `bench.u(i, %d) * 1000`},
		{"real", `(bench.u(i, %d) * 100)::real`},
		{"numeric(12,2)", `round((bench.u(i, %d) * 100000)::numeric, 2)`},
		{"numeric(24,6)", `round((bench.u(i, %d) * 1e9)::numeric, 6)`},
		{"text", `'value ' || (bench.u(i, %d) * 100000)::integer`},
		{"varchar(40)", `(ARRAY['north','south','east','west'])[1 + (4 * bench.u(i, %d))::integer %% 4]`},
		{"boolean", `bench.u(i, %d) < 0.3`},
		{"timestamptz", `timestamptz '2023-01-01 00:00:00+00' + bench.u(i, %d) * interval '900 days'`},
		{"date", `date '2023-01-01' + (bench.u(i, %d) * 900)::integer`},
		{"uuid", `md5((bench.u(i, %d) * 1000000)::integer::text)::uuid`},
		{"jsonb", `jsonb_build_object('k', (bench.u(i, %d) * 1000)::integer, 'ok', true)`},
	}
	for n := range 49 {
		k := kinds[n%len(kinds)]
		value := fmt.Sprintf(k.value, 100+n)
		t.columns = append(t.columns, column{
			name:     fmt.Sprintf("c%02d_%s", n+1, strings.Fields(strings.NewReplacer("(", " ", ")", " ").Replace(k.declared))[0]),
			declared: k.declared,
			value:    fmt.Sprintf("CASE WHEN bench.u(i, %d) >= 0.1 THEN %s END", 200+n, value),
		})
	}
	return t
}

// narrowTable is a time series: the cost per row, with next to nothing in it.
func narrowTable() table {
	return table{name: "narrow", key: "id", columns: []column{
		{"id", "bigint NOT NULL", "i"},
		{"at", "timestamptz NOT NULL", `timestamptz '2023-01-01 00:00:00+00' + i * interval '1 second'`},
		{"value", "double precision NOT NULL", `round((20 + 10 * bench.u(i, 1))::numeric, 3)::double precision`},
	}}
}

// uniform makes bench.u. It is SQL so that the planner inlines it.
const uniform = `CREATE FUNCTION bench.u(i bigint, seed integer) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN (hashint8extended(i, seed) & 9007199254740991)::double precision / 9007199254740992`

// createAs is the statement that makes the table with n rows in a schema.
func (t table) createAs(schema string, n int64) []string {
	var defs, values []string
	for _, c := range t.columns {
		defs = append(defs, c.name+" "+c.declared)
		values = append(values, c.value)
	}
	name := schema + "." + t.name
	return []string{
		"CREATE TABLE " + name + " (" + strings.Join(defs, ", ") + ")",
		fmt.Sprintf("INSERT INTO %s SELECT %s FROM generate_series(1::bigint, %d) AS i", name, strings.Join(values, ", "), n),
	}
}

// copyOf are the statements that make app.<table>, empty, as the source of its n rows is. Partitions that were detached go too.
func (t table) copyOf(n int64) []string {
	name := "app." + t.name
	like := " (LIKE src." + t.source().name + " INCLUDING ALL)"
	if t.parts == 0 {
		return []string{"DROP TABLE IF EXISTS " + name, "CREATE TABLE " + name + like}
	}
	steps := []string{"DROP TABLE IF EXISTS " + name, "CREATE TABLE " + name + like + " PARTITION BY RANGE (" + t.key + ")"}
	bound := func(i int64) string {
		if i == 0 {
			return "MINVALUE"
		}
		if i == t.parts {
			return "MAXVALUE"
		}
		return fmt.Sprint(1 + i*n/t.parts)
	}
	for i, leaf := range t.leaves() {
		steps = append(steps, "DROP TABLE IF EXISTS app."+leaf,
			fmt.Sprintf("CREATE TABLE app.%s PARTITION OF %s FOR VALUES FROM (%s) TO (%s)", leaf, name, bound(int64(i)), bound(int64(i)+1)))
	}
	return steps
}

// duckColumns are the types for DuckDB's CSV reader, so that it need not guess.
func (t table) duckColumns() string {
	var out []string
	for _, c := range t.columns {
		typ := strings.TrimSuffix(c.declared, " NOT NULL")
		switch typ {
		case "jsonb":
			typ = "JSON"
		case "text", "varchar(40)":
			typ = "VARCHAR"
		case "numeric(12,2)", "numeric(24,6)":
			typ = strings.Replace(typ, "numeric", "DECIMAL", 1)
		case "double precision":
			typ = "DOUBLE"
		}
		out = append(out, fmt.Sprintf("'%s': '%s'", c.name, strings.ToUpper(typ)))
	}
	return "{" + strings.Join(out, ", ") + "}"
}
