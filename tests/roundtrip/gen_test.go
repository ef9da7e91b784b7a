package roundtrip

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A shape says how a type's values are compared between programs.
type shape uint8

const (
	asText shape = iota // the same text, in Parquet's STRING too
	asBool              // …
	asInt
	asFloat4
	asFloat8
	asDecimal
	asBytes
	asChar
	asUUID
	asDate
	asTime
	asTimestamp
	asJSON
	asList
	asStruct
	asMap
	opaque // has no mapping: the column that contains it is text as a whole
)

// typ is a type as a column or another type uses it.
type typ struct {
	sql    string
	shape  shape
	value  func(g *gen) string // a value that is not NULL, in PostgreSQL's input form
	elem   *typ                // of a list
	fields []field             // of a composite

	semicolon bool // stands between elements of arrays of this type
}

type field struct {
	name string
	typ  *typ
}

// hasOpaque reports whether the type contains one without a mapping.
func (t *typ) hasOpaque() bool {
	if t.shape == opaque || t.elem != nil && t.elem.hasOpaque() {
		return true
	}
	for _, f := range t.fields {
		if f.typ.hasOpaque() {
			return true
		}
	}
	return false
}

// table is a random table and its rows, in PostgreSQL's input form; nil is NULL. The first column, n, numbers the rows.
type table struct {
	name    string
	setup   []string // types, then the table
	columns []field
	rows    [][]*string
}

// gen makes everything from one seed.
type gen struct {
	*rand.Rand
	seed  uint64
	setup []string
	named int
	big   bool // a value of 10 MB is still due
	long  bool // inside of a long array
}

func newGen(seed uint64) *gen {
	return &gen{Rand: rand.New(rand.NewPCG(seed, 0x5b111ac)), seed: seed}
}

func (g *gen) oneIn(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *gen, from []T) T { return from[g.IntN(len(from))] }

// table makes a table of some size.
func (g *gen) table() *table {
	g.big = g.oneIn(25)
	columns := 1 + g.IntN(12)
	if g.oneIn(40) {
		columns = 500
	}
	rows := 1 + g.IntN(40)
	switch {
	case g.oneIn(6):
		rows = 1
	case g.oneIn(8) && columns < 20:
		rows = 300 + g.IntN(400)
	}
	return g.tableOf(columns, rows)
}

// tableOf makes a table of so many columns and rows.
func (g *gen) tableOf(columns, rows int) *table {
	t := &table{name: g.name("t"), columns: []field{{"n", scalar("int4", asInt, nil)}}}
	defs := []string{"n int4 NOT NULL"}
	for range columns {
		f := field{g.name("c"), g.column(columns > 100)}
		t.columns = append(t.columns, f)
		defs = append(defs, ident(f.name)+" "+f.typ.sql)
	}
	if g.oneIn(2) {
		defs = append(defs, "PRIMARY KEY (n)")
	}
	t.setup = append(g.setup, fmt.Sprintf("CREATE TABLE app.%s (%s)", ident(t.name), strings.Join(defs, ", ")))
	for n := range rows {
		number := fmt.Sprint(n)
		row := []*string{&number}
		for _, c := range t.columns[1:] {
			row = append(row, g.nullable(c.typ, 5))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// nullable makes a value, or NULL once in so many times.
func (g *gen) nullable(t *typ, nulls int) *string {
	if g.oneIn(nulls) {
		return nil
	}
	v := t.value(g)
	return &v
}

// name makes a name that needs quoting more often than not, and that no other equals in any case: DuckDB takes no two that do.
func (g *gen) name(prefix string) string {
	g.named++
	odd := []string{"", "", "", ` "q"`, " space", "Ünï日本", "-dash", ".dot", "'tick", `back\slash`, "%d", "Upper", "$", "(", ", "}
	return fmt.Sprintf("%s%d_%d%s", prefix, g.seed, g.named, pick(g, odd))
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// column makes the type of a column.
func (g *gen) column(flat bool) *typ {
	if flat {
		return g.scalar()
	}
	return g.typ(0)
}

// typ makes a type, seldom deep.
func (g *gen) typ(depth int) *typ {
	if depth > 3 {
		return g.scalar()
	}
	switch g.IntN(12 + 4*depth) {
	case 0, 1, 2:
		return g.array(g.typ(depth + 1))
	case 3, 4:
		return g.composite(depth)
	case 5:
		return g.domain(g.typ(depth + 1))
	case 6:
		return g.enum()
	case 7:
		return hstore
	}
	return g.scalar()
}

func (g *gen) scalar() *typ { return &scalars[g.IntN(len(scalars))] }

// array makes an array. Elements that are arrays themselves are wrapped by a domain: PostgreSQL has no other way.
func (g *gen) array(elem *typ) *typ {
	if strings.HasSuffix(elem.sql, "]") || strings.Contains(elem.sql, "COLLATE") {
		elem = g.domain(elem)
	}
	t := &typ{sql: elem.sql + "[]", shape: asList, elem: elem}
	t.value = func(g *gen) string {
		n := g.IntN(5)
		if !g.long && g.oneIn(200) { // one in another would pass the limit of elements in a value
			n, g.long = 3000, true
			defer func() { g.long = false }()
		}
		parts := make([]string, n)
		for i := range parts {
			if v := g.nullable(elem, 6); v == nil {
				parts[i] = "NULL"
			} else {
				parts[i] = `"` + backslashed(*v) + `"`
			}
		}
		return "{" + strings.Join(parts, elem.delimiter()) + "}"
	}
	return t
}

// delimiter stands between elements of arrays of the type. Arrays and domains have that of what they are made of.
func (t *typ) delimiter() string {
	switch {
	case t.semicolon:
		return ";"
	case t.elem != nil:
		return t.elem.delimiter()
	}
	return ","
}

func backslashed(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
}

func (g *gen) composite(depth int) *typ {
	t := &typ{sql: "app." + ident(g.name("Row")), shape: asStruct}
	var defs []string
	for range 1 + g.IntN(4) {
		f := field{g.name("f"), g.typ(depth + 1)}
		t.fields = append(t.fields, f)
		defs = append(defs, ident(f.name)+" "+f.typ.sql)
	}
	if g.oneIn(3) {
		defs = append(defs, "gone int4")
	}
	g.setup = append(g.setup, fmt.Sprintf("CREATE TYPE %s AS (%s)", t.sql, strings.Join(defs, ", ")))
	if len(defs) > len(t.fields) {
		g.setup = append(g.setup, fmt.Sprintf("ALTER TYPE %s DROP ATTRIBUTE gone", t.sql))
	}
	t.value = func(g *gen) string {
		nulls := 4
		if g.oneIn(6) {
			nulls = 1 // a row of NULLs, which is not NULL
		}
		parts := make([]string, len(t.fields))
		for i, f := range t.fields {
			if v := g.nullable(f.typ, nulls); v != nil {
				parts[i] = `"` + backslashed(*v) + `"`
			}
		}
		return "(" + strings.Join(parts, ",") + ")"
	}
	return t
}

func (g *gen) domain(base *typ) *typ {
	t := *base
	t.sql = "app." + ident(g.name("Dom"))
	g.setup = append(g.setup, fmt.Sprintf("CREATE DOMAIN %s AS %s", t.sql, base.sql))
	return &t
}

func (g *gen) enum() *typ {
	labels := []string{"a", "so so", `"q"`, `b\s`, "naïve", "NULL", "x,y", "{}", "()"}[:1+g.IntN(9)]
	t := &typ{sql: "app." + ident(g.name("Enum")), shape: asText, value: func(g *gen) string { return pick(g, labels) }}
	quoted := make([]string, len(labels))
	for i, l := range labels {
		quoted[i] = literal(&l)
	}
	g.setup = append(g.setup, fmt.Sprintf("CREATE TYPE %s AS ENUM (%s)", t.sql, strings.Join(quoted, ", ")))
	return t
}

// literal is the SQL constant of a value.
func literal(v *string) string {
	if v == nil {
		return "NULL"
	}
	return "'" + strings.ReplaceAll(*v, "'", "''") + "'"
}
