package parse

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const separator = "\n--==\n"

func TestGolden(t *testing.T) { // A9
	t.Parallel()
	files, err := filepath.Glob("testdata/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, text := range strings.Split(strings.TrimSuffix(string(src), "\n"), separator) {
			if !Classify(text) {
				t.Errorf("not classified as ours: %s", text)
			}
			fmt.Fprintf(&out, "%s\n%s\n", text, describe(text))
		}
		golden := strings.TrimSuffix(file, ".sql") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s differs from %s:\n%s", file, golden, out.String())
		}
	}
}

func describe(text string) string {
	stmt, err := Parse(text, nil)
	if err == nil {
		return fmt.Sprintf("    %T %s\n", stmt, stmt)
	}
	var pe *Error
	if !errors.As(err, &pe) {
		return "    not a *Error: " + err.Error()
	}
	out := fmt.Sprintf("    %s %s\n", pe.SQLState, pe)
	if pe.Hint != "" {
		out += "    HINT: " + pe.Hint + "\n"
	}
	return out
}

// checkRoundTrip prints a tree and wants the same tree back.
func checkRoundTrip(t *testing.T, src string, opt *Options) {
	t.Helper()
	stmt, err := Parse(src, opt)
	if err != nil {
		return
	}
	again, err := Parse(stmt.String(), opt)
	if err != nil {
		t.Fatalf("%q printed as %q: %v", src, stmt, err)
	}
	clearPositions(reflect.ValueOf(stmt))
	clearPositions(reflect.ValueOf(again))
	if !reflect.DeepEqual(stmt, again) {
		t.Fatalf("%q printed as %q, which parses to %#v, not %#v", src, stmt, again, stmt)
	}
}

func clearPositions(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			clearPositions(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			clearPositions(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			clearPositions(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if strings.HasSuffix(v.Type().Field(i).Name, "Pos") {
				v.Field(i).SetInt(0)
			} else {
				clearPositions(v.Field(i))
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("testdata/statements.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(string(src), separator) {
		checkRoundTrip(t, text, nil)
		checkRoundTrip(t, text, &Options{BackslashQuotes: true})
	}
}

func TestErrorsSayWhatWasExpected(t *testing.T) {
	t.Parallel()
	_, err := Parse("FLUSH TABLE app.events WITH (a = 1;", nil)
	var pe *Error
	if !errors.As(err, &pe) || !reflect.DeepEqual(pe.Expected, []string{`","`, `")"`}) || pe.Pos != 35 {
		t.Fatalf("%#v", err)
	}
}

func TestClassifyLeavesPostgresAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", ";", "-- FLUSH TABLE a.b", "/* FLUSH */ SELECT 1", "SELECT 'FLUSH TABLE a.b'", "\"flush\" table",
		"SHOW search_path", "SHOW ALL", "SHOW jobs.x", "SHOW job.x", "SHOW cold.x", "SHOW \"jobs\"", "SHOW TIME ZONE",
		"CREATE TABLE flush (x int)", "CREATE TABLE schedule ()", "DROP TABLE schedule", "CREATE SCHEMA storage",
		"ALTER TABLE a SET (fillfactor = 10)", "ALTER TABLE flush SET SCHEMA flush", "ALTER TABLE a RESET (fillfactor)",
		"ALTER TABLE a ALTER COLUMN b SET DEFAULT 1", "ALTER TABLE a ALTER b SET STORAGE plain", "ALTER TABLE set RENAME TO flush",
		"ALTER TABLE a ADD set flush", "ALTER TABLE a ADD COLUMN pause flush", "ALTER TABLE a RENAME pause TO flush", "ALTER TABLE pause RENAME resume TO flush",
		"ALTER TABLE if ADD set flush", "ALTER TABLE a DROP set, ADD resume flush", "ALTER TABLE a SET LOGGED", "ALTER TABLE ALL IN TABLESPACE set SET TABLESPACE flush",
		"SHOW flush.x", "ALTER VIEW a SET FLUSH",
		"EXPLAIN SELECT 1", "EXPLAIN (ANALYZE) SELECT 1", "FETCH ALL FROM c", "FLUSHTABLE a.b", "CLOSE x", "VACUUM", "RESET ALL",
		"'open", "/* open", "$$ FLUSH", "\x00", "\xff\xfe", "DISCARD ALL", "TRUNCATE x", "CANCELLED", "flush_all()",
	} {
		if Classify(text) {
			t.Errorf("claimed: %q", text)
		}
	}
	for _, text := range []string{
		"ALTER TABLE IF EXISTS ONLY \"a\" . b SET FLUSH POLICY ()", "alter table a reset flush policy", "ALTER TABLE if SET FLUSH", "ALTER TABLE a.b * PAUSE FLUSH",
		"ALTER TABLE d.a.b RESUME flush policy", "SHOW flush POLICIES", "\t\n-- c\nSHOW/**/JOBS;",
	} {
		if !Classify(text) {
			t.Errorf("not claimed: %q", text)
		}
	}
}

func TestNearMiss(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"FLSH TABLE a.b": "FLUSH TABLE", "FLUHS ALL": "FLUSH ALL", "kil job 'x'": "KILL JOB", "SHWO JOBS": "SHOW JOBS",
		"FFLUSH table x": "FLUSH TABLE", "FLUSX TABLE x": "FLUSH TABLE", "CANCLE JOB 'x'": "CANCEL JOB",
		"PAUES JOB 'x'": "PAUSE JOB", "RESUEM JOB 'x'": "RESUME JOB", "REUSME job $1": "RESUME JOB", "PASE SCHEDULE n": "PAUSE SCHEDULE", "TRIGER SCHEDULE n": "TRIGGER SCHEDULE", "BACKFIL schedule n": "BACKFILL SCHEDULE", "CREAT SCHEDULE n": "CREATE SCHEDULE",
		"FLUSH TABLE a.b": "", "FL TABLE": "", "SELECT 1": "", "FLSH 1": "", "FLSH": "", "SHO search_path": "", "": "", "'": "",
	} {
		if got := NearMiss(text); got != want {
			t.Errorf("NearMiss(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	const atomic = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"
	for _, c := range []struct {
		src  string
		want []Piece
	}{
		{"", nil},
		{" ; ;; -- nothing\n", nil},
		{"SELECT 1", []Piece{{"SELECT 1", 0}}},
		{"é; FLUSH TABLE a.b ;SHOW JOBS", []Piece{{"é", 0}, {"FLUSH TABLE a.b ", 3}, {"SHOW JOBS", 20}}},
		{"SELECT ';', \";\", $$;$$, $a$;$$;$a$ /* ; /* ; */ */; KILL JOB 'x;y'",
			[]Piece{{"SELECT ';', \";\", $$;$$, $a$;$$;$a$ /* ; /* ; */ */", 0}, {"KILL JOB 'x;y'", 52}}},
		{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
			[]Piece{{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", 0}, {"SELECT 3", 57}}},
		{atomic + "; SELECT 3", []Piece{{atomic, 0}, {"SELECT 3", 94}}},
		{"BEGIN; SELECT CASE WHEN true THEN 1 END; END", []Piece{{"BEGIN", 0}, {"SELECT CASE WHEN true THEN 1 END", 7}, {"END", 41}}},
		{"SELECT E'\\'; SELECT 1; '; SHOW JOBS", []Piece{{"SELECT E'\\'; SELECT 1; '", 0}, {"SHOW JOBS", 26}}},
		{"SELECT E'a' -- c\n 'b\\';'; SHOW JOBS", []Piece{{"SELECT E'a' -- c\n 'b\\';'", 0}, {"SHOW JOBS", 26}}},
		{"SELECT 1; SELECT 'open; FLUSH TABLE a.b", []Piece{{"SELECT 1; SELECT 'open; FLUSH TABLE a.b", 0}}},
		{"SELECT 1; SELECT (2; FLUSH TABLE a.b", []Piece{{"SELECT 1; SELECT (2; FLUSH TABLE a.b", 0}}},
		{"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; FLUSH ALL", []Piece{{"CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; FLUSH ALL", 0}}},
	} {
		if got := Split(c.src, nil); !reflect.DeepEqual(got, c.want) {
			t.Errorf("Split(%q)\n got %+v\nwant %+v", c.src, got, c.want)
		}
	}
	if got := Split(`SELECT '\'; x'; SHOW JOBS`, &Options{BackslashQuotes: true}); len(got) != 2 {
		t.Errorf("with backslash quotes: %+v", got)
	}
}

func TestDecodeString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, want string
		backslash  bool
	}{
		{`'a''b'`, `a'b`, false}, {`'a\n'`, `a\n`, false}, {`'a\n'`, "a\n", true}, {`E'\x41\102\u0043\''`, "ABC'", false},
		{`U&'d\0061t\\'`, `dat\`, false}, {`U&'d!0061!!\' UESCAPE '!'`, `da!\`, false},
		{"u&'d#+000061''' -- a\n/* b */uescape/**/'#'", `da'`, false}, {`U&'\D83D\DE00\+00d83d\DE00\FFFD'`, "😀😀\uFFFD", false}, {`$q$a'b$q$`, `a'b`, false}, {`N'x'`, "x", false}, {`$$$$`, "", false},
	} {
		if got, ok := decodeString(c.text, c.backslash); !ok || got != c.want {
			t.Errorf("decodeString(%s) = %q, %v", c.text, got, ok)
		}
	}
	for _, bad := range []string{
		`U&'a' UESCAPE ''`, `U&'a' UESCAPE '!!'`, `U&'a' UESCAPE '+'`, `U&'a' UESCAPE 'f'`, `U&'a' UESCAPE ' '`, `U&'a' UESCAPE '"'`, `U&'a' UESCAPE ''''`, `U&'a' UESCAPE '''!'`,
		`U&'!' UESCAPE '!'`, `U&'!00' UESCAPE '!'`, `U&'!0000' UESCAPE '!'`, `U&'\D83D'`, `U&'\D83Dx'`, `U&'\D83D\0061'`, `U&'\DE00\D83D'`, "U&'a'\n'b'",
		`E'\u12'`, `E'\xff'`, `E'\000'`, `U&'\zz'`, `B'01'`, "'a'\n'b'"} {
		if got, ok := decodeString(bad, false); ok {
			t.Errorf("decodeString(%s) = %q", bad, got)
		}
	}
}

func TestUescape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, schema, table string }{
		{`FLUSH TABLE U&"d!0061ta" UESCAPE '!' . U&"t""#0061" uescape '#'`, "data", `t"a`},
		{`FLUSH TABLE a.U&"x!" WITH (storage = U&'s!0074' UESCAPE '!')`, "a", "x!"},
	} {
		s, err := Parse(c.src, nil)
		f, ok := s.(*FlushTable)
		if err != nil || !ok || f.Table.Schema != c.schema || f.Table.Table != c.table {
			t.Errorf("%s: %+v, %v", c.src, s, err)
		}
		if ok && len(f.Options) == 1 && f.Options[0].Value != "st" {
			t.Errorf("%s: option %q", c.src, f.Options[0].Value)
		}
	}
	for _, bad := range []string{
		`FLUSH TABLE a.U&"x" UESCAPE`, `FLUSH TABLE a.U&"x" UESCAPE 'ab'`, `FLUSH TABLE a.U&"x" UESCAPE !`, `FLUSH TABLE a.b UESCAPE '!'`, `FLUSH TABLE a."b" UESCAPE '!'`,
	} {
		if s, err := Parse(bad, nil); err == nil {
			t.Errorf("%s: %+v", bad, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/statements.sql", "testdata/errors.sql"} {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, text := range strings.Split(string(src), separator) {
			f.Add(text, false)
		}
	}
	f.Fuzz(func(t *testing.T, src string, backslash bool) {
		opt := &Options{BackslashQuotes: backslash}
		if utf8.ValidString(src) { // PostgreSQL takes no other text, and E'…' cannot spell it
			checkRoundTrip(t, src, opt)
		}
		Classify(src)
		NearMiss(src)
		Words(src, 3)
		end := 0
		for _, p := range Split(src, opt) {
			if p.Offset < end || !strings.Contains(src, p.Text) {
				t.Fatalf("piece %q at %d of %q", p.Text, p.Offset, src)
			}
			end = p.Offset + 1
		}
		if _, err := Parse(src, opt); err != nil {
			var pe *Error
			if !errors.As(err, &pe) || pe.Pos < 0 || pe.Pos > len(src)+1 || pe.SQLState == "" {
				t.Fatalf("%q: %#v", src, err)
			}
		}
	})
}
