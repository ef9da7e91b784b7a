package roundtrip

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/tests/audit"
)

// moved is a table that was flushed, with what PostgreSQL printed of it before: by the number of the row.
type moved struct {
	*table
	want   map[string][]*string
	before audit.Rows
	files  []string
}

// steps are taken by every table, in order.
var steps = []struct {
	name string
	take func(t *testing.T, r *rig, m *moved)
}{
	{"reader", readerStep},
	{"copy", copyStep},
	{"duckdb", duckStep},
	{"restore", restoreStep},
}

// A11, A14, A18, A25: random tables of all types, in and out.
func TestRandomTables(t *testing.T) {
	seeds := seedsOf(t)
	r := newRig(t)
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("this table again: SPILLWAY_ROUNDTRIP_SEED=%d go test ./tests/roundtrip -run TestRandomTables", seed)
				}
			}()
			m := r.move(t, newGen(seed).table())
			for _, s := range steps {
				s.take(t, r, m)
			}
		})
	}
}

// A14: the shapes that chance makes seldom, in every run: one row, 500 columns, values of 10 MB at the top and inside of others.
func TestExtremeTables(t *testing.T) {
	r := newRig(t)
	for name, tableFrom := range map[string]func(g *gen) *table{
		"one row":     func(g *gen) *table { return g.tableOf(12, 1) },
		"500 columns": func(g *gen) *table { return g.tableOf(500, 20) },
		"10 MB": func(g *gen) *table {
			t := g.tableOf(3, 4)
			text := &scalars[textAt()]
			list := g.array(text)
			t.columns = append(t.columns, field{"big", text}, field{"bigs", list})
			t.setup = append(t.setup, fmt.Sprintf("ALTER TABLE app.%s ADD big text, ADD bigs text[]", ident(t.name)))
			for i := range t.rows {
				g.big = i == 0
				one := text.value(g)
				many := `{NULL,"` + backslashed(one) + `"}`
				t.rows[i] = append(t.rows[i], &one, &many)
			}
			return t
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := r.move(t, tableFrom(newGen(uint64(len(name)))))
			for _, s := range steps {
				s.take(t, r, m)
			}
		})
	}
}

// textAt is where the type text stands among the scalars.
func textAt() int {
	return slices.IndexFunc(scalars, func(t typ) bool { return t.sql == "text" })
}

// seedsOf says which tables to make: those of the environment, else new ones in each run.
func seedsOf(t *testing.T) []uint64 {
	t.Helper()
	if s := os.Getenv("SPILLWAY_ROUNDTRIP_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		return []uint64{seed}
	}
	count := 30
	if s := os.Getenv("SPILLWAY_ROUNDTRIP_TABLES"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		count = n
	}
	first := uint64(time.Now().UnixMicro())
	t.Logf("seeds %d to %d", first, first+uint64(count)-1)
	seeds := make([]uint64, count)
	for i := range seeds {
		seeds[i] = first + uint64(i)
	}
	return seeds
}

// move makes the table and flushes it.
func (r *rig) move(t *testing.T, tab *table) *moved {
	t.Helper()
	ctx := context.Background()
	for _, s := range tab.setup {
		if _, err := r.owner.Exec(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	for rows := range slices.Chunk(tab.rows, 20) {
		lines := make([]string, len(rows))
		for i, row := range rows {
			values := make([]string, len(row))
			for k, v := range row {
				values[k] = literal(v)
			}
			lines[i] = "(" + strings.Join(values, ", ") + ")"
		}
		if _, err := r.owner.Exec(ctx, fmt.Sprintf("INSERT INTO app.%s VALUES %s", ident(tab.name), strings.Join(lines, ", "))); err != nil {
			t.Fatalf("%v\n%s\n%.2000s", err, strings.Join(tab.setup, "\n"), strings.Join(lines, "\n"))
		}
	}
	r.grant(t, tab.name)
	m := &moved{table: tab, want: r.print(t, tab.name), before: audit.Hot(t, r.db.SuperURL, "app", tab.name, "")}
	m.files = r.flush(t, tab.name)
	audit.Check(t, r.db.SuperURL, "app", tab.name, m.before)
	if len(m.want) != len(tab.rows) {
		t.Fatalf("%d rows were made, %d are there", len(tab.rows), len(m.want))
	}
	return m
}

func (r *rig) grant(t *testing.T, name string) {
	t.Helper()
	_, err := r.owner.Exec(context.Background(), fmt.Sprintf("GRANT USAGE ON SCHEMA app TO %s; GRANT SELECT, INSERT, DELETE, UPDATE ON app.%s TO %[1]s", r.db.Worker, ident(name)))
	must(t, err)
}

// print reads a table as PostgreSQL prints it.
func (r *rig) print(t *testing.T, name string) map[string][]*string {
	t.Helper()
	results, err := r.owner.PgConn().Exec(context.Background(), "SELECT * FROM app."+ident(name)).ReadAll()
	must(t, err)
	rows := map[string][]*string{}
	for _, values := range results[0].Rows {
		row := make([]*string, len(values))
		for i, v := range values {
			if v != nil {
				s := string(v)
				row[i] = &s
			}
		}
		rows[*row[0]] = row
	}
	return rows
}

// readerStep: Spillway's reader prints each value as PostgreSQL did.
func readerStep(t *testing.T, _ *rig, m *moved) {
	got := map[string][]*string{}
	for _, row := range read(t, m.files) {
		got[*row[0]] = row
	}
	m.compare(t, "the reader", got)
}

// copyStep: what the reader prints goes into an empty table by COPY, and is then what it was.
func copyStep(t *testing.T, r *rig, m *moved) {
	ctx := context.Background()
	copyName := m.name + " copy"
	_, err := r.owner.Exec(ctx, fmt.Sprintf("CREATE TABLE app.%s (LIKE app.%s)", ident(copyName), ident(m.name)))
	must(t, err)
	var in strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)
	for _, row := range read(t, m.files) {
		for i, v := range row {
			if i > 0 {
				in.WriteByte('\t')
			}
			if v == nil {
				in.WriteString(`\N`)
			} else {
				in.WriteString(escape.Replace(*v))
			}
		}
		in.WriteByte('\n')
	}
	_, err = r.owner.PgConn().CopyFrom(ctx, strings.NewReader(in.String()), "COPY app."+ident(copyName)+" FROM STDIN")
	if err != nil {
		t.Errorf("PostgreSQL does not take the reader's text back: %v", err)
		return
	}
	m.compare(t, "the copy", r.print(t, copyName))
	_, err = r.owner.Exec(ctx, "DROP TABLE app."+ident(copyName))
	must(t, err)
}

// compare looks at every value.
func (m *moved) compare(t *testing.T, who string, got map[string][]*string) {
	t.Helper()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(m.want))) {
		t.Errorf("%s has %d rows, want %d, or others", who, len(got), len(m.want))
		return
	}
	for n, want := range m.want {
		for i, c := range m.columns {
			if !same(got[n][i], want[i]) {
				t.Errorf("%s, row %s, column %q (%s): got %s, want %s", who, n, c.name, c.typ.sql, show(got[n][i]), show(want[i]))
			}
		}
	}
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func show(s *string) string {
	if s == nil {
		return "NULL"
	}
	return fmt.Sprintf("%.300q", *s)
}
