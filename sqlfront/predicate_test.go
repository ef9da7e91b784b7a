package sqlfront_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// predicateWorld has a table with many types, and traps.
func predicateWorld(t *testing.T) (*world, *pgx.Conn) {
	t.Helper()
	w := newWorld(t, nil)
	w.Super(t, "CREATE EXTENSION IF NOT EXISTS plpgsql",
		"CREATE TABLE public.secret (word text)", "INSERT INTO public.secret VALUES ('swordfish')",
		"GRANT CREATE, USAGE ON SCHEMA public TO "+w.Owner)
	w.Exec(t,
		"CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy')",
		"CREATE TYPE app.pair AS (a int, b text)",
		"CREATE FUNCTION app.reads_secret(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN EXISTS (SELECT FROM public.secret); END'",
		"CREATE FUNCTION app.reads_secret(app.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT word FROM public.secret); END'",
		"CREATE FUNCTION app.mood_json(app.mood) RETURNS json LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT to_json(word) FROM public.secret); END'",
		"CREATE CAST (app.mood AS text) WITH FUNCTION app.reads_secret(app.mood)",
		"CREATE CAST (app.mood AS json) WITH FUNCTION app.mood_json(app.mood)",
		"CREATE DOMAIN app.trap AS text CHECK (VALUE IS NULL OR app.reads_secret(VALUE))",
		"CREATE TYPE app.span AS RANGE (subtype = int)",
		"CREATE FUNCTION public.lt(int, int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN EXISTS (SELECT FROM public.secret); END'",
		"CREATE OPERATOR public.< (leftarg = int, rightarg = int, function = public.lt)",
		"CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT word FROM public.secret); END'",
		"CREATE SEQUENCE app.seq",
		`CREATE TABLE app.events (id bigint, n int, note text, code varchar(10), fixed char(4), feel app.mood, ps app.pair, guarded app.trap, sp app.span,
			tags text[], moods app.mood[], amount numeric(12,2), price money, payload jsonb, at timestamptz, local timestamp, day date, gap interval,
			ok bool, u uuid, raw bytea, "Odd ""Name""" int, during tstzrange)`,
		"INSERT INTO app.events (id, note) VALUES (1, 'x')",
	)
	return w, w.through(t, w.OwnerURL, pgx.QueryExecModeExec)
}

func TestPredicates(t *testing.T) { // A17
	t.Parallel()
	w, conn := predicateWorld(t)
	for _, setup := range []string{"SET TimeZone = 'UTC'", "SET search_path = app, public"} {
		if err := exec(t, conn, setup); err != nil {
			t.Fatal(err)
		}
	}
	worker := w.Connect(t, w.SuperURL) // stands for the worker
	if err := exec(t, worker, "SET search_path = ''; SET TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sql, want string }{
		{"id < 5", "(id < 5)"},
		{"events.id < 5 AND app.events.n = 3", "((id < 5) AND (n = 3))"},
		{"ok", "ok"},
		{"true", "true"},
		{"NOT ok OR ok IS NOT TRUE", "((NOT ok) OR (ok IS NOT TRUE))"},
		{"note = 'it''s; (x' -- comment\n AND /* here */ note LIKE 'a%'", "((note = 'it''s; (x'::text) AND (note ~~ 'a%'::text))"},
		{"note = E'back\\\\slash'", `(note = 'back\slash'::text)`},
		{"note = $$dollar$$", "(note = 'dollar'::text)"},
		{"note COLLATE \"C\" < 'x'", `((note COLLATE "C") < 'x'::text)`},
		{"code = 'x' AND fixed = 'y'", "(((code)::text = 'x'::text) AND (fixed = 'y'::bpchar))"},
		{"n IN (1, 2, 3)", "(n = ANY (ARRAY[1, 2, 3]))"},
		{"n BETWEEN 1 AND 3", "((n >= 1) AND (n <= 3))"},
		{"at < '2026-01-01'", "(at < '2026-01-01 00:00:00+00'::timestamp with time zone)"},
		{"at < date '2026-01-01'", "(at < '2026-01-01'::date)"},
		{"day < '2026-01-01' AND local >= '2025-01-01 10:00'", "((day < '2026-01-01'::date) AND (local >= '2025-01-01 10:00:00'::timestamp without time zone))"},
		{"date_trunc('day', at) = '2026-01-01'", "(date_trunc('day'::text, at) = '2026-01-01 00:00:00+00'::timestamp with time zone)"},
		{"feel IS NULL AND ps IS NOT NULL AND moods IS NULL", "((feel IS NULL) AND (ps IS NOT NULL) AND (moods IS NULL))"},
		{"tags[1] = 'x' AND 'y' = ANY (tags)", "((tags[1] = 'x'::text) AND ('y'::text = ANY (tags)))"},
		{"amount > 1.5 AND amount::int % 2 = 0", "((amount > 1.5) AND (((amount)::integer % 2) = 0))"},
		{"payload ->> 'k' = 'v' AND payload @> '{\"a\": [1]}'", "(((payload ->> 'k'::text) = 'v'::text) AND (payload @> '{\"a\": [1]}'::jsonb))"},
		{"CASE WHEN n > 1 THEN ok ELSE note IS NULL END", ""},
		{"coalesce(n, 0) + greatest(n, 3) > nullif(n, 2)", "((COALESCE(n, 0) + GREATEST(n, 3)) > NULLIF(n, 2))"},
		{"(n, note) < (1, 'x')", "(ROW(n, note) < ROW(1, 'x'::text))"},
		{"n IS DISTINCT FROM 3", "(n IS DISTINCT FROM 3)"},
		{"length(note) > 3 AND substring(note from 1 for 2) = 'ab'", ""},
		{"note || n = 'x1'", "((note || n) = 'x1'::text)"},
		{"concat(note, n) = 'x'", "(concat(note, n) = 'x'::text)"},
		{"u = '00000000-0000-0000-0000-000000000001'", "(u = '00000000-0000-0000-0000-000000000001'::uuid)"},
		{"raw = '\\x00ff'", `(raw = '\x00ff'::bytea)`},
		{`"Odd ""Name""" = 1`, `("Odd ""Name""" = 1)`},
		{"guarded IS NULL AND guarded = 'x'", "((guarded IS NULL) AND ((guarded)::text = 'x'::text))"},
		{"during @> timestamptz '2026-01-01'", "(during @> '2026-01-01 00:00:00+00'::timestamp with time zone)"},
		{"extract(year from at) = 2025 AND at AT TIME ZONE 'Europe/Berlin' < '2026-01-01'", ""},
		{"gap > '1 day'", "(gap > '1 day'::interval)"},
		{"md5(note) ~ '^a' AND n::text = '1'", ""},
	} {
		before := w.jobs.count()
		if err := exec(t, conn, "FLUSH TABLE app.events WHERE "+c.sql); err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		whole := w.jobs.last().Params["where"]
		got := unguarded(whole)
		if w.jobs.count() != before+1 || c.want != "" && got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.sql, got, c.want)
		}
		if err := exec(t, worker, "EXPLAIN DELETE FROM ONLY app.events WHERE ("+whole+")"); err != nil {
			t.Errorf("the worker cannot read %s: %v", got, err)
		}
		w.jobs.endAll()
	}
	if n := pgtest.Value[int](t, w.DB, "SELECT count(*) FROM pg_class WHERE relname LIKE 'spillway%'"); n != 0 {
		t.Errorf("%d views left", n)
	}
}

// unguarded drops the clause about the columns' types.
func unguarded(where string) string {
	text, _, ok := strings.Cut(where, ") AND CASE WHEN true THEN true ELSE COALESCE(")
	if !ok {
		return where
	}
	return strings.TrimPrefix(text, "(")
}

func TestPredicateOutlivesItsTypes(t *testing.T) { // A52
	t.Parallel()
	w, conn := predicateWorld(t)
	worker := w.Connect(t, w.SuperURL)
	if err := exec(t, worker, "SET search_path = ''"); err != nil {
		t.Fatal(err)
	}
	for column, predicate := range map[string]string{"n": "n::text = '1'", "note": "note = 'x'", "tags": "tags::text = '{x}'", "amount": "amount::text = ''",
		"u": "u IS NOT NULL AND u::text = ''", "guarded": "guarded = 'x'"} {
		if err := exec(t, conn, "FLUSH TABLE app.events WHERE "+predicate); err != nil {
			t.Fatalf("%s: %v", predicate, err)
		}
		where := w.jobs.last().Params["where"]
		w.jobs.endAll()
		var plan string
		if err := worker.QueryRow(t.Context(), "SELECT 1").Scan(new(int)); err != nil {
			t.Fatal(err)
		}
		rows, err := worker.Query(t.Context(), "EXPLAIN (COSTS off) SELECT 1 FROM app.events WHERE "+where)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if plan = strings.Join(lines, "\n"); err != nil || strings.Contains(plan, "CASE") || strings.Contains(plan, "COALESCE") {
			t.Errorf("the guard costs something: %s %v", plan, err)
		}
		// The owner gives the column a type whose casts are his own functions.
		typ := map[bool]string{true: "app.mood[] USING NULL", false: "app.mood USING NULL"}[column == "tags"]
		w.Exec(t, "ALTER TABLE app.events ALTER "+column+" TYPE "+typ)
		if err := exec(t, worker, "EXPLAIN SELECT 1 FROM app.events WHERE "+where); err == nil {
			t.Errorf("%s is read although its column has another type", where)
		}
	}
}

func TestPredicateAttacks(t *testing.T) { // A52
	t.Parallel()
	w, conn := predicateWorld(t)
	if err := exec(t, conn, "SET TimeZone = 'UTC'; SET search_path = public, app, pg_catalog"); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		// out of its place
		"true) OR (true", "true); DROP TABLE app.events; --", "true) UNION SELECT (true", "true /*", "true --\n) ; DELETE FROM app.events; --",
		"'a' = 'a", "$$ = $$ OR $a$", "E'\\'' OR 'a", "true AS x, (SELECT true", "true FROM app.events", "*", "a, b", "id < 5, true",
		// subselects, aggregates, sets
		"EXISTS (SELECT FROM public.secret)", "id = (SELECT max(id) FROM app.events)", "SELECT true", "VALUES (true)", "id IN (SELECT 1)",
		"count(*) > 0", "row_number() OVER () = 1", "generate_series(1, 3) = 1", "ARRAY(SELECT word FROM public.secret) IS NOT NULL",
		"unnest(tags) = 'x'", "GROUPING(id) = 0",
		// functions and operators of users, whatever they are labelled
		"app.reads_secret(note)", "app.reads_secret(feel) = 'x'", "n < 3", "n OPERATOR(public.<) 3", "lower(note) = 'swordfish'", "public.lower(note) = 'x'",
		"pg_temp.f(n)",
		// casts and polymorphic functions that call users' code
		"note::app.trap IS NOT NULL", "'x'::app.trap = 'x'", "CAST(note AS app.trap) = 'x'", "ARRAY['x']::app.trap[] IS NOT NULL",
		"'{x}'::app.trap[] IS NOT NULL", "feel::text = 'swordfish'", "note || feel = 'x'", "quote_literal(feel) = 'x'", "to_json(feel)::text = 'x'",
		"json_build_object('a', feel) IS NOT NULL", "to_jsonb(feel) = '\"swordfish\"'", "array_to_json(moods) IS NOT NULL", "row_to_json(events) IS NOT NULL",
		"domain_in('x'::cstring, 'app.trap'::regtype, -1) IS NOT NULL", "record_in('(1,x)'::cstring, 'app.pair'::regtype, -1) IS NOT NULL",
		"array_in('{x}'::cstring, 'app.trap'::regtype::oid, -1) IS NOT NULL", "jsonb_populate_record(NULL::app.pair, payload) IS NOT NULL",
		"format('%s', feel) = 'x'", "'(1,x)'::app.pair = ps", "ROW(1, 'x')::app.pair = ps", "ps = ps", "sp && '[1,2]'", "sp = sp",
		"'[1,2]'::app.span @> 1", "app.span(1, 2) @> 1",
		"feel = 'sad'", "feel IN ('sad', 'ok')", "moods @> '{sad}'", "moods[1] = 'sad'", "(ps).a > 3", "'sad'::app.mood IS NULL", "moods::text = ''",
		"guarded::app.mood IS NULL", "during::text = ''",
		// data read by name, with the rights of who executes
		"table_to_xml('public.secret', true, true, '')::text LIKE '%sword%'", "schema_to_xml('public', true, true, '') IS NOT NULL",
		"database_to_xml(true, true, '') IS NOT NULL", "table_to_xmlschema('public.secret', true, true, '') IS NOT NULL",
		"table_to_xml_and_xmlschema('public.secret', true, true, '') IS NOT NULL", "schema_to_xmlschema('public', true, true, '') IS NOT NULL",
		"schema_to_xml_and_xmlschema('public', true, true, '') IS NOT NULL", "database_to_xmlschema(true, true, '') IS NOT NULL",
		"query_to_xml('SELECT * FROM public.secret', true, true, '') IS NOT NULL", "query_to_xmlschema('SELECT 1', true, true, '') IS NOT NULL",
		"cursor_to_xml('c', 1, true, true, '') IS NOT NULL", "xpath('/x', '<x/>') IS NOT NULL", "XMLPARSE(DOCUMENT note) IS NOT NULL",
		"pg_read_file('/etc/passwd') <> ''", "pg_ls_dir('/') IS NOT NULL", "lo_get(1) IS NOT NULL", "ts_stat('SELECT 1') IS NOT NULL",
		"ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery') IS NOT NULL", "pg_relation_size('public.secret') > 0",
		"current_setting('data_directory') <> ''", "current_setting('is_superuser', true) = 'on'", "has_table_privilege('public.secret', 'SELECT')",
		"pg_has_role('postgres', 'MEMBER')", "pg_get_viewdef('pg_views'::regclass) <> ''", "obj_description(1259) IS NULL", "pg_stat_get_numscans(1259) > 0",
		"pg_stat_get_backend_activity(1) <> ''", "satisfies_hash_partition('app.events'::regclass, 2, 1, id)", "'public.secret'::regclass IS NOT NULL",
		"note::regclass IS NOT NULL", "to_regclass(note) IS NOT NULL", "pg_typeof(id) IS NOT NULL", "enum_first(feel) = 'sad'",
		// who and where
		"current_user = 'postgres'", "session_user = note", "current_role = 'x'", "user = 'x'", "current_schema = 'x'", "current_catalog = 'x'",
		"current_database() = 'x'", "current_schemas(true) IS NOT NULL", "version() <> ''", "inet_client_addr() IS NULL", "pg_backend_pid() > 0",
		"txid_current() > 0", "pg_current_xact_id_if_assigned() IS NULL", "localtime < '10:00'", "current_time < '10:00'", "current_timestamp(0) < at",
		// volatile
		"random() < 0.5", "clock_timestamp() > at", "pg_sleep(1) IS NOT NULL", "nextval('app.seq') > 0", "currval('app.seq') > 0", "set_config('a.b', 'c', false) = 'c'",
		"pg_notify('a', 'b') IS NOT NULL", "pg_advisory_lock(1) IS NOT NULL", "gen_random_uuid() = u", "pg_terminate_backend(1)",
		// rows and system columns
		"events IS NOT NULL", "events = events", "events::text = ''", "ctid = '(0,1)'", "tableoid = 1", "xmin IS NOT NULL", "ROW(id, n) = ROW(1, 2) AND ROW(id) IS NULL",
		// no predicates
		"'true'", "id", "note", "NULL", "1", "missing = 1", "other.id = 1", "DEFAULT", "$1 = 1", "CURRENT OF c",
	} {
		before, err := w.jobs.count(), exec(t, conn, "FLUSH TABLE app.events WHERE "+sql)
		if err == nil || w.jobs.count() != before {
			t.Errorf("taken: %s as %s", sql, w.jobs.last().Params["where"])
			w.jobs.endAll()
			continue
		}
		pe := pgError(t, err)
		if pe.Code == "XX000" || pe.Code == "25P02" || strings.Contains(pe.Message, "not known here") {
			t.Errorf("%s: %s %s", sql, pe.Code, pe.Message)
		}
		if pe.Position < 30 && pe.Code != "42601" && !strings.Contains(sql, ";") {
			t.Errorf("%s: position %d: %s %s", sql, pe.Position, pe.Code, pe.Message)
		}
	}
	if n := pgtest.Value[int](t, w.DB, "SELECT count(*) FROM app.events"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestPredicatePositions(t *testing.T) {
	t.Parallel()
	_, conn := predicateWorld(t)
	for sql, want := range map[string]int32{
		"FLUSH TABLE app.events WHERE missing = 1":                   30,
		"FLUSH TABLE app.events WHERE note = 'ü' AND missing = 1":    45,
		"FLUSH TABLE app.events WHERE\n id = 1 AND\n note = 1":       48,
		"FLUSH TABLE app.events WHERE id = 1 AND":                    40,
		"FLUSH TABLE app.events WHERE id = 1 ORDER BY id":            37,
		"FLUSH TABLE app.events WHERE count(*) > 1":                  30,
		"FLUSH TABLE app.events WHERE  random() > 0.5":               31,
		"/* c */ FLUSH TABLE app.events WITH (wait) WHERE nosuch(1)": 50,
	} {
		if pe := pgError(t, exec(t, conn, sql)); pe.Position != want {
			t.Errorf("%s: position %d, want %d (%s)", sql, pe.Position, want, pe.Message)
		}
	}
}

func TestOptionsAfterThePredicate(t *testing.T) {
	t.Parallel()
	_, conn := predicateWorld(t)
	for sql, want := range map[string]bool{
		"FLUSH TABLE app.events WHERE note = 'ü' with (wait = true)": true,
		"FLUSH TABLE app.events WHERE id = 1 ORDER BY id":            false,
		"FLUSH TABLE app.events WHERE id = 1 AND":                    false,
	} {
		pe := pgError(t, exec(t, conn, sql))
		if pe.Code != "42601" || strings.Contains(pe.Hint, "options go before WHERE") != want {
			t.Errorf("%s: %s %s, hint %q", sql, pe.Code, pe.Message, pe.Hint)
		}
	}
}

func TestPredicateMeansTheSameInstant(t *testing.T) {
	t.Parallel()
	w, conn := predicateWorld(t)
	if err := exec(t, conn, "SET TimeZone = 'America/New_York'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 0; SET bytea_output = 'escape'"); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		"at < '01.02.2026'":                         "(at < '2026-02-01 05:00:00+00'::timestamp with time zone)",
		"day < '01.02.2026'":                        "(day < '2026-02-01'::date)",
		"gap > 'P1DT2H'":                            "(gap > '1 day 02:00:00'::interval)",
		"raw = '\\001a'":                            `(raw = '\x0161'::bytea)`,
		"amount > 0.1::float8::numeric":             "(amount > ((0.1)::double precision)::numeric)",
		"at < '2026-07-01 12:00+02' AND note = now": "",
	} {
		err := exec(t, conn, "FLUSH TABLE app.events WHERE "+sql)
		if want == "" {
			if err == nil {
				t.Errorf("taken: %s", sql)
			}
			continue
		}
		if got := unguarded(w.jobs.last().Params["where"]); err != nil || got != want {
			t.Errorf("%s: %s %v", sql, got, err)
		}
		w.jobs.endAll()
	}
	// What the worker, in UTC, would understand otherwise is refused with a hint.
	for _, sql := range []string{"at < date '01.02.2026'", "at::date = '01.02.2026'", "local < at", "date_trunc('day', at) = at", "extract(hour from at) = 1",
		"at::text < 'x'", "day::text = 'x'", "note::timestamptz < at", "gap::text = ''", "concat(at) = ''", "price::text = '1'"} {
		pe := pgError(t, exec(t, conn, "FLUSH TABLE app.events WHERE "+sql))
		if pe.Code != "0A000" || !strings.Contains(pe.Hint, "SET TimeZone") {
			t.Errorf("%s: %+v", sql, pe)
		}
	}
	// now() is settled when the flush is asked for.
	if err := exec(t, conn, "BEGIN"); err != nil {
		t.Fatal(err)
	}
	var now, today string
	if err := conn.QueryRow(t.Context(), "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), to_char(current_date, 'YYYY-MM-DD')").Scan(&now, &today); err != nil {
		t.Fatal(err)
	}
	if err := exec(t, conn, "FLUSH TABLE app.events WHERE at < now() - interval '7 days' AND at < current_timestamp AND day < current_date AND note <> 'now()'"); err != nil {
		t.Fatal(err)
	}
	got := w.jobs.last().Params["where"]
	if strings.Count(got, "'"+now) != 2 || !strings.Contains(got, "'"+today+"'::date") || !strings.Contains(got, "'now()'") || strings.Contains(got, "CURRENT") {
		t.Errorf("%s; now is %s, today is %s", got, now, today)
	}
	var zone string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('TimeZone') || current_setting('DateStyle') || current_setting('search_path')").Scan(&zone); err != nil || !strings.HasPrefix(zone, "America/New_YorkGerman") {
		t.Errorf("the session's settings are now %q (%v)", zone, err)
	}
}

func TestPredicateInTransactions(t *testing.T) {
	t.Parallel()
	for name, mode := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.Exec(t, "CREATE TABLE app.events (id bigint)")
			conn := w.through(t, w.OwnerURL, mode)
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, sql := range []string{"INSERT INTO app.events VALUES (1)", "FLUSH TABLE app.events WHERE id = 1", "INSERT INTO app.events VALUES (2)"} {
				if _, err := tx.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := pgtest.Value[int](t, w.DB, "SELECT count(*) FROM app.events"); n != 2 {
				t.Errorf("%d rows", n)
			}
			tx, err = conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), "FLUSH TABLE app.events WHERE nonsense = 1"); pgError(t, err).Code != "42703" {
				t.Error(err)
			}
			if _, err := tx.Exec(t.Context(), "SELECT 1"); pgError(t, err).Code != "25P02" {
				t.Error(err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			if err := exec(t, conn, "SET default_transaction_read_only = on"); err != nil {
				t.Fatal(err)
			}
			w.jobs.endAll()
			if err := exec(t, conn, "FLUSH TABLE app.events WHERE id = 1"); err != nil {
				t.Error(err)
			}
		})
	}
}
