package e2e

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// A52: every up of these tests works as a role that has only what `spillway grants` prints.
func TestWorkerHasOnlyItsGrants(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "granted", 50)
	s := u.owner(t)
	s.wait(s.flush(tb, "").id, "completed")
	role := u.db.Worker
	for what, query := range map[string]string{
		"superuser or more":           "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = $1",
		"member of another role":      "SELECT EXISTS (SELECT FROM pg_auth_members WHERE member = $1::regrole)",
		"may create schemas":          "SELECT has_database_privilege($1, current_database(), 'CREATE')",
		"may create in app":           "SELECT has_schema_privilege($1, 'app', 'CREATE')",
		"may insert or truncate":      "SELECT has_table_privilege($1, 'app.granted', 'INSERT') OR has_table_privilege($1, 'app.granted', 'TRUNCATE')",
		"may update the whole row":    "SELECT has_table_privilege($1, 'app.granted', 'UPDATE')",
		"may update another column":   "SELECT has_column_privilege($1, 'app.granted', 'note', 'UPDATE')",
		"owns what is not its own":    "SELECT EXISTS (SELECT FROM pg_class WHERE relowner = $1::regrole AND relnamespace::regnamespace::text NOT IN ('spillway', 'system', 'pg_toast'))",
		"owns a function not in it":   "SELECT EXISTS (SELECT FROM pg_proc WHERE proowner = $1::regrole AND pronamespace::regnamespace::text NOT IN ('spillway', 'system'))",
		"may read what is not to be":  "SELECT has_table_privilege($1, 'pg_authid', 'SELECT')",
		"was granted to others' harm": "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = $1::regrole)",
	} {
		if pgtest.Value[bool](t, u.db, query, role) {
			t.Errorf("the worker's role: %s", what)
		}
	}
}

// A52: a predicate runs with the worker's rights, so it must be able to do nothing by itself. sqlfront tests many more.
func TestPredicatesCannotReach(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "reached", 30)
	u.db.Exec(t,
		"CREATE TABLE app.secret (word text)", "INSERT INTO app.secret VALUES ('open sesame')",
		"CREATE FUNCTION app.liar(bigint) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.secret VALUES ('was here'); RETURN true; END $$",
		"CREATE FUNCTION app.eq(bigint, text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT app.liar($1)'",
		"CREATE OPERATOR app.=== (LEFTARG = bigint, RIGHTARG = text, FUNCTION = app.eq)",
		"CREATE VIEW app.peep AS SELECT word FROM app.secret")
	s := u.owner(t)
	for _, predicate := range []string{
		"EXISTS (SELECT FROM app.secret)",
		"id IN (SELECT 1)",
		"(SELECT true)",
		"app.liar(id)",
		"id OPERATOR(app.===) 'x'",
		"pg_read_file('/etc/passwd') <> ''",
		"pg_sleep(1) IS NULL",
		"query_to_xml('SELECT * FROM app.secret', true, true, '') IS NOT NULL",
		"set_config('role', 'postgres', false) <> ''",
		"pg_terminate_backend(1)",
		"lo_import('/etc/passwd') > 0",
		"nextval('app.x') > 0",
		"id = 1) OR (true",
		"id = 1 RETURNING id",
		"current_user = 'x'",
		"true /*",
		"count(*) > 0",
		"ctid IS NULL OR tableoid = 'app.secret'::regclass",
		"'app.secret'::regclass IS NOT NULL AND random() < 2",
	} {
		if e := s.refused("FLUSH TABLE app.reached WHERE " + predicate); e.Code == "XX000" || e.Message == "" {
			t.Errorf("%s: %s %s", predicate, e.Code, e.Message)
		}
	}
	if n := pgtest.Value[int](t, u.db, "SELECT count(*) FROM app.secret"); n != 1 {
		t.Errorf("the secret table has %d rows", n)
	}
	if tb.hot() != 30 {
		t.Errorf("%d rows are hot", tb.hot())
	}
}

// Commands are for owners, operators and superusers; reading is for those who may read the view.
func TestStrangersMayDoNothing(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "not_yours", 100)
	stranger := "stranger_" + u.db.Name
	u.db.Super(t, "CREATE ROLE "+stranger+" LOGIN PASSWORD 'x'", "GRANT USAGE ON SCHEMA app TO "+stranger, "GRANT SELECT ON app.not_yours TO "+stranger)
	t.Cleanup(func() { u.db.Super(t, "DROP OWNED BY "+stranger, "DROP ROLE "+stranger) })
	s := u.connect(t, withUser(t, u.db.OwnerURL, stranger, "x"))
	o := u.owner(t)
	done := o.wait(o.flush(tb, "WHERE id < 10").id, "completed")
	for _, statement := range []string{
		"FLUSH TABLE app.not_yours", "KILL JOB '" + done.ID + "'", "SHOW JOBS", "SHOW JOB '" + done.ID + "'", "SELECT * FROM system.jobs",
		"SELECT * FROM spillway.requests", "SELECT * FROM spillway.audit", "SELECT * FROM system.workers", "KILL JOBS WHERE true", "EXPLAIN KILL JOBS WHERE true",
		"FLUSH TABLE app.not_yours WITH (triggers = fire)",
	} {
		if e := s.refused(statement); e.Code != "42501" {
			t.Errorf("%s: %s %s", statement, e.Code, e.Message)
		}
	}
	if e := o.refused("FLUSH TABLE app.not_yours WITH (triggers = fire)"); e.Code != "42501" {
		t.Errorf("an owner fires triggers with the worker's rights: %+v", e)
	}
	must(t, s.Close(t.Context()))
}
