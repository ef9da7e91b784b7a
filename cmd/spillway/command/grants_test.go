package command

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/grants"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// Both schemas can have other names.
func TestGrantsOtherSchemas(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events (id int)")
	r := invoke(t, []string{"grants", "--for", "app.events", "--database-url", db.OwnerURL, "--role", db.Worker, "--ledger-schema", "cold", "--system-schema", "Cold Views", "--reader", db.Owner, "--operators=false"})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	mustContain(t, r.out, "CREATE SCHEMA IF NOT EXISTS cold AUTHORIZATION", `CREATE SCHEMA IF NOT EXISTS "Cold Views" AUTHORIZATION`, `GRANT USAGE ON SCHEMA "Cold Views" TO`)
	if strings.Contains(r.out, "pg_read_all_stats") || strings.Contains(r.out, "SCHEMA system") || strings.Contains(r.out, "EXISTS spillway") {
		t.Errorf("the default names:\n%s", r.out)
	}
	must(t, db.Connect(t, db.SuperURL), r.out)
}

// The script gives a new role what moving rows takes, in leaf partitions too, and nothing else; it may be run again.
// A52
func TestGrants(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t,
		"CREATE TABLE app.events (note text, id bigint PRIMARY KEY, at timestamptz)",
		`CREATE TABLE app."Odd Name" ("A b" int)`,
		"CREATE TABLE app.parted (id int, at int) PARTITION BY RANGE (at)",
		"CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (10) PARTITION BY LIST (id)",
		"CREATE TABLE app.parted_1_a PARTITION OF app.parted_1 FOR VALUES IN (1)",
		"CREATE TABLE app.private (id int)",
	)
	name, reader := db.Worker+`_$$ it's "odd`, db.Owner
	role := pgx.Identifier{name}.Sanitize()
	r := invoke(t, []string{"grants", "--for", "app.events", "--for", `app."Odd Name"`, "app.parted", "--database-url", db.OwnerURL,
		"--role", name, "--reader", reader, "--operators=false", "--monitor"})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	mustContain(t, r.out, `GRANT UPDATE (id) ON TABLE app.events TO`, `ON TABLE app."Odd Name" TO`, "app.parted_1_a TO", "FOR UPDATE SKIP LOCKED")
	mustContain(t, r.out, "GRANT pg_read_all_stats TO "+role+";")
	if strings.Contains(r.out, "private") || strings.Contains(r.out, grants.Operator) {
		t.Errorf("grants more than was asked for:\n%s", r.out)
	}
	conn := db.Connect(t, db.SuperURL)
	t.Cleanup(func() {
		db.Super(t, pgtest.DropOwned(role), "DROP ROLE "+role)
	})
	must(t, conn, r.out, r.out)

	must(t, conn, "SET SESSION AUTHORIZATION "+role)
	must(t, conn,
		"BEGIN; LOCK TABLE ONLY app.parted_1_a IN ROW EXCLUSIVE MODE; DELETE FROM ONLY app.parted_1_a; COMMIT",
		`BEGIN; SELECT FROM app."Odd Name" FOR UPDATE SKIP LOCKED; COMMIT`,
		"BEGIN; SELECT FROM app.events FOR UPDATE SKIP LOCKED; COMMIT",
		"CREATE TABLE spillway.probe (id int)", "CREATE VIEW system.probe AS SELECT 1 AS one")
	for _, forbidden := range []string{
		"SELECT FROM app.private", "INSERT INTO app.events VALUES ('x', 1)", "UPDATE app.events SET note = 'x'",
		"TRUNCATE app.events", "CREATE SCHEMA mine", "CREATE TABLE app.mine (id int)",
	} {
		_, err := conn.Exec(t.Context(), forbidden)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: got %v, want 42501", forbidden, err)
		}
	}
	must(t, conn, "RESET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION "+reader, "SELECT one FROM system.probe", "RESET SESSION AUTHORIZATION")
}

// Scripts for several databases of one server, run at once by a superuser: rights on a setting are a row of a catalog that all share.
func TestGrantsAtOnce(t *testing.T) {
	t.Parallel()
	start, done := make(chan struct{}), make(chan error)
	const databases = 6
	for range databases {
		db := pgtest.Database(t)
		db.Exec(t, "CREATE TABLE app.events (id int)")
		r := invoke(t, []string{"grants", "--for", "app.events", "--database-url", db.OwnerURL, "--role", db.Worker, "--operators=false"})
		if r.code != 0 {
			t.Fatal(r.errOut)
		}
		conn := db.Connect(t, db.SuperURL)
		go func() {
			<-start
			var err error
			for n := 0; n < 20 && err == nil; n++ {
				_, err = conn.Exec(context.Background(), r.out)
			}
			done <- err
		}()
	}
	close(start)
	for range databases {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// With --restore the role may put rows back too, and no more than that.
func TestGrantsForRestores(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	role := db.Worker + "_r"
	db.Super(t, "REVOKE TEMPORARY ON DATABASE "+db.Name+" FROM PUBLIC")
	db.Exec(t, "CREATE TABLE app.parted (id int, at int) PARTITION BY RANGE (at)", "CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM (0) TO (10)")
	r := invoke(t, []string{"grants", "--restore", "--for", "app.parted", "--database-url", db.OwnerURL, "--role", role, "--operators=false"})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	conn := db.Connect(t, db.SuperURL)
	t.Cleanup(func() { db.Super(t, pgtest.DropOwned(role), "DROP ROLE "+role) })
	must(t, conn, r.out, r.out, "SET SESSION AUTHORIZATION "+role,
		"BEGIN; LOCK TABLE app.parted IN ROW EXCLUSIVE MODE; INSERT INTO app.parted VALUES (1, 1); CREATE TEMPORARY TABLE s AS SELECT * FROM ONLY app.parted WITH NO DATA; COMMIT")
	for _, forbidden := range []string{"INSERT INTO app.parted_1 VALUES (1, 1)", "UPDATE app.parted SET at = 2", "TRUNCATE app.parted"} {
		_, err := conn.Exec(t.Context(), forbidden)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: got %v, want 42501", forbidden, err)
		}
	}
}

// An administrator who is no superuser, as managed PostgreSQL has them, can run the script too.
func TestGrantsByAdministrator(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	admin, role := db.Owner+"_adm", db.Worker+"_m"
	db.Exec(t, "CREATE TABLE app.events (id int)")
	db.Super(t, "CREATE ROLE "+admin+" LOGIN CREATEROLE", "GRANT CREATE ON DATABASE "+db.Name+" TO "+admin, "GRANT "+db.Owner+" TO "+admin)
	t.Cleanup(func() {
		db.Super(t, pgtest.DropOwned(role, admin), "DROP ROLE "+role+", "+admin)
	})
	r := invoke(t, []string{"grants", "--for", "app.events", "--database-url", db.OwnerURL, "--role", role, "--operators=false"})
	if r.code != 0 {
		t.Fatal(r.errOut)
	}
	conn := db.Connect(t, db.SuperURL)
	must(t, conn, "SET SESSION AUTHORIZATION "+admin, r.out, r.out, "SET SESSION AUTHORIZATION "+role, "DELETE FROM app.events", "CREATE TABLE spillway.probe (id int)")
}

// What only some flushes need is granted on request only; heirs are granted as partitions are.
func TestGrantsOnRequest(t *testing.T) { // A16
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.parted (id int) PARTITION BY LIST (id)", "CREATE TABLE app.one PARTITION OF app.parted FOR VALUES IN (1)",
		"CREATE TABLE app.parent (id int)", "CREATE TABLE app.heir () INHERITS (app.parent)")
	args := []string{"grants", "--for", "app.parted", "--for", "app.parent", "--database-url", db.OwnerURL, "--role", db.Worker, "--operators=false"}
	r := invoke(t, args)
	if r.code != 0 || strings.Contains(r.out, "TRUNCATE") || strings.Contains(r.out, "MAINTAIN") {
		t.Fatalf("%s\n%s", r.errOut, r.out)
	}
	mustContain(t, r.out, "DELETE ON TABLE app.heir TO")
	if r = invoke(t, append(args, "--truncate")); r.code != 0 || strings.Contains(r.out, "TRUNCATE ON TABLE app.parted") {
		t.Errorf("%s\n%s", r.errOut, r.out)
	}
	mustContain(t, r.out, "GRANT TRUNCATE ON TABLE app.one TO")
	must(t, db.Connect(t, db.SuperURL), r.out)
	version := pgtest.Value[int](t, db, "SELECT current_setting('server_version_num')::int")
	r = invoke(t, append(args, "--maintain"))
	if version < 170000 {
		if r.code != 1 {
			t.Errorf("exit code %d", r.code)
		}
		mustContain(t, r.errOut, "has no right MAINTAIN", "hint: before version 17")
		return
	}
	mustContain(t, r.out, "GRANT MAINTAIN ON TABLE app.parted TO", "GRANT MAINTAIN ON TABLE app.one TO")
	must(t, db.Connect(t, db.SuperURL), r.out)
}

func TestGrantsOfMissingTable(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	r := invoke(t, []string{"grants", "--for", "app.nothing", "--database-url", db.OwnerURL})
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, r.errOut, "spillway: table app.nothing does not exist", "hint: names are spelled as in SQL")
	if r := invoke(t, []string{"grants", "--for", "nothing", "--database-url", db.OwnerURL}); r.code != 2 {
		t.Errorf("unqualified: exit code %d, want 2", r.code)
	}
}
