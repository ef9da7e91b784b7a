package pgwire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// TestPreparedAndPortals follows the lives of prepared statements and portals of ours: PostgreSQL's rules hold for them too.
func TestPreparedAndPortals(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	query := func(sql string) *pgproto3.Query { return &pgproto3.Query{String: sql} }
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	bind := func(portal, stmt string) *pgproto3.Bind {
		return &pgproto3.Bind{DestinationPortal: portal, PreparedStatement: stmt}
	}
	execute := func(portal string) *pgproto3.Execute { return &pgproto3.Execute{Portal: portal} }
	sync := &pgproto3.Sync{}
	row := "BindComplete, row [\"a\"], KILL JOB"
	for _, c := range []struct {
		name, want string
		msgs       []pgproto3.FrontendMessage
	}{
		{"prepare", "ParseComplete, ready I", []pgproto3.FrontendMessage{parse("k", "KILL JOB 'a'"), sync}},
		{"twice", "error 42P05, ready I", []pgproto3.FrontendMessage{parse("k", "KILL JOB 'b'"), sync}},
		{"as theirs", "error 42P05, ready I", []pgproto3.FrontendMessage{parse("k", "SELECT 1"), sync}},
		{"still there", row + ", ready I", []pgproto3.FrontendMessage{bind("", "k"), execute(""), sync}},
		{"theirs", "ParseComplete, ready I", []pgproto3.FrontendMessage{parse("s", "SELECT 1"), sync}},
		{"ours as theirs", "error 42P05, ready I", []pgproto3.FrontendMessage{parse("s", "KILL JOB 'b'"), sync}},
		{"in a pipeline", "ParseComplete, BindComplete, row [\"1\"], SELECT 1, error 42P05, ready I",
			[]pgproto3.FrontendMessage{parse("", "SELECT 1"), bind("", ""), execute(""), parse("s", "KILL JOB 'b'"), bind("", "s"), sync}},
		{"by SQL", "error 42704, ready I", []pgproto3.FrontendMessage{query("EXECUTE k")}},
		{"listed", "RowDescription, row [\"k\"], row [\"s\"], SELECT 2, ready I", []pgproto3.FrontendMessage{query("SELECT name FROM pg_prepared_statements ORDER BY 1")}},
		{"DISCARD PLANS keeps it", "DISCARD PLANS, ready I", []pgproto3.FrontendMessage{query("DISCARD PLANS")}},
		{"kept", row + ", ready I", []pgproto3.FrontendMessage{bind("", "k"), execute(""), sync}},
		{"DEALLOCATE of another", "DEALLOCATE, ready I", []pgproto3.FrontendMessage{query("DEALLOCATE s")}},
		{"kept again", row + ", ready I", []pgproto3.FrontendMessage{bind("", "k"), execute(""), sync}},
		{"DEALLOCATE", "DEALLOCATE, ready I", []pgproto3.FrontendMessage{query("DEALLOCATE PREPARE K")}},
		{"gone", "error 26000, ready I", []pgproto3.FrontendMessage{bind("", "k"), execute(""), sync}},
		{"prepared anew", "ParseComplete, ready I", []pgproto3.FrontendMessage{parse("k", "KILL JOB 'a'"), sync}},
		{"DISCARD ALL", "ParseComplete, BindComplete, DISCARD ALL, ready I", []pgproto3.FrontendMessage{parse("", "DISCARD ALL"), bind("", ""), execute(""), sync}},
		{"gone too", "error 26000, ready I", []pgproto3.FrontendMessage{bind("", "k"), execute(""), sync}},
		{"portal", "ParseComplete, BindComplete, ready I", []pgproto3.FrontendMessage{parse("k", "SHOW JOBS"), bind("p", "k"), sync}},
		{"is gone with its transaction", "error 34000, ready I", []pgproto3.FrontendMessage{execute("p"), sync}},
		{"two at once", "BindComplete, BindComplete, row [\"é\" \"-7\" \"0.25\" \"t\" \"2026-02-03 04:05:06.000789+00\" \"\"], PortalSuspended, ParseComplete, BindComplete, row [\"a\"], KILL JOB, " +
			"row [\"\" \"1099511627776\" \"-1.5\" \"f\" \"2026-02-03 04:05:06.000789+00\" \"\"], SHOW, error 42P03, ready I",
			[]pgproto3.FrontendMessage{bind("p", "k"), bind("q", "k"), &pgproto3.Execute{Portal: "p", MaxRows: 1}, parse("", "KILL JOB 'a'"), bind("", ""), execute(""),
				execute("p"), bind("q", "k"), sync}},
		{"BEGIN", "BEGIN, ready T", []pgproto3.FrontendMessage{query("BEGIN")}},
		{"first portion", "BindComplete, row [\"é\" \"-7\" \"0.25\" \"t\" \"2026-02-03 04:05:06.000789+00\" \"\"], PortalSuspended, ready T",
			[]pgproto3.FrontendMessage{bind("p", "k"), &pgproto3.Execute{Portal: "p", MaxRows: 1}, sync}},
		{"second portion", "row [\"\" \"1099511627776\" \"-1.5\" \"f\" \"2026-02-03 04:05:06.000789+00\" \"\"], SHOW, ready T",
			[]pgproto3.FrontendMessage{&pgproto3.Execute{Portal: "p", MaxRows: 1}, sync}},
		{"fail", "error 22012, ready E", []pgproto3.FrontendMessage{query("SELECT 1/0")}},
		{"describe in a failed transaction", "error 25P02, ready E", []pgproto3.FrontendMessage{&pgproto3.Describe{ObjectType: 'S', Name: "k"}, sync}},
		{"execute there", "error 25P02, ready E", []pgproto3.FrontendMessage{execute("p"), sync}},
		{"close there", "CloseComplete, ready E", []pgproto3.FrontendMessage{&pgproto3.Close{ObjectType: 'S', Name: "k"}, sync}},
		{"end", "ROLLBACK, ready I", []pgproto3.FrontendMessage{query("ROLLBACK")}},
		{"Close, then ours in one pipeline", "ParseComplete, CloseComplete, CloseComplete, ParseComplete, BindComplete, row [\"" + db.Owner + " I\"], FLUSH, ready I",
			[]pgproto3.FrontendMessage{parse("f", "FLUSH TABLE a.b"), &pgproto3.Close{ObjectType: 'S', Name: "f"}, &pgproto3.Close{ObjectType: 'S', Name: "s"},
				parse("f", "FLUSH TABLE a.b"), bind("", "f"), execute(""), sync}},
		{"wrong number of parameters", "ParseComplete, error 08P01, ready I",
			[]pgproto3.FrontendMessage{parse("", "KILL JOB $1"), bind("", ""), execute(""), sync}},
		{"nothing is left open", "RowDescription, row [\"0\"], SELECT 1, ready I",
			[]pgproto3.FrontendMessage{query("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND usename = current_user")}},
	} {
		if got := talk(t, f, "ready", c.msgs...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestLongMessages sends messages of the extended protocol that are too long to be looked at. They must not be taken for
// what a statement of ours has left under their names.
func TestLongMessages(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, &pgwire.Options{MaxStatement: 16 << 10})
	f, _ := hijack(t, through(db.OwnerURL))
	long := bytes.Repeat([]byte("x"), 100_000)
	own := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "KILL JOB 'a'"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	for name, msgs := range map[string][]pgproto3.FrontendMessage{
		"Bind":  {&pgproto3.Parse{Name: "s", Query: "SELECT length($1)"}, &pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{long}}, &pgproto3.Execute{}},
		"Parse": {&pgproto3.Parse{Query: "SELECT length('" + string(long) + "')"}, &pgproto3.Bind{}, &pgproto3.Execute{}},
		"portal with a long name": {&pgproto3.Parse{Name: "s2", Query: "SELECT length($1)"},
			&pgproto3.Bind{DestinationPortal: string(long[:9000]), PreparedStatement: "s2", Parameters: [][]byte{long}}, &pgproto3.Execute{Portal: string(long[:9000])}},
	} {
		got := talk(t, f, "ready", append(append(own[:3:3], msgs...), &pgproto3.Sync{})...)
		if !strings.HasSuffix(got, "row [\"100000\"], SELECT 1, ready I") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestCopyWithoutData sends a statement of ours where PostgreSQL waits for COPY data: the session ends, and does not hang.
func TestCopyWithoutData(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int)")
	_, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	got := talk(t, f, "error", &pgproto3.Parse{Query: "COPY app.t FROM STDIN"}, &pgproto3.Bind{}, &pgproto3.Execute{},
		&pgproto3.Parse{Query: "KILL JOB 'a'"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
	if !strings.HasSuffix(got, "CopyInResponse, error 08P01") {
		t.Error(got)
	}
	awaitTrue(t, db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '"+db.Owner+"'")
}

// TestFilledBeforeItsSnapshot looks when data is filled in: before the Bind, which takes the snapshot of tables, and not
// between it and the Execute. What happened in between would be in neither.
func TestFilledBeforeItsSnapshot(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	got := talk(t, f, "BindComplete", &pgproto3.Parse{Query: "SELECT current_setting('test.filled') /* system.jobs */"}, &pgproto3.Bind{}, &pgproto3.Flush{})
	if n := h.fills.Load(); n != 1 || got != "ParseComplete, BindComplete" {
		t.Errorf("filled %d times before the Bind: %s", n, got)
	}
	got = talk(t, f, "ready", &pgproto3.Execute{}, &pgproto3.Sync{})
	if n := h.fills.Load(); n != 1 || got != "row [\"yes?\"], SELECT 1, ready I" {
		t.Errorf("filled %d times: %s", n, got)
	}
}

// TestFillKnowsItsStatement looks when Fill is told which statement runs: when PostgreSQL has confirmed that very one.
func TestFillKnowsItsStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	h, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	parse := func(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }
	one, two := "SELECT 1 /* system.jobs */", "SELECT 2 /* system.jobs */"
	bind, execute, sync := &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}
	for _, c := range []struct {
		name string
		want []string
		msgs []pgproto3.FrontendMessage
	}{
		{"unnamed", []string{one}, []pgproto3.FrontendMessage{parse("", one), bind, execute, sync}},
		{"again", []string{one}, []pgproto3.FrontendMessage{bind, execute, sync}},
		{"another", []string{two, two}, []pgproto3.FrontendMessage{parse("", two), bind, execute, bind, execute, sync}},
		{"behind an error", nil, []pgproto3.FrontendMessage{parse("x", "nonsense"), parse("", one), bind, execute, sync}},
		{"what was left of it", []string{""}, []pgproto3.FrontendMessage{bind, execute, sync}},
		{"refused", nil, []pgproto3.FrontendMessage{parse("", "nonsense /* system.jobs */"), bind, execute, sync}},
		{"named", []string{""}, []pgproto3.FrontendMessage{parse("n", one), &pgproto3.Bind{PreparedStatement: "n"}, execute, sync}},
		{"simple", []string{one}, []pgproto3.FrontendMessage{&pgproto3.Query{String: one}}},
		{"several", []string{"SELECT 1 /* system.jobs */", "SELECT 2 /* system.jobs */"}, []pgproto3.FrontendMessage{&pgproto3.Query{String: one + "; " + two}}},
	} {
		h.texts = nil
		answers(t, f, c.msgs...)
		if got := strings.Join(h.texts, "|"); got != strings.Join(c.want, "|") || len(h.texts) != len(c.want) {
			t.Errorf("%s: %q, want %q", c.name, h.texts, c.want)
		}
	}
}

// TestOwnValues reads rows of ours as settings and drivers ask for them.
func TestOwnValues(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	_, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	query := func(sql string) string { return answers(t, f, &pgproto3.Query{String: sql}) }
	for zone, want := range map[string]string{
		"UTC": "2026-02-03 04:05:06.000789+00", "America/New_York": "2026-02-02 23:05:06.000789-05", "Asia/Kolkata": "2026-02-03 09:35:06.000789+05:30",
		"XYZ+3": "2026-02-03 04:05:06.000789+00", // known to PostgreSQL only
	} {
		if got := query("SET TimeZone = '"+zone+"'") + query("SHOW JOBS"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", zone, got)
		}
	}
	got := answers(t, f, &pgproto3.Parse{Query: "KILL JOB $1", ParameterOIDs: []uint32{20}}, &pgproto3.Sync{})
	if !strings.HasPrefix(got, "error 42804 at 0: parameter $1 must be of type text") {
		t.Error(got)
	}
	got = answers(t, f, &pgproto3.Parse{Query: "KILL JOB $1", ParameterOIDs: []uint32{1043}}, &pgproto3.Sync{})
	if got != "ParseComplete\nready I" {
		t.Error(got)
	}
	// In such encodings a character may end in a backslash: the text is not taken apart.
	query("SET client_encoding = 'SJIS'")
	if got := query("SELECT E'\x95\x5c' = '\u8868'; KILL JOB 'a'"); !strings.HasPrefix(got, "error") {
		t.Error(got)
	}
	if got := query("SELECT 1 AS a; KILL JOB 'a'"); !strings.Contains(got, "KILL JOB\nready I") {
		t.Error(got)
	}
	if got := query("KILL JOB '\x95\x5c'"); !strings.HasPrefix(got, "error 0A000") {
		t.Error(got)
	}
}
