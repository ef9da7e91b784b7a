package hot_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

func TestInspectColumns(t *testing.T) { // A14, A16
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	tab := table(t, db, h, `Odd "name"`,
		`CREATE DOMAIN app.cents AS numeric(12,2)`,
		`CREATE DOMAIN app.price AS app.cents NOT NULL`,
		`CREATE TYPE app.mood AS ENUM ('sad', 'happy')`,
		`CREATE TABLE app."Odd ""name""" (
			id bigint GENERATED ALWAYS AS IDENTITY, gone int, "the Price" app.price, moods app.mood[], c char(5) COLLATE "C", v varchar(7) NOT NULL,
			twice bigint GENERATED ALWAYS AS (id * 2) STORED, at timestamptz(3), PRIMARY KEY (v, id) INCLUDE (c))`,
		`ALTER TABLE app."Odd ""name""" DROP COLUMN gone`)

	want := []hot.Column{
		{Number: 1, Name: "id", TypeOID: 20, BaseOID: 20, TypMod: -1, TypeName: "int8", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "bigint", NotNull: true, Identity: "a"},
		{Number: 3, Name: "the Price", BaseOID: 1700, TypMod: 12<<16 + 2 + 4, TypeName: "numeric", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "numeric(12,2)", Domain: "app.price"},
		{Number: 4, Name: "moods", TypMod: -1, TypeName: "_mood", TypeSchema: "app", TypeKind: 'b', Declared: "app.mood[]", HasElem: true},
		{Number: 5, Name: "c", TypeOID: 1042, BaseOID: 1042, TypMod: 9, TypeName: "bpchar", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "character(5)", Collation: `pg_catalog."C"`},
		{Number: 6, Name: "v", TypeOID: 1043, BaseOID: 1043, TypMod: 11, TypeName: "varchar", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "character varying(7)", NotNull: true},
		{Number: 7, Name: "twice", TypeOID: 20, BaseOID: 20, TypMod: -1, TypeName: "int8", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "bigint", Generated: "s"},
		{Number: 8, Name: "at", TypeOID: 1184, BaseOID: 1184, TypMod: 3, TypeName: "timestamptz", TypeSchema: "pg_catalog", TypeKind: 'b', Declared: "timestamp(3) with time zone"},
	}
	want[1].TypeOID = pgtest.Value[uint32](t, db, `SELECT 'app.price'::regtype::oid`)
	want[2].TypeOID = pgtest.Value[uint32](t, db, `SELECT 'app.mood[]'::regtype::oid`)
	want[2].BaseOID = want[2].TypeOID
	mood := pgtest.Value[uint32](t, db, `SELECT 'app.mood'::regtype::oid`)
	want[2].Elem = &hot.Type{TypeOID: mood, BaseOID: mood, TypMod: -1, TypeName: "mood", TypeSchema: "app", TypeKind: "e", Declared: "app.mood"}
	if len(tab.Columns) != len(want) {
		t.Fatalf("%d columns, want %d: %+v", len(tab.Columns), len(want), tab.Columns)
	}
	for i := range want {
		if !reflect.DeepEqual(tab.Columns[i], want[i]) {
			t.Errorf("column %d:\n got %+v\nwant %+v", i, tab.Columns[i], want[i])
		}
	}
	if !reflect.DeepEqual(tab.PrimaryKey, []string{"v", "id"}) {
		t.Errorf("primary key %q", tab.PrimaryKey)
	}
	if tab.Encoding == "" || tab.RelFileNode == 0 || tab.OID == 0 || tab.Method != "heap" || tab.Partitioned() || !tab.HasIdentity {
		t.Errorf("facts: %+v", tab)
	}
	if got := tab.Refusals(hot.RefusalOptions{}); len(got) != 0 {
		t.Errorf("refused: %+v", got)
	}
}

func TestTableSurvivesJSON(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	db.Exec(t, `CREATE TABLE app.t (id int PRIMARY KEY, v text)`, `CREATE TABLE app.r (id int REFERENCES app.t)`,
		`CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'`,
		`CREATE TRIGGER g BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`)
	grant(t, db, "t")
	a := inspect(t, h, "t")
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	b := new(hot.Table)
	if err := json.Unmarshal(text, b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("read back\n%+v\nwrote\n%+v", b, a)
	}
	if diff, same := hot.SameShape(b, inspect(t, h, "t")); !same {
		t.Errorf("differs from what was stored: %s", diff)
	}
}

func TestInspectMissing(t *testing.T) { // A9
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	for _, name := range [][2]string{{"app", "nothing"}, {"nowhere", "t"}, {"app", ""}, {"", ""}} {
		if _, err := h.Inspect(t.Context(), h.Pool(), name[0], name[1]); !errors.Is(err, hot.ErrNoTable) {
			t.Errorf("inspect %q: %v, want ErrNoTable", name, err)
		}
	}
}

// A session describes its parameters differently from the pool.
func TestInspectInSession(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	a := table(t, db, h, "t", `CREATE TABLE app.t (id int, v text)`)
	s, err := h.Session(t.Context(), "spillway:test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := h.Inspect(t.Context(), s, "app", "t")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("session says\n%+v\npool says\n%+v", b, a)
	}
}

func TestSameShape(t *testing.T) { // A15, A56, A60
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	db.Exec(t, `CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'`)
	for _, c := range []struct{ name, change, want string }{
		{"nothing", `SELECT 1`, ""},
		{"rows", `INSERT INTO app.t SELECT g, 'x' FROM generate_series(1, 5000) g`, ""},
		{"statistics", `ANALYZE app.t`, ""},
		{"grants", `GRANT SELECT ON app.t TO PUBLIC`, ""},
		{"new column", `ALTER TABLE app.t ADD COLUMN more int`, "its columns"},
		{"renamed column", `ALTER TABLE app.t RENAME COLUMN v TO x`, "its columns"},
		{"dropped column", `ALTER TABLE app.t DROP COLUMN v`, "its columns"},
		{"wider type", `ALTER TABLE app.t ALTER COLUMN w TYPE varchar(20)`, "its columns"},
		{"truncated", `TRUNCATE app.t`, "it was rewritten or truncated"},
		{"rewritten", `VACUUM FULL app.t`, "it was rewritten or truncated"},
		{"made anew", `DROP TABLE app.t; CREATE TABLE app.t (id int PRIMARY KEY, v text, w varchar(10)); GRANT SELECT, DELETE, UPDATE ON app.t TO PUBLIC`, "it was dropped and made anew"},
		{"rule", `CREATE RULE r AS ON DELETE TO app.t DO INSTEAD NOTHING`, "its rules"},
		{"trigger", `CREATE TRIGGER g AFTER DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`, "its triggers"},
		{"trigger on insert", `CREATE TRIGGER g AFTER INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`, ""},
		{"foreign key", `CREATE TABLE app.r (id int REFERENCES app.t)`, "foreign keys that refer to it"},
		{"row security", `ALTER TABLE app.t ENABLE ROW LEVEL SECURITY`, "its row security"},
		{"unlogged", `ALTER TABLE app.t SET UNLOGGED`, "its kind"},
		{"primary key", `ALTER TABLE app.t DROP CONSTRAINT t_pkey`, "its primary key"},
		{"heir", `CREATE TABLE app.heir () INHERITS (app.t)`, "its place in a partitioned table"},
		{"identity", `ALTER TABLE app.t REPLICA IDENTITY NOTHING`, "its publications"},
	} {
		db.Exec(t, `DROP TABLE IF EXISTS app.t, app.r, app.heir CASCADE`)
		before := table(t, db, h, "t", `CREATE TABLE app.t (id int PRIMARY KEY, v text, w varchar(10))`)
		db.Exec(t, c.change)
		diff, same := hot.SameShape(before, inspect(t, h, "t"))
		if same != (c.want == "") || diff != c.want {
			t.Errorf("%s: differs in %q, want %q", c.name, diff, c.want)
		}
	}
}

func TestLeaves(t *testing.T) { // A16
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	p := table(t, db, h, "p",
		`CREATE TABLE app.p (id int, k int) PARTITION BY RANGE (id)`,
		`CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES FROM (0) TO (10)`,
		`CREATE TABLE app.p2 PARTITION OF app.p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (k)`,
		`CREATE TABLE app.p2a PARTITION OF app.p2 DEFAULT`)
	names(t, p, "p1", "p2a")
	leaf := inspect(t, h, "p2a")
	if !leaf.Partition || leaf.Partitioned() {
		t.Errorf("leaf: %+v", leaf)
	}
	parent := table(t, db, h, "parent", `CREATE TABLE app.parent (id int)`, `CREATE TABLE app.child (more int) INHERITS (app.parent)`, `CREATE TABLE app.grandchild () INHERITS (app.child)`)
	names(t, parent, "child", "grandchild", "parent")
	empty := table(t, db, h, "none", `CREATE TABLE app.none (id int) PARTITION BY LIST (id)`)
	names(t, empty)
	if !empty.Partitioned() {
		t.Error("a partitioned table without partitions is partitioned")
	}
}

func names(t *testing.T, tab *hot.Table, want ...string) {
	t.Helper()
	var got []string
	for _, l := range tab.Leaves {
		got = append(got, l.Name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("leaves of %s: %q, want %q", tab.Name, got, want)
	}
}

// A key with a PERIOD refers to all rows whose periods meet its own, and not to those that equal it alone.
func TestNotReferencedByAPeriod(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	if major := db.Server.Binaries().Major; major < 18 {
		t.Skipf("PostgreSQL %d has no keys with a PERIOD: install 18 or newer to run this test", major)
	}
	db.Super(t, "CREATE EXTENSION btree_gist")
	h := open(t, db, nil)
	tab := table(t, db, h, "t",
		`CREATE TABLE app.t (id int, valid int4range, PRIMARY KEY (id, valid WITHOUT OVERLAPS))`,
		`CREATE TABLE app.r (id int, valid int4range, FOREIGN KEY (id, PERIOD valid) REFERENCES app.t (id, PERIOD valid))`,
		`GRANT SELECT ON app.r TO `+db.Worker,
		`INSERT INTO app.t VALUES (1, '[0,10)'), (1, '[10,20)'), (1, '[20,30)'), (2, '[0,10)')`,
		`INSERT INTO app.r VALUES (1, '[5,15)')`)
	n, err := h.CountMatching(t.Context(), h.Pool(), "app", "t", tab.NotReferenced(), 0)
	if err != nil || n != 2 {
		t.Errorf("%d rows are free (%v), want 2: %s", n, err, tab.NotReferenced())
	}
	db.Exec(t, "DELETE FROM app.t WHERE "+tab.NotReferenced()) // PostgreSQL is of the same opinion
}

func TestNotReferenced(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	table(t, db, h, "t",
		`CREATE TABLE app.t (id int, k text, boss int, PRIMARY KEY (id, k), UNIQUE (id), FOREIGN KEY (boss) REFERENCES app.t (id))`,
		`CREATE TABLE app."R r" (k text, "t id" int, FOREIGN KEY ("t id", k) REFERENCES app.t (id, k))`,
		`INSERT INTO app.t SELECT g, 'k', CASE WHEN g = 1 THEN 2 END FROM generate_series(1, 10) g`,
		`INSERT INTO app."R r" VALUES ('k', 3), (NULL, 4), ('k', NULL)`)
	grant(t, db, "R r")
	tab := inspect(t, h, "t")
	n, err := h.CountMatching(t.Context(), h.Pool(), "app", "t", tab.NotReferenced(), 0)
	if err != nil || n != 8 { // 2 is 1's boss, 3 is referred to
		t.Errorf("%d rows are free (%v), want 8: %s", n, err, tab.NotReferenced())
	}
	if got := tab.Refusals(hot.RefusalOptions{SkipReferenced: true}); len(got) != 0 {
		t.Errorf("refused: %+v", got)
	}
	if tab := table(t, db, h, "lone", `CREATE TABLE app.lone (id int)`); tab.NotReferenced() != "" {
		t.Errorf("lone table: %q", tab.NotReferenced())
	}
}
