package hot_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// Every refusal, on a real object, as the unprivileged role. A9, A55
func TestRefusals(t *testing.T) {
	t.Parallel()
	shared := pgtest.Database(t)
	sharedHot := open(t, shared, nil)
	all := hot.RefusalOptions{FireTriggers: true, Replicate: true, SkipReferenced: true}
	const fn = `CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'`
	for _, c := range []struct {
		name  string
		owner []string // statements
		super []string // {worker} is the product's role
		table string   // default t, in schema app
		opt   hot.RefusalOptions
		code  string // "": not refused
		msg   string // part of it
		hint  string // part of it
	}{
		{name: "plain", owner: []string{`CREATE TABLE app.t (id int)`}},
		{name: "unlogged", owner: []string{`CREATE UNLOGGED TABLE app.t (id int)`}},
		{name: "view", owner: []string{`CREATE VIEW app.t AS SELECT 1 AS id`}, opt: all, code: "42809", msg: "it is a view", hint: "Flush the table"},
		{name: "materialized view", owner: []string{`CREATE MATERIALIZED VIEW app.t AS SELECT 1 AS id`}, opt: all, code: "42809", msg: "it is a materialized view"},
		{name: "sequence", owner: []string{`CREATE SEQUENCE app.t`}, opt: all, code: "42809", msg: "it is a sequence"},
		{name: "index", owner: []string{`CREATE TABLE app.x (id int)`, `CREATE INDEX t ON app.x (id)`}, opt: all, code: "42809", msg: "it is an index"},
		{name: "composite type", owner: []string{`CREATE TYPE app.t AS (a int)`}, opt: all, code: "42809", msg: "it is a composite type"},
		{name: "foreign table", super: []string{`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE FOREIGN TABLE app.t (id int) SERVER s`},
			opt: all, code: "42809", msg: "it is a foreign table"},
		{name: "foreign leaf", super: []string{`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE TABLE app.t (id int) PARTITION BY LIST (id)`,
			`CREATE FOREIGN TABLE app.leaf PARTITION OF app.t DEFAULT SERVER s`}, opt: all, code: "42809", msg: "partition app.leaf is a foreign table"},
		{name: "ledger", super: []string{`CREATE SCHEMA spillway`, `CREATE TABLE spillway.t (id int)`}, table: "spillway.t", opt: all, code: "42809", msg: `schema "spillway"`},
		{name: "system", super: []string{`CREATE SCHEMA system`, `CREATE TABLE system.t (id int)`}, table: "system.t", opt: all, code: "42809", msg: `schema "system"`},
		{name: "catalog", table: "pg_catalog.pg_class", opt: all, code: "42809", msg: `schema "pg_catalog"`},
		{name: "information schema", table: "information_schema.sql_features", opt: all, code: "42809", msg: `schema "information_schema"`},
		{name: "access method", super: []string{`CREATE ACCESS METHOD odd TYPE TABLE HANDLER heap_tableam_handler`, `CREATE TABLE app.t (id int) USING odd`},
			opt: all, code: "0A000", msg: `access method is "odd"`},

		// TimescaleDB and Citus are not here; these are the marks by which they are known.
		{name: "hypertable by its trigger", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER ts_insert_blocker BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`},
			opt: all, code: "0A000", msg: "TimescaleDB"},
		{name: "hypertable by its chunks", super: []string{`CREATE SCHEMA _timescaledb_internal`, `CREATE TABLE app.t (id int)`, `CREATE TABLE _timescaledb_internal._hyper_1_1_chunk () INHERITS (app.t)`},
			opt: all, code: "0A000", msg: "TimescaleDB"},
		{name: "hypertable by the catalog", super: []string{`CREATE SCHEMA _timescaledb_catalog`, `CREATE TABLE _timescaledb_catalog.hypertable (schema_name name, table_name name)`,
			`GRANT USAGE ON SCHEMA _timescaledb_catalog TO PUBLIC`, `GRANT SELECT ON _timescaledb_catalog.hypertable TO PUBLIC`,
			`CREATE TABLE app.t (id int)`, `INSERT INTO _timescaledb_catalog.hypertable VALUES ('app', 't')`}, opt: all, code: "0A000", msg: "TimescaleDB"},
		{name: "beside a hypertable", super: []string{`CREATE SCHEMA _timescaledb_catalog`, `CREATE TABLE _timescaledb_catalog.hypertable (schema_name name, table_name name)`,
			`GRANT USAGE ON SCHEMA _timescaledb_catalog TO PUBLIC`, `GRANT SELECT ON _timescaledb_catalog.hypertable TO PUBLIC`,
			`CREATE TABLE app.t (id int)`, `INSERT INTO _timescaledb_catalog.hypertable VALUES ('app', 'other')`}},
		{name: "distributed by Citus", super: []string{`SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass); GRANT SELECT ON pg_catalog.pg_dist_partition TO PUBLIC`,
			`CREATE TABLE app.t (id int)`, `INSERT INTO pg_catalog.pg_dist_partition VALUES ('app.t')`}, opt: all, code: "0A000", msg: "Citus"},
		{name: "columnar by Citus", super: []string{`CREATE ACCESS METHOD columnar TYPE TABLE HANDLER heap_tableam_handler`, `CREATE TABLE app.t (id int) USING columnar`},
			opt: all, code: "0A000", msg: "Citus"},

		{name: "rule", owner: []string{`CREATE TABLE app.t (id int, gone bool)`, `CREATE RULE keep AS ON DELETE TO app.t DO INSTEAD UPDATE app.t SET gone = true WHERE id = OLD.id RETURNING OLD.*`},
			opt: all, code: "55000", msg: `rule "keep"`, hint: "DROP RULE"},
		{name: "rule on insert", owner: []string{`CREATE TABLE app.t (id int)`, `CREATE RULE r AS ON INSERT TO app.t DO INSTEAD NOTHING`}},

		{name: "referenced", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int, CONSTRAINT points FOREIGN KEY (t_id) REFERENCES app.t)`},
			code: "2BP01", msg: `foreign key "points" of app.r refers to it`, hint: "skip_referenced"},
		{name: "referenced, skipped, unreadable", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int REFERENCES app.t)`},
			super: []string{`REVOKE ALL ON app.r FROM {worker}`}, opt: all, code: "42501", msg: "read all rows of app.r", hint: "GRANT SELECT ON app.r"},
		{name: "referenced, skipped", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int REFERENCES app.t ON DELETE RESTRICT)`, `GRANT SELECT ON app.r TO PUBLIC`}, opt: all},
		{name: "cascade", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int REFERENCES app.t ON DELETE CASCADE)`}, opt: all, code: "2BP01", msg: "ON DELETE CASCADE"},
		{name: "set null", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int REFERENCES app.t ON DELETE SET NULL)`}, opt: all, code: "2BP01", msg: "ON DELETE SET NULL"},
		{name: "set default", owner: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE TABLE app.r (t_id int REFERENCES app.t ON DELETE SET DEFAULT)`}, opt: all, code: "2BP01", msg: "ON DELETE SET DEFAULT"},
		{name: "leaf of a referenced table", owner: []string{`CREATE TABLE app.p (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE app.t PARTITION OF app.p DEFAULT`,
			`CREATE TABLE app.r (t_id int REFERENCES app.p)`}, code: "2BP01", msg: "of app.r refers to it"},
		{name: "referring, not referenced", owner: []string{`CREATE TABLE app.x (id int PRIMARY KEY)`, `CREATE TABLE app.t (x_id int REFERENCES app.x ON DELETE CASCADE)`}},

		{name: "trigger", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER g BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`},
			code: "55000", msg: `trigger "g"`, hint: "triggers = fire"},
		{name: "trigger for each statement", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER g AFTER DELETE ON app.t EXECUTE FUNCTION app.f()`}, code: "55000", msg: `trigger "g"`},
		{name: "trigger fires", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER g BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`}, opt: all},
		{name: "trigger disabled", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER g BEFORE DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`, `ALTER TABLE app.t DISABLE TRIGGER g`}},
		{name: "trigger on update", owner: []string{fn, `CREATE TABLE app.t (id int)`, `CREATE TRIGGER g BEFORE UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()`}},
		{name: "trigger of the partitioned table", owner: []string{fn, `CREATE TABLE app.p (id int) PARTITION BY LIST (id)`, `CREATE TABLE app.t PARTITION OF app.p DEFAULT`,
			`CREATE TRIGGER g AFTER DELETE ON app.p FOR EACH ROW EXECUTE FUNCTION app.f()`}, code: "55000", msg: `trigger "g"`},
		{name: "statement trigger of a partitioned table", owner: []string{fn, `CREATE TABLE app.t (id int) PARTITION BY LIST (id)`, `CREATE TRIGGER g AFTER DELETE ON app.t EXECUTE FUNCTION app.f()`},
			opt: all, code: "0A000", msg: "would not run"},

		{name: "row security", owner: []string{`CREATE TABLE app.t (id int)`, `ALTER TABLE app.t ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON app.t USING (true)`},
			opt: all, code: "42501", msg: "row security", hint: "BYPASSRLS"},
		{name: "row security bypassed", owner: []string{`CREATE TABLE app.t (id int)`, `ALTER TABLE app.t ENABLE ROW LEVEL SECURITY`}, super: []string{`ALTER ROLE {worker} BYPASSRLS`}},
		{name: "row security of its owner", super: []string{`CREATE TABLE app.t (id int)`, `ALTER TABLE app.t OWNER TO {worker}`, `ALTER TABLE app.t ENABLE ROW LEVEL SECURITY`}},
		{name: "row security forced upon its owner", super: []string{`CREATE TABLE app.t (id int)`, `ALTER TABLE app.t OWNER TO {worker}`, `ALTER TABLE app.t ENABLE ROW LEVEL SECURITY`, `ALTER TABLE app.t FORCE ROW LEVEL SECURITY`},
			opt: all, code: "42501", msg: "row security"},

		{name: "no SELECT", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE SELECT ON app.t FROM {worker}`}, opt: all, code: "42501", msg: "lacks SELECT", hint: "spillway grants --for app.t"},
		{name: "SELECT on columns only", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE SELECT ON app.t FROM {worker}`, `GRANT SELECT (id) ON app.t TO {worker}`}, opt: all, code: "42501", msg: "lacks SELECT"},
		{name: "no DELETE", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE DELETE ON app.t FROM {worker}`}, opt: all, code: "42501", msg: "lacks DELETE"},
		{name: "no UPDATE", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE UPDATE ON app.t FROM {worker}`}, opt: all, code: "42501", msg: "lacks UPDATE"},
		{name: "UPDATE on a column", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE UPDATE ON app.t FROM {worker}`, `GRANT UPDATE (id) ON app.t TO {worker}`}},
		{name: "no USAGE", owner: []string{`CREATE TABLE app.t (id int)`}, super: []string{`REVOKE USAGE ON SCHEMA app FROM {worker}`}, opt: all, code: "42501", msg: `schema "app"`},

		{name: "published", super: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE PUBLICATION pub FOR TABLE app.t`}, code: "55000", msg: "publication pub would delete the rows from its subscribers", hint: "replicate = true"},
		{name: "published, replicate", super: []string{`CREATE TABLE app.t (id int PRIMARY KEY)`, `CREATE PUBLICATION pub FOR TABLE app.t`}, opt: all},
		{name: "published without identity", super: []string{`CREATE TABLE app.t (id int)`, `CREATE PUBLICATION pub FOR TABLE app.t`}, opt: all, code: "55000", msg: "no replica identity", hint: "REPLICA IDENTITY"},
		{name: "published with a deferrable key", super: []string{`CREATE TABLE app.t (id int PRIMARY KEY DEFERRABLE)`, `CREATE PUBLICATION pub FOR TABLE app.t`}, opt: all, code: "55000", msg: "no replica identity"},
		{name: "published with full identity", super: []string{`CREATE TABLE app.t (id int)`, `ALTER TABLE app.t REPLICA IDENTITY FULL`, `CREATE PUBLICATION pub FOR TABLE app.t`}, opt: all},
		{name: "published with an index as identity", super: []string{`CREATE TABLE app.t (id int NOT NULL)`, `CREATE UNIQUE INDEX u ON app.t (id)`, `ALTER TABLE app.t REPLICA IDENTITY USING INDEX u`, `CREATE PUBLICATION pub FOR TABLE app.t`}, opt: all},
		{name: "published inserts only", super: []string{`CREATE TABLE app.t (id int)`, `CREATE PUBLICATION pub FOR TABLE app.t WITH (publish = 'insert, update')`}},
		{name: "all tables published", super: []string{`CREATE TABLE app.t (id int)`, `CREATE PUBLICATION pub FOR ALL TABLES`}, opt: all, code: "55000", msg: "no replica identity"},
		{name: "all tables published, unlogged", super: []string{`CREATE UNLOGGED TABLE app.t (id int)`, `CREATE PUBLICATION pub FOR ALL TABLES`}},
		{name: "schema published", super: []string{`CREATE TABLE app.t (id int)`, `CREATE PUBLICATION pub FOR TABLES IN SCHEMA app`}, opt: all, code: "55000", msg: "no replica identity"},
		{name: "parent published", super: []string{`CREATE TABLE app.p (id int) PARTITION BY LIST (id)`, `CREATE TABLE app.t PARTITION OF app.p DEFAULT`, `CREATE PUBLICATION pub FOR TABLE app.p`},
			opt: all, code: "55000", msg: "no replica identity"},
		{name: "parent published via root", super: []string{`CREATE TABLE app.p (id int PRIMARY KEY) PARTITION BY RANGE (id)`, `CREATE TABLE app.t PARTITION OF app.p DEFAULT`, `CREATE PUBLICATION pub FOR TABLE app.p WITH (publish_via_partition_root = true)`},
			code: "55000", msg: "subscribers"},
		{name: "schema of the parent published", super: []string{`CREATE SCHEMA up`, `CREATE TABLE up.p (id int) PARTITION BY LIST (id)`, `CREATE TABLE app.t PARTITION OF up.p DEFAULT`, `CREATE PUBLICATION pub FOR TABLES IN SCHEMA up`},
			opt: all, code: "55000", msg: "no replica identity"},
		{name: "partitioned table published", super: []string{`CREATE TABLE app.t (id int) PARTITION BY LIST (id)`, `CREATE PUBLICATION pub FOR TABLE app.t`}, code: "55000", msg: "subscribers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, h := shared, sharedHot
			if wide := strings.Join(c.super, " "); databaseWide.MatchString(wide) {
				t.Parallel()
				db = pgtest.Database(t)
				if strings.Contains(wide, "IN SCHEMA") && pgtest.Value[int](t, db, `SELECT current_setting('server_version_num')::int`) < 150000 {
					t.Skip("publications of schemas came with PostgreSQL 15")
				}
				h = open(t, db, nil)
			} else {
				db.Super(t, `DROP PUBLICATION IF EXISTS pub`, `DROP SCHEMA app CASCADE`, `CREATE SCHEMA app AUTHORIZATION `+db.Owner)
			}
			worker := pgx.Identifier{db.Worker}.Sanitize()
			db.Exec(t, c.owner...)
			db.Super(t, `GRANT USAGE ON SCHEMA app TO `+worker, `ALTER DEFAULT PRIVILEGES GRANT SELECT, DELETE, UPDATE ON TABLES TO `+worker,
				`GRANT SELECT, DELETE, UPDATE ON ALL TABLES IN SCHEMA app TO `+worker)
			for _, s := range c.super {
				db.Super(t, strings.ReplaceAll(s, "{worker}", worker))
			}
			schema, name, qualified := strings.Cut(c.table, ".")
			if !qualified {
				schema, name = "app", "t"
			}
			tab, err := h.Inspect(t.Context(), h.Pool(), schema, name)
			if err != nil {
				t.Fatal(err)
			}
			check(t, tab.Refusals(c.opt), c.code, c.msg, c.hint)
			if c.code == "" {
				provenByDelete(t, h, tab)
			}
		})
	}
}

// databaseWide finds statements whose effect a new schema would not undo. Databases take half a second each.
var databaseWide = regexp.MustCompile(`CREATE (SCHEMA|SERVER|ACCESS METHOD)|allow_system_table_mods|ALTER ROLE|ALL TABLES$|IN SCHEMA`)

func check(t *testing.T, got []hot.Refusal, code, msg, hint string) {
	t.Helper()
	if code == "" {
		if len(got) != 0 {
			t.Errorf("refused: %+v", got)
		}
		return
	}
	if len(got) == 0 {
		t.Fatalf("not refused, want %s %q", code, msg)
	}
	r := got[0]
	if r.Code != code || !strings.Contains(r.Msg, msg) || !strings.Contains(r.Hint, hint) || r.Hint == "" {
		t.Errorf("refused with %s %q (%q), want %s %q (%q)", r.Code, r.Msg, r.Hint, code, msg, hint)
	}
}

// provenByDelete shows that what is not refused can be done.
func provenByDelete(t *testing.T, h *hot.DB, tab *hot.Table) {
	t.Helper()
	s, err := h.Session(t.Context(), "spillway:test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	exec := func(sql string) {
		if _, err := s.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	exec("BEGIN")
	if err := s.LockTable(t.Context(), tab.Schema, tab.Name); err != nil {
		t.Error(err)
	}
	exec("SELECT ctid FROM ONLY " + tab.Ident() + " FOR UPDATE SKIP LOCKED")
	exec("DELETE FROM ONLY " + tab.Ident() + " RETURNING *, ctid")
	exec("ROLLBACK")
}

func TestRefuseTemporary(t *testing.T) { // A9
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, nil)
	conn := db.Connect(t, db.WorkerURL)
	if _, err := conn.Exec(t.Context(), `CREATE TEMPORARY TABLE t (id int)`); err != nil {
		t.Fatal(err)
	}
	var schema string
	if err := conn.QueryRow(t.Context(), `SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 't'::regclass`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	tab, err := h.Inspect(t.Context(), h.Pool(), schema, "t")
	if err != nil {
		t.Fatal(err)
	}
	check(t, tab.Refusals(hot.RefusalOptions{}), "42809", "temporary table", "permanent")
}

func TestReservedSchemasAreConfigurable(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h := open(t, db, &hot.Options{Reserved: []string{"app"}})
	check(t, table(t, db, h, "t", `CREATE TABLE app.t (id int)`).Refusals(hot.RefusalOptions{}), "42809", `schema "app"`, "application tables")
}
