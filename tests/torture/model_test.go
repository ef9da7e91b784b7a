package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// column is a column of a random table. Its value is a function of the row's version v, written in SQL, so that the model
// needs no values: id and version say what the row must be.
type column struct{ name, kind, value string }

var kinds = []column{
	{kind: "text", value: "md5(v::text)"},
	{kind: "text", value: "repeat(md5(v::text), (v % 9)::int)"},
	{kind: "text COLLATE \"C\"", value: "U&'\\00e9\\4e2d' || chr((32 + v % 900)::int) || v"},
	{kind: "varchar(40)", value: "left(md5(v::text), (v % 33)::int)"},
	{kind: "char(9)", value: "left(md5(v::text), (v % 9)::int)"},
	{kind: "numeric(12,2)", value: "v % 10000000 / 100.0"},
	{kind: "numeric", value: "(v % 1000000)::numeric / 7"},
	{kind: "numeric(30,10)", value: "(v % 1000000)::numeric * 1234567.0123456789"},
	{kind: "int", value: "(v % 2147483647)::int"},
	{kind: "smallint", value: "(v % 32767)::smallint"},
	{kind: "bigint", value: "-v"},
	{kind: "boolean", value: "v % 2 = 0"},
	{kind: "double precision", value: "v / 3.0::double precision"},
	{kind: "real", value: "(v % 1000)::real / 7"},
	{kind: "timestamptz", value: "'2020-01-01 00:00+00'::timestamptz + (v % 100000000) * interval '1 s'"},
	{kind: "timestamp", value: "'1999-12-31'::timestamp + (v % 100000000) * interval '1.000001 s'"},
	{kind: "date", value: "'2000-02-29'::date + (v % 20000)::int"},
	{kind: "time", value: "'00:00'::time + (v % 86400) * interval '1 s'"},
	{kind: "interval", value: "(v % 100000) * interval '1 min 1 s'"},
	{kind: "uuid", value: "md5(v::text)::uuid"},
	{kind: "bytea", value: "decode(md5(v::text), 'hex')"},
	{kind: "jsonb", value: "jsonb_build_object('v', v, 'a', jsonb_build_array(v % 3, null))"},
	{kind: "json", value: "json_build_object('v', v)"},
	{kind: "inet", value: "('10.1.' || v % 255 || '.7/16')::inet"},
	{kind: "bit varying(64)", value: "(v % 1000)::int::bit(20)::bit varying"},
	{kind: "int[]", value: "ARRAY[(v % 100)::int, NULL, 3]"},
	{kind: "text[]", value: "ARRAY['a,b', md5(v::text), '']"},
	{kind: "int4range", value: "int4range((v % 100)::int, (v % 100)::int + 5)"},
	{kind: "point", value: "point(v % 100, 0.5)"},
	{kind: "macaddr", value: "('08:00:2b:01:02:' || lpad(to_hex(v % 256), 2, '0'))::macaddr"},
}

// table is a random table. rows is the model: what must be hot or cold, by id.
type table struct {
	number  int
	name    string
	columns []column
	keyed   bool // id is a primary key
	leaves  int  // partitions; 0 is none
	rows    map[int64]int64
}

var names = []string{"events_%d", "Odd \"name\" %d", "café_%d", "%d'; DROP TABLE x", "a very long name that goes up to the end of what PG lets be %d"}

func randomTable(r *rand.Rand, number int) *table {
	tb := &table{number: number, name: fmt.Sprintf(names[r.IntN(len(names))], number), keyed: r.IntN(3) > 0, rows: map[int64]int64{}}
	if r.IntN(4) == 0 {
		tb.leaves = 1 + r.IntN(4)
	}
	for i := range 1 + r.IntN(12) {
		c := kinds[r.IntN(len(kinds))]
		c.name = fmt.Sprintf("c%d", i)
		if r.IntN(3) > 0 {
			c.value = fmt.Sprintf("CASE WHEN v %% %d = 0 THEN NULL ELSE %s END", 2+r.IntN(20), c.value)
		}
		tb.columns = append(tb.columns, c)
	}
	return tb
}

func (tb *table) String() string { return "app." + tb.ident(tb.name) }

func (tb *table) ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// create is the SQL that makes the table.
func (tb *table) create() []string {
	parts := []string{"id bigint NOT NULL", "v bigint NOT NULL"}
	for _, c := range tb.columns {
		parts = append(parts, c.name+" "+c.kind)
	}
	if tb.keyed {
		parts = append(parts, "PRIMARY KEY (id)")
	}
	list := []string{fmt.Sprintf("CREATE TABLE %s (%s)", tb, strings.Join(parts, ", "))}
	if tb.leaves == 0 {
		return list
	}
	list[0] += " PARTITION BY HASH (id)"
	for i := range tb.leaves {
		list = append(list, fmt.Sprintf("CREATE TABLE app.leaf_%d_%d PARTITION OF %s FOR VALUES WITH (MODULUS %d, REMAINDER %d)", tb.number, i, tb, tb.leaves, i))
	}
	return list
}

// values lists the expressions of all columns but id and v, over v.
func (tb *table) values() string {
	var list []string
	for _, c := range tb.columns {
		list = append(list, "("+c.value+")::"+strings.TrimSuffix(c.kind, ` COLLATE "C"`))
	}
	return strings.Join(list, ", ")
}

func (tb *table) columnNames() string {
	var list []string
	for _, c := range tb.columns {
		list = append(list, c.name)
	}
	return strings.Join(list, ", ")
}

// recorded wraps a statement that returns ids, so that one row of app.acks says, in the same transaction, what it did.
func recorded(statement string, delta string) string {
	return "WITH done AS (" + statement + ") INSERT INTO app.acks (op, tbl, delta, ids) " +
		"SELECT $3, $4, " + delta + ", coalesce(array_agg(id), '{}') FROM done RETURNING ids"
}

// The statements that clients use. $1 are ids, $2 versions, $3 the number of the operation, $4 the table's.
func (tb *table) insert() string {
	return recorded(fmt.Sprintf("INSERT INTO %s (id, v, %s) SELECT id, v, %s FROM unnest($1::bigint[], $2::bigint[]) n (id, v) RETURNING id",
		tb, tb.columnNames(), tb.values()), "count(*)")
}

func (tb *table) update() string {
	return recorded(fmt.Sprintf("UPDATE %s t SET (v, %s) = (SELECT v, %s FROM (SELECT n.v) x) FROM unnest($1::bigint[], $2::bigint[]) n (id, v) WHERE t.id = n.id RETURNING t.id",
		tb, tb.columnNames(), tb.values()), "0")
}

func (tb *table) delete() string {
	return recorded(fmt.Sprintf("DELETE FROM %s t USING unnest($1::bigint[], $2::bigint[]) n (id, v) WHERE t.id = n.id RETURNING t.id", tb), "-count(*)")
}

// sums reads hot, cold and what there must be, in one snapshot.
func (tb *table) sums() string {
	return fmt.Sprintf(`SELECT (SELECT count(*) FROM %s), (SELECT coalesce(sum(row_count), 0)::bigint FROM spillway.segments
		WHERE table_schema = 'app' AND table_name = %s AND restored_at IS NULL AND replaced_at IS NULL),
		(SELECT coalesce(sum(delta), 0)::bigint FROM app.acks WHERE tbl = %d)`, tb, literal(tb.name), tb.number)
}

// wanted is a query that prints every row of the model as PostgreSQL would.
func (tb *table) wanted() string {
	ids := make([]int64, 0, len(tb.rows))
	for id := range tb.rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var a, b strings.Builder
	for i, id := range ids {
		if i > 0 {
			a.WriteByte(',')
			b.WriteByte(',')
		}
		fmt.Fprint(&a, id)
		fmt.Fprint(&b, tb.rows[id])
	}
	return fmt.Sprintf("SELECT id, v, %s FROM unnest('{%s}'::bigint[], '{%s}'::bigint[]) n (id, v)", tb.values(), a.String(), b.String())
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
