package sqlfront_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

func TestFlushTable(t *testing.T) { // A1, A6, A62
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.Exec(t, "CREATE TABLE app.events (id bigint)")
			conn := w.through(t, w.OwnerURL, mode)
			got, err := start(t.Context(), conn, "FLUSH TABLE app.events WITH (parallelism = 3, chunk_bytes = '1MB', lock_timeout = '0.2s', replicate = on, verify = FULL, skip_referenced = false, as_text = (note, \"B, b\"), on_unrepresentable = null);")
			if err != nil || len(got) != 1 || *got[0].Status != "pending" || *got[0].Existing || got[0].Target != "app.events" || got[0].Error != nil {
				t.Fatalf("%+v %v", got, err)
			}
			spec := w.jobs.last()
			want := map[string]string{"parallelism": "3", "chunk_bytes": "1048576", "lock_timeout": "200", "replicate": "true", "verify": "full", "as_text": `note, "B, b"`, "on_unrepresentable": "null"}
			if !mapsEqual(spec.Params, want) || spec.Type != "flush" || spec.RequestedBy != w.Owner || spec.Trigger != "command" ||
				!strings.HasPrefix(spec.Statement, "FLUSH TABLE app.events WITH") || strings.HasSuffix(spec.Statement, ";") {
				t.Errorf("%+v", spec)
			}
			audit := w.catalog.lastAudit()
			if audit.Outcome != "started" || audit.User != w.Owner || audit.JobID != *got[0].JobID || audit.Statement != spec.Statement {
				t.Errorf("%+v", audit)
			}

			_, err = start(t.Context(), conn, "FLUSH TABLE app.events")
			if pe := pgError(t, err); pe.Code != "55006" || !strings.Contains(pe.Message, *got[0].JobID) || pe.Position != 13 {
				t.Errorf("%+v", pe)
			}
			w.jobs.endAll()
			first, err := start(t.Context(), conn, "FLUSH TABLE app.events")
			if err != nil {
				t.Fatal(err)
			}
			second, err := start(t.Context(), conn, "flush table app.events")
			if err != nil || *second[0].JobID != *first[0].JobID || !*second[0].Existing {
				t.Errorf("%+v %v", second, err)
			}
			if a := w.catalog.lastAudit(); a.Outcome != "existing" {
				t.Errorf("%+v", a)
			}
		})
	}
}

func mapsEqual(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestFlushRefusals(t *testing.T) { // A9
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)", "CREATE VIEW app.v AS SELECT 1 AS x", "CREATE SEQUENCE app.s",
		"CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS x")
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	if _, err := conn.Exec(t.Context(), "CREATE TEMP TABLE tmp (id int)"); err != nil {
		t.Fatal(err)
	}
	var temp string
	if err := conn.QueryRow(t.Context(), "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").Scan(&temp); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sql, code string
		pos       int32
		message   string
	}{
		{"FLUSH TABLE events", "42601", 13, "is not qualified"},
		{"FLUSH TABLE app.missing", "42P01", 13, `relation "app.missing" does not exist`},
		{"FLUSH TABLE nowhere.events", "42P01", 13, `relation "nowhere.events" does not exist`},
		{"FLUSH TABLE app." + strings.Repeat("x", 70), "42P01", 13, "does not exist"},
		{"FLUSH TABLE app.v", "42809", 13, `"app.v" is a view`},
		{"FLUSH TABLE app.m", "42809", 13, "a materialized view"},
		{"FLUSH TABLE app.s", "42809", 13, "a sequence"},
		{"FLUSH TABLE pg_catalog.pg_class", "42501", 13, "cannot be flushed"},
		{"FLUSH TABLE " + temp + ".tmp", "42501", 13, "cannot be flushed"},
		{"FLUSH TABLE app.events now", "42601", 24, "syntax error"},
		{"FLUSH TABLE app.events WITH (waits = true)", "22023", 30, `unknown option "waits"`},
		{"FLUSH TABLE app.events WITH (unregistered = true)", "22023", 30, "unknown option"},
		{"FLUSH TABLE app.events WITH (parallelism = 0)", "22023", 44, "from 1 to 64"},
		{"FLUSH TABLE app.events WITH (as_text = 5)", "22023", 40, "expected a list"},
		{"FLUSH TABLE app.events WITH (as_text = ())", "42601", 41, "expected a column name"},
		{"FLUSH TABLE app.events WITH (as_text = (a b))", "42601", 43, "expected"},
		{"FLUSH TABLE app.events WITH (as_text = 'a,')", "22023", 40, "expected a list"},
		{"FLUSH ALL IN app WITH (as_text = (a))", "22023", 24, "unknown option"},
		{"FLUSH TABLE app.events WITH (on_unrepresentable = zero)", "22023", 51, "error or null"},
		{"FLUSH TABLE app.events WITH (verify = some)", "22023", 39, "footer or full"},
		{"FLUSH TABLE app.events WITH (chunk_bytes = '1 furlong')", "22023", 44, "expected a size"},
		{"FLUSH TABLE app.events WITH (replicate = maybe)", "22023", 42, "true or false"},
		{"FLUSH TABLE app.events WITH (triggers = fire)", "42501", 0, "triggers"},
		{"FLUSH TABLE app.events WITH (codec = gzip)", "22023", 38, "zstd or snappy or none"},
		{"FLUSH TABLE app.events WITH (partition_by = id)", "22023", 45, "a list in parentheses"},
		{"FLUSH TABLE app.events WITH (partition_by = (id, week(at)))", "22023", 50, "partition_by\": week(at): expected a column, or year"},
		{"FLUSH TABLE app.events WITH (partition_by = (id, \"At\" DESC))", "22023", 50, "order_by"},
		{"FLUSH TABLE app.events WITH (partition_by = (id, day(id), id))", "22023", 59, "id: it is given twice"},
		{"FLUSH TABLE app.events WITH (order_by = (day(id)))", "22023", 42, "expected a column"},
		{"FLUSH TABLE app.events WITH (bloom = (id DESC))", "22023", 39, "expected a column"},
		{"FLUSH TABLE app.events WITH (codec = (zstd))", "22023", 38, "one value, not a list"},
		{"FLUSH TABLE app.events WITH (path = '')", "22023", 37, "empty"},
		{"FLUSH TABLE app.events WITH (row_group_rows = 3)", "22023", 47, "from 256"},
		{"FLUSH TABLE app.events WITH (max_rows_per_second = 0)", "22023", 52, "from 1 to 1000000000"},
		{"FLUSH TABLE app.events WITH (max_replication_lag = 512)", "22023", 52, "with its unit"},
		{"FLUSH TABLE app.events WITH (max_replication_lag = '5 apples')", "22023", 52, "such as '512MB'"},
		{"FLUSH TABLE app.events WITH (max_lock_waiters = few)", "22023", 49, "from 0 to 10000"},
		{"FLUSH TABLE app.events WITH (chunk_time = soon)", "22023", 43, "expected a time"},
		{"FLUSH ALL IN app WITH (triggers = ice)", "22023", 35, "expected fire"},
		{"FLUSH ALL WITH (unregistered = true)", "22023", 0, "needs IN schema"},
		{"FLUSH ALL", "42704", 0, "no table is registered"},
		{"FLUSH ALL IN app", "42704", 14, `no table of the schema "app"`},
	} {
		_, err := conn.Exec(t.Context(), c.sql)
		if pe := pgError(t, err); pe.Code != c.code || pe.Position != c.pos || !strings.Contains(pe.Message, c.message) {
			t.Errorf("%s: %s %d %s", c.sql, pe.Code, pe.Position, pe.Message)
		}
	}
	if n := w.jobs.count(); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

func TestRights(t *testing.T) { // A52
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)", "INSERT INTO app.events VALUES (1)")
	operator := "operator_" + w.Name
	_, strangerURL := w.user(t, "stranger", "GRANT USAGE ON SCHEMA app TO USER", "GRANT SELECT, DELETE ON app.events TO USER")
	stranger := w.through(t, strangerURL, pgx.QueryExecModeExec)
	refused := func(conn *pgx.Conn, sql, code string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); pgError(t, err).Code != code {
			t.Errorf("%s: %v", sql, err)
		}
	}
	refused(stranger, "FLUSH TABLE app.events", "42501")
	if a := w.catalog.lastAudit(); a.Outcome != "42501" || !strings.HasPrefix(a.User, "stranger") {
		t.Errorf("%+v", a)
	}

	// Operators of the stranger's own make nobody an owner.
	w.Super(t, "CREATE SCHEMA evil AUTHORIZATION "+"stranger_"+w.Name)
	for _, sql := range []string{
		"CREATE FUNCTION evil.yes(name, text) RETURNS bool LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION evil.pg_has_role(oid, text) RETURNS bool LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION evil.yes(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true'",
		"CREATE OPERATOR evil.= (leftarg = name, rightarg = text, function = evil.yes)",
		"CREATE OPERATOR evil.= (leftarg = name, rightarg = name, function = evil.yes)",
		"CREATE TEMP TABLE pg_class AS SELECT oid, relname, relnamespace, relkind, relpersistence, 'stranger_" + w.Name + "'::regrole::oid AS relowner FROM pg_catalog.pg_class",
		"CREATE TEMP TABLE pg_roles AS SELECT oid, rolname, true AS rolsuper FROM pg_catalog.pg_roles",
		"SET search_path = evil, pg_temp, pg_catalog",
	} {
		if _, err := stranger.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	refused(stranger, "FLUSH TABLE app.events", "42501")
	var path string
	if err := stranger.QueryRow(t.Context(), "SHOW search_path").Scan(&path); err != nil || path != "evil, pg_temp, pg_catalog" {
		t.Errorf("search_path is now %q (%v)", path, err)
	}
	if _, err := stranger.Exec(t.Context(), "BEGIN; SET LOCAL search_path = evil"); err != nil {
		t.Fatal(err)
	}
	refused(stranger, "FLUSH TABLE app.events", "42501")
	refused(stranger, "SELECT 1", "25P02")
	if _, err := stranger.Exec(t.Context(), "ROLLBACK; RESET search_path"); err != nil {
		t.Fatal(err)
	}

	// A member of the operator's role, and a superuser, may; SET ROLE counts.
	w.Super(t, "CREATE ROLE "+operator)
	t.Cleanup(func() { w.Super(t, "DROP OWNED BY "+operator, "DROP ROLE "+operator) })
	_, opURL := w.user(t, "op", "GRANT "+operator+" TO USER", "GRANT USAGE ON SCHEMA app TO USER")
	op := w.through(t, opURL, pgx.QueryExecModeExec)
	got, err := start(t.Context(), op, "FLUSH TABLE app.events WITH (triggers = fire)")
	if err != nil || w.jobs.last().Params["triggers"] != "fire" {
		t.Fatal(got, err)
	}
	refused(op, "FLUSH TABLE app.events WHERE id = 1", "42501") // may not read what it asks about
	id := *got[0].JobID
	refused(stranger, "KILL JOB '"+id+"'", "42501")
	refused(stranger, "SHOW JOB '"+id+"'", "42501")
	refused(stranger, "SHOW JOBS", "42501")
	owner := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	if _, err := owner.Exec(t.Context(), "KILL JOB $1", id); err != nil {
		t.Error(err)
	}
	w.jobs.endAll()
	super := w.through(t, w.SuperURL, pgx.QueryExecModeExec)
	if _, err := super.Exec(t.Context(), "FLUSH TABLE app.events"); err != nil {
		t.Error(err)
	}
	w.jobs.endAll()
	if _, err := super.Exec(t.Context(), "SET ROLE stranger_"+w.Name); err != nil {
		t.Fatal(err)
	}
	refused(super, "FLUSH TABLE app.events", "42501")
	if a := w.catalog.lastAudit(); !strings.Contains(a.User, "(as stranger_") {
		t.Errorf("%+v", a)
	}
}

func TestFlushAll(t *testing.T) { // A5
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.a (id int)", "CREATE TABLE app.b (id int)", "CREATE TABLE app.other (id int)",
		"CREATE TABLE app.part (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.leaf PARTITION OF app.part DEFAULT", "CREATE VIEW app.v AS SELECT 1 AS x")
	w.Super(t, "CREATE TABLE app.foreign_owner (id int)")
	for _, name := range []string{"a", "b", "foreign_owner", "gone"} {
		w.catalog.tables = append(w.catalog.tables, jobmanager.Table{Namespace: "app", Name: name})
	}
	w.catalog.tables = append(w.catalog.tables, jobmanager.Table{Namespace: "elsewhere", Name: "x"})
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	got, err := start(t.Context(), conn, "FLUSH ALL TABLES IN app")
	if err != nil || len(got) != 4 {
		t.Fatalf("%+v %v", got, err)
	}
	for i, bad := range []string{"", "", "must be owner", "does not exist"} {
		if bad == "" && (got[i].JobID == nil || got[i].Error != nil) || bad != "" && (got[i].JobID != nil || got[i].Error == nil || !strings.Contains(*got[i].Error, bad)) {
			t.Errorf("%d: %+v", i, got[i])
		}
	}
	w.jobs.endAll()
	got, err = start(t.Context(), conn, "STORAGE FLUSH ALL IN app WITH (unregistered = true)")
	var names []string
	for _, a := range got {
		names = append(names, a.Target)
	}
	if want := []string{"app.a", "app.b", "app.foreign_owner", "app.gone", "app.other", "app.part"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v %v", names, err)
	}
	w.jobs.endAll()
	w.jobs.fail = fmt.Errorf("dial: %w", jobmanager.ErrUnavailable)
	if _, err := start(t.Context(), conn, "FLUSH ALL"); pgError(t, err).Code != "57P03" {
		t.Error(err)
	}
}

func TestKillAndShow(t *testing.T) { // A3, A27, A28
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.Exec(t, "CREATE TABLE app.events (id bigint)", "CREATE TABLE app.other (id bigint)")
			w.Super(t, "CREATE SCHEMA system", "CREATE VIEW system.jobs AS SELECT 1 AS x")
			conn := w.through(t, w.OwnerURL, mode)
			one, err := start(t.Context(), conn, "FLUSH TABLE app.events")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := start(t.Context(), conn, "FLUSH TABLE app.other"); err != nil {
				t.Fatal(err)
			}
			id := *one[0].JobID
			unknown := "flush:app.events:" + uuid.NewString()
			for _, c := range []struct{ sql, code, message string }{
				{"KILL JOB 'nonsense'", "22023", "malformed job id"},
				{"SHOW JOB 'nonsense'", "22023", "malformed job id"},
				{"KILL JOB '" + unknown + "'", "42704", `job "` + unknown + `" not found`},
				{"SHOW JOB '" + unknown + "'", "42704", `job "` + unknown + `" not found`},
				{"SHOW JOBS", "42501", "permission denied"},
			} {
				_, err := conn.Exec(t.Context(), c.sql)
				if pe := pgError(t, err); pe.Code != c.code || !strings.Contains(pe.Message, c.message) || c.code != "42501" && pe.Position != 10 {
					t.Errorf("%s: %+v", c.sql, pe)
				}
			}
			var gotID, status string
			if err := conn.QueryRow(t.Context(), "KILL JOB '"+id+"'").Scan(&gotID, &status); err != nil || gotID != id || status != "cancelling" {
				t.Errorf("%s %s %v", gotID, status, err)
			}
			if a := w.catalog.lastAudit(); a.Outcome != "cancelling" || a.JobID != id {
				t.Errorf("%+v", a)
			}
			w.Super(t, "GRANT USAGE ON SCHEMA system TO "+w.Owner, "GRANT SELECT ON system.jobs TO "+w.Owner)
			rows, err := conn.Query(t.Context(), "SHOW JOBS")
			if err != nil {
				t.Fatal(err)
			}
			list, err := pgx.CollectRows(rows, pgx.RowToMap)
			if err != nil || len(list) != 2 || list[0]["target"] != "app.other" || list[1]["status"] != "cancelling" || len(list[0]) != 29 {
				t.Fatalf("%v %v", list, err)
			}
			w.jobs.endAll()
			if pe := pgError(t, exec(t, conn, "CANCEL JOB '"+id+"'")); pe.Code != "55000" || !strings.Contains(pe.Message, "completed") {
				t.Errorf("%+v", pe)
			}
			rows, err = conn.Query(t.Context(), "SHOW JOB '"+id+"'")
			if err != nil {
				t.Fatal(err)
			}
			job, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
			if err != nil || job["status"] != "completed" || job["progress"] != 1.0 || job["requested_by"] != w.Owner || !job["created_at"].(time.Time).Equal(created) {
				t.Errorf("%v %v", job, err)
			}
		})
	}
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) error {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	return err
}

func TestWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	cfg, err := pgx.ParseConfig(w.OwnerURL)
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan string, 100)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices <- n.Message }
	host, port, _ := net.SplitHostPort(w.address)
	cfg.Host = host
	fmt.Sscan(port, &cfg.Port)
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())

	for _, c := range []struct {
		status jobmanager.Status
		class  string
		code   string
	}{{jobmanager.Completed, "", ""}, {jobmanager.Failed, "storage_full", "53100"}, {jobmanager.Failed, "odd", "58000"}, {jobmanager.Cancelled, "", "57014"}} {
		done := make(chan error, 1)
		var got []answer
		go func() {
			var err error
			got, err = start(context.Background(), conn, "FLUSH TABLE app.events WITH (wait = true)")
			done <- err
		}()
		if n := <-notices; !strings.Contains(n, "pending") {
			t.Errorf("notice: %s", n)
		}
		w.jobs.set(func(j *jobmanager.JobInfo) { j.Status, j.ErrorClass, j.Error = c.status, c.class, "what happened" })
		err := <-done
		if c.code == "" {
			if err != nil || *got[0].Status != "completed" {
				t.Errorf("%+v %v", got, err)
			}
			<-notices
			continue
		}
		if pe := pgError(t, err); pe.Code != c.code || !strings.Contains(pe.Message, "what happened") {
			t.Errorf("%+v", pe)
		}
	}

	// The cancelled wait leaves the job alone.
	done := make(chan error, 1)
	go func() { done <- exec(t, conn, "FLUSH TABLE app.events WITH (wait)") }()
	<-notices
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pe := pgError(t, <-done); pe.Code != "57014" {
		t.Error(pe)
	}
	if j, _ := w.jobs.JobStatus(t.Context(), w.jobs.all[len(w.jobs.all)-1].ID); j.Status != jobmanager.Pending {
		t.Error(j.Status)
	}
	if err := exec(t, conn, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if pe := pgError(t, exec(t, conn, "FLUSH TABLE app.events WITH (wait)")); pe.Code != "25001" {
		t.Error(pe)
	}
}

func TestShowColdTable(t *testing.T) { // A53
	t.Parallel()
	w := newWorld(t, nil)
	w.Exec(t, "CREATE TABLE app.events (id bigint)")
	w.catalog.segments = []sqlfront.Segment{
		{ID: "s1", JobID: "j", Leaf: "events", Location: "file:///cold/app/it%27s%25.parquet", Rows: 5, Bytes: 10, SchemaVersion: 1, CreatedAt: created},
		{ID: "s2", JobID: "j", Leaf: "events", Location: "s3://b/k.parquet", Rows: 6, Bytes: 11, SchemaVersion: 2, CreatedAt: created},
	}
	conn := w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
	rows, err := conn.Query(t.Context(), "SHOW COLD TABLE app.events")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil || len(got) != 2 || got[1]["row_count"] != int64(6) || got[1]["read_parquet"] != nil {
		t.Fatalf("%v %v", got, err)
	}
	if want := "read_parquet(['/cold/app/it''s%.parquet', 's3://b/k.parquet'], union_by_name = true, hive_partitioning = false)"; got[0]["read_parquet"] != want {
		t.Errorf("%v", got[0]["read_parquet"])
	}
	_, strangerURL := w.user(t, "stranger")
	stranger := w.through(t, strangerURL, pgx.QueryExecModeExec)
	if pe := pgError(t, exec(t, stranger, "SHOW COLD TABLE app.events")); pe.Code != "42501" {
		t.Error(pe)
	}
	if pe := pgError(t, exec(t, stranger, "SHOW COLD TABLE app.gone")); pe.Code != "42P01" {
		t.Error(pe)
	}
}
