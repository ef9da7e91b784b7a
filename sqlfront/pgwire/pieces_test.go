package pgwire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// answers sends messages and writes down everything up to ReadyForQuery.
func answers(t testing.TB, f *pgproto3.Frontend, msgs ...pgproto3.FrontendMessage) string {
	t.Helper()
	return strings.Join(exchange(t, f, "ready ", inFull, msgs), "\n")
}

// inFull is brief with what a user sees besides.
func inFull(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		var names []string
		for _, field := range m.Fields {
			names = append(names, fmt.Sprintf("%s %d %d", field.Name, field.DataTypeOID, field.Format))
		}
		return "columns " + strings.Join(names, ", ")
	case *pgproto3.NoticeResponse:
		return fmt.Sprintf("%s %s", m.Severity, m.Message)
	case *pgproto3.ErrorResponse:
		return fmt.Sprintf("error %s at %d: %s", m.Code, m.Position, m.Message)
	}
	return brief(m)
}

// TestMixedQueries sends several statements in one Query, ours among them. PostgreSQL is the judge: asked directly, with a
// SELECT in the place of ours, it must answer the same.
func TestMixedQueries(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.tab1 (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)", "CREATE TABLE app.tab2 (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
	_, through, _ := proxy(t, db, nil)
	ours, _ := hijack(t, through(db.OwnerURL))
	theirs, _ := hijack(t, db.OwnerURL)
	data := []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("7\n8\n")}, &pgproto3.CopyDone{}}
	bad := []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyDone{}}
	giveUp := []pgproto3.FrontendMessage{&pgproto3.CopyFail{Message: "no"}}
	for _, c := range []struct {
		query string // $ is ours, % a table
		then  []pgproto3.FrontendMessage
	}{
		{"SELECT 1; $; SELECT 'é' AS e; $", nil},
		{"$; INSERT INTO app.% VALUES (1)", nil},
		{"SELECT count(*) FROM app.%", nil},
		{"INSERT INTO app.% VALUES (2); $; SELECT 1/0; $; SELECT 3", nil},
		{"SELECT 'ü'; $; SELECT nonsense, 'ä'", nil},
		{"INSERT INTO app.% VALUES (3); INSERT INTO app.% VALUES (3); $", nil}, // fails at its end
		{"SELECT count(*) FROM app.%; $", nil},
		{"BEGIN; INSERT INTO app.% VALUES (4); $", nil},
		{"$; SAVEPOINT s; SELECT 1/0", nil},
		{"$; SELECT 1", nil},
		{"ROLLBACK TO s; $; SELECT count(*) FROM app.%", nil},
		{"SELECT 1/0; $", nil},
		{"ROLLBACK; $; SELECT count(*) FROM app.%", nil},
		{"COMMIT; $", nil},
		{"BEGIN; $; COMMIT; SELECT 1; $; ROLLBACK", nil},
		{"INSERT INTO app.% VALUES (5); COMMIT; $; SELECT 1/0", nil},
		{"SELECT count(*) FROM app.%; $", nil},
		{"DO $x$BEGIN RAISE NOTICE 'hello; %', 1; END$x$; $", nil},
		{"CREATE TEMP TABLE fresh (a int); INSERT INTO fresh VALUES (1) RETURNING a; $; SELECT * FROM fresh", nil},
		{"SET TimeZone = 'UTC'; $; SHOW TimeZone", nil},
		{"SAVEPOINT s; $", nil},
		{"COPY app.% TO STDOUT; $", nil},
		{"$; COPY app.% FROM STDIN; $; SELECT count(*) FROM app.%", data},
		{"$; COPY app.% FROM STDIN; $; SELECT count(*) FROM app.%", bad},
		{"$; COPY app.% FROM STDIN; $", giveUp},
		{"SELECT count(*) FROM app.%; $", nil},
		{"BEGIN; DECLARE c CURSOR FOR SELECT 1 AS a UNION ALL SELECT 2; FETCH 1 FROM c; $; FETCH ALL FROM c; ROLLBACK", nil},
		{"FETCH 1 FROM c; $", nil},
		{"$; INSERT INTO app.% VALUES (6); INSERT INTO app.% VALUES (6)", nil},
		{"PREPARE p AS SELECT 41 + $1; EXECUTE p(1); $; DEALLOCATE p", nil},
		{"LISTEN ch; $; UNLISTEN *", nil},
		{"/* ; */ ; ;; $ ; -- $;\n SELECT ';' ;", nil},
		{"SELECT 1 AS a WHERE false; $", nil},
	} {
		fill := func(query, own, table string) string {
			out := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(query, "$x$", "§x§"), "$1", "§1"), "$", own)
			out = strings.ReplaceAll(strings.ReplaceAll(out, "app.%", "app."+table), "§", "$")
			return out
		}
		//                        of one length, for the positions
		direct := answers(t, theirs, append([]pgproto3.FrontendMessage{&pgproto3.Query{String: fill(c.query, "SELECT 'b' answer", "tab2")}}, c.then...)...)
		got := answers(t, ours, append([]pgproto3.FrontendMessage{&pgproto3.Query{String: fill(c.query, "KILL JOB   'b'   ", "tab1")}}, c.then...)...)
		direct = strings.ReplaceAll(direct, "columns answer 25 0\nrow [\"b\"]\nSELECT 1", "columns answer 25 0\nrow [\"b\"]\nKILL JOB")
		if got = strings.ReplaceAll(got, "tab1", "tab2"); got != direct {
			t.Errorf("%s:\n-- through the proxy\n%s\n-- direct\n%s", c.query, got, direct)
		}
	}
}

// TestMixedErrors are errors of ours among other statements. One in how a statement is written leaves all undone.
func TestMixedErrors(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int)")
	_, through, _ := proxy(t, db, nil)
	f, _ := hijack(t, through(db.OwnerURL))
	for _, c := range []struct{ query, want string }{
		{"INSERT INTO app.t VALUES (1); KILL JOB 'a'; KILL 'b'", "error 42601 at 50: syntax error at or near \"'b'\": expected JOB or JOBS\nready I"},
		{"INSERT INTO app.t VALUES (1); SHOW JOB 'x'; SELECT 1", "INSERT 0 1\nerror 22023 at 33: cannot\nready I"},
		{"INSERT INTO app.t VALUES (1); FLUSH TABLE a.b WHERE 1/0 = 1; SELECT 1", "INSERT 0 1\nerror 22012 at 0: division by zero\nready I"},
		{"INSERT INTO app.t VALUES (1); KILL JOB $1", "INSERT 0 1\nerror 42P02 at 0: there is no parameter $1\nready I"},
		{"SELECT count(*) FROM app.t", "columns count 20 0\nrow [\"0\"]\nSELECT 1\nready I"},
		{"BEGIN; SELECT 1 AS a; SHOW JOB 'x'; ROLLBACK", "BEGIN\ncolumns a 23 0\nrow [\"1\"]\nSELECT 1\nerror 22023 at 25: cannot\nready E"},
		{"KILL JOB 'a'; ROLLBACK", "error 25P02 at 0: current transaction is aborted, commands ignored until end of transaction block\nready E"},
		{"ROLLBACK; KILL JOB 'a'; BEGIN", "ROLLBACK\ncolumns answer 25 0\nrow [\"a\"]\nKILL JOB\nBEGIN\nready T"},
		{"COMMIT; FLUSH TABLE a.b", "COMMIT\ncolumns answer 25 0\nrow [\"" + db.Owner + " P\"]\nFLUSH\nready I"},
		{"SELECT 1 AS a; SELECT current_setting('test.filled') AS f /* system.jobs */; KILL JOB 'a'",
			"columns a 23 0\nrow [\"1\"]\nSELECT 1\ncolumns f 25 0\nrow [\"yes?\"]\nSELECT 1\ncolumns answer 25 0\nrow [\"a\"]\nKILL JOB\nready I"},
		{"DECLARE c CURSOR FOR SELECT 1; KILL JOB 'a'", "error 25P01 at 0: DECLARE CURSOR can only be used in transaction blocks\nready I"}, // unlike PostgreSQL
		{"SELECT 1 AS a; FLSH TABLE a.b; KILL JOB 'a'", "columns a 23 0\nrow [\"1\"]\nSELECT 1\nerror 42601 at 16: syntax error at or near \"FLSH\"\nready I"},
	} {
		if got := answers(t, f, &pgproto3.Query{String: c.query}); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.query, got, c.want)
		}
	}
}

// TestCopyEndedByPostgres breaks a COPY off while the client is silent, in the middle of a Query with ours: the client is
// told at once, and not when it sends its next message.
func TestCopyEndedByPostgres(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.t (id int)")
	_, through, _ := proxy(t, db, nil)
	f, nc := hijack(t, through(db.OwnerURL))
	query := []pgproto3.FrontendMessage{&pgproto3.Query{String: "KILL JOB 'a'; COPY app.t FROM STDIN; KILL JOB 'b'"}}
	got := answers(t, f, append(query, &pgproto3.CopyData{Data: []byte("x\n")})...)
	if !strings.Contains(got, "CopyInResponse\nerror 22P02") || !strings.HasSuffix(got, "ready I") {
		t.Errorf("got %s", got)
	}
	// A message that has come in part is not lost.
	got = answers(t, f, append(query, &pgproto3.CopyData{Data: []byte("x\n" + strings.Repeat("y", 50_000))}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{})...)
	if !strings.Contains(got, "CopyInResponse\nerror 22P02") {
		t.Errorf("got %s", got)
	}
	if got := answers(t, f, &pgproto3.Query{String: "KILL JOB 'c'"}); !strings.HasSuffix(got, "row [\"c\"]\nKILL JOB\nready I") {
		t.Errorf("afterwards: %s", got)
	}
	// The client leaves.
	f.Send(query[0])
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	awaitTrue(t, db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = '"+db.Owner+"'")
}
