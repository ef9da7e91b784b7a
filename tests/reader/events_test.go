package reader

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// eventsTable is the table of the benchmarks: what a multi-tenant product logs. %[1]s is its name, %[2]d its number of rows.
const eventsTable = `
CREATE TABLE app.%[1]s (id bigint PRIMARY KEY, tenant_id int NOT NULL, user_id uuid NOT NULL, kind text NOT NULL,
	amount numeric(12,2) NOT NULL, payload jsonb NOT NULL, created_at timestamptz NOT NULL, note text);
INSERT INTO app.%[1]s SELECT i, 1 + i * 7919 %% 400, md5((i %% 200000)::text)::uuid, (ARRAY['view','click','search','purchase','refund'])[1 + i %% 5],
	round(((i * 48271 %% 2147483647) / 100000.0)::numeric, 2) * CASE WHEN i %% 13 = 0 THEN -1 ELSE 1 END,
	jsonb_build_object('path', '/shop/' || i %% 5000, 'ms', i %% 3000, 'tags', jsonb_build_array('new', i %% 7), 'session', md5((i / 7)::text)),
	timestamptz '2023-01-01 00:00Z' + i * interval '15 seconds' + (i %% 1000003) * interval '1 microsecond',
	CASE WHEN i %% 10 = 0 THEN NULL WHEN i %% 101 = 0 THEN '' ELSE 'Order ' || i || ', "handled" by desk ' || i %% 40 || E'\n' END
FROM generate_series(1::bigint, %[2]d) AS i`

// A25, A52, A10, A11: a big table is flushed by a role with only what `spillway grants` prints, and DuckDB finds no
// difference, in either direction, between the files and a copy that was kept aside.
func TestDuckDBFindsNoDifference(t *testing.T) {
	t.Parallel()
	rows := 200_000
	if product.Long() {
		rows = 2_000_000
	}
	db := pgtest.Database(t)
	db.Exec(t, fmt.Sprintf(eventsTable, "events", rows), "ANALYZE app.events")
	copied := filepath.Join(t.TempDir(), "copy.csv")
	export(t, db, "SELECT * FROM app.events", copied)

	r := newRig(t, db, grantedRole(t, db, "app.events"))
	files := r.flush("events", map[string]string{"chunk_bytes": "8MB"})
	if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM app.events"); n != 0 {
		t.Errorf("%d rows are still hot", n)
	}
	if len(files) < 2 {
		t.Errorf("%d files: the table was to be cut in several chunks", len(files))
	}

	ddb := duck(t)
	_, err := ddb.Exec("CREATE VIEW cold AS SELECT * REPLACE (CAST(payload AS VARCHAR) AS payload) FROM " + readParquet(files))
	must(t, err)
	_, err = ddb.Exec(fmt.Sprintf(`CREATE VIEW kept AS SELECT * FROM read_csv('%s', header = false, allow_quoted_nulls = false, nullstr = '', parallel = false, columns = {
		'id': 'BIGINT', 'tenant_id': 'INTEGER', 'user_id': 'UUID', 'kind': 'VARCHAR', 'amount': 'DECIMAL(12,2)', 'payload': 'VARCHAR',
		'created_at': 'TIMESTAMPTZ', 'note': 'VARCHAR'})`, copied))
	must(t, err)
	for _, c := range []struct {
		what, query string
		want        int
	}{
		{"rows in the copy", "SELECT count(*) FROM kept", rows},
		{"rows in the files", "SELECT count(*) FROM cold", rows},
		{"rows of the copy that are not in the files", "SELECT count(*) FROM (SELECT * FROM kept EXCEPT ALL SELECT * FROM cold)", 0},
		{"rows of the files that are not in the copy", "SELECT count(*) FROM (SELECT * FROM cold EXCEPT ALL SELECT * FROM kept)", 0},
		{"NULL notes less empty ones, in both", "SELECT abs((SELECT count(*) FROM cold WHERE note IS NULL) - (SELECT count(*) FROM kept WHERE note IS NULL))", 0},
	} {
		var got int
		must(t, ddb.QueryRow(c.query).Scan(&got))
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// A25: a second reader, which shares no code with the first, finds the same rows, and files of several schema versions.
func TestArrowFindsNoDifference(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, fmt.Sprintf(eventsTable, "events", 50_000), "CREATE TABLE app.kept AS TABLE app.events")
	grantAll(db, t)
	r := newRig(t, db, db.WorkerURL)
	files := r.flush("events", map[string]string{"chunk_bytes": "4MB"})
	checkArrow(t, db, `SELECT id::text, tenant_id::text, user_id::text, kind, amount::text, payload::text,
		(extract(epoch FROM created_at) * 1000000)::bigint::text, note FROM app.kept`, files)
}

// A15: columns are added, dropped and renamed between flushes. DuckDB reads the files of all versions in one call.
func TestDuckDBReadsAllSchemaVersions(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int PRIMARY KEY, a text, b int)", "INSERT INTO app.t SELECT i, 'a' || i, i FROM generate_series(1, 100) i")
	grantAll(db, t)
	r := newRig(t, db, db.WorkerURL)
	r.flush("t", nil)
	db.Exec(t, "ALTER TABLE app.t ADD COLUMN c date, DROP COLUMN b", "ALTER TABLE app.t RENAME a TO renamed",
		"INSERT INTO app.t SELECT i, 'r' || i, '2026-01-01' FROM generate_series(101, 150) i")
	files := r.flush("t", nil)
	if n := pgtest.Value[int](t, db, "SELECT count(DISTINCT schema_version) FROM spillway.segments"); n != 2 || len(files) != 2 {
		t.Errorf("%d schema versions in %d files", n, len(files))
	}
	var rows, a, b, c, renamed int
	call := strings.Replace(readParquet(files), "hive_partitioning", "union_by_name = true, hive_partitioning", 1)
	must(t, duck(t).QueryRow("SELECT count(*), count(a), count(b), count(c), count(renamed) FROM "+call).Scan(&rows, &a, &b, &c, &renamed))
	if rows != 150 || a != 100 || b != 100 || c != 50 || renamed != 50 {
		t.Errorf("%d rows; a %d, b %d, c %d, renamed %d", rows, a, b, c, renamed)
	}
}

// export writes a query's rows to a CSV file.
func export(t *testing.T, db *pgtest.DB, query, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	conn := db.Connect(t, db.SuperURL)
	_, err = conn.Exec(context.Background(), "SET TimeZone = 'UTC'")
	must(t, err)
	_, err = conn.PgConn().CopyTo(context.Background(), f, "COPY ("+query+") TO STDOUT (FORMAT csv)")
	must(t, err)
	must(t, f.Close())
}

// grantedRole makes a role by the script that `spillway grants` prints, and returns the URL by which it logs in.
func grantedRole(t *testing.T, db *pgtest.DB, tables ...string) string {
	t.Helper()
	role, password := "granted_"+strings.ToLower(rand.Text()), rand.Text()
	args := []string{"grants", "--database-url", db.SuperURL, "--role", role, "--operators=false"}
	for _, table := range tables {
		args = append(args, "--for", table)
	}
	bin, err := product.Binary(t.TempDir())
	must(t, err)
	script, err := exec.Command(bin, args...).Output()
	must(t, err)
	// The role goes before its database does; what it owns goes with it.
	t.Cleanup(func() { db.Super(t, "DROP OWNED BY "+role+" CASCADE", "DROP ROLE "+role) })
	db.Super(t, string(script), "ALTER ROLE "+role+" PASSWORD '"+password+"'")
	if pgtest.Value[bool](t, db, "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR has_database_privilege(rolname, current_database(), 'CREATE') FROM pg_roles WHERE rolname = $1", role) {
		t.Error("the script makes a role that may do more than it has to")
	}
	u, err := url.Parse(db.WorkerURL)
	must(t, err)
	u.User = url.UserPassword(role, password)
	return u.String()
}
