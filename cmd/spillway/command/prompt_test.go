package command

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// typeAt feeds lines to a prompt that is no terminal.
func typeAt(t *testing.T, db *pgtest.DB, typed string, flags ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	env := testEnv(&out, &errOut)
	env.Interactive = true
	env.Stdin = strings.NewReader(typed)
	code := Run(t.Context(), env, append([]string{"sql", "--sql-url", db.OwnerURL}, flags...))
	return result{code: code, out: out.String(), errOut: errOut.String()}
}

// The prompt runs each statement when its semicolon has come, shows errors and goes on.
func TestPrompt(t *testing.T) {
	t.Parallel()
	r := typeAt(t, pgtest.Database(t), "SELECT 1 AS one,\n 'a;b' AS two; SELECT 3 AS three;\nSELECT nope;\n\nSELECT 4 AS four;\n\\q\nSELECT 5 AS five;\n")
	if r.code != 0 {
		t.Errorf("exit code %d", r.code)
	}
	mustContain(t, r.out, "Statements end with a semicolon", "spillway=> spillway-> ", "   1 | a;b\n", "three", "four")
	mustContain(t, r.errOut, `column "nope" does not exist (SQLSTATE 42703)`, "  SELECT nope\n         ^\n")
	if strings.Contains(r.out, "five") {
		t.Error(`\q did not leave`)
	}
}

// The prompt says what it waits for, and how the transaction stands.
func TestPromptSigns(t *testing.T) {
	t.Parallel()
	r := typeAt(t, pgtest.Database(t), "SELECT '\n' AS a,\n\"x\n\"\n(\n)\n/*\n*/ $$\n$$ \\r\nBEGIN;\nSELECT 1/0;\nROLLBACK;\nSELECT 'unfinished")
	var prompts []string
	for _, line := range strings.Split(r.out, "\n") {
		for _, p := range strings.Split(line, "spillway")[1:] {
			if sign, _, ok := strings.Cut(p, "> "); ok {
				prompts = append(prompts, sign)
			}
		}
	}
	want := []string{"=", "'", "-", `"`, "-", "(", "-", "*", "$", "=", "=*", "=!", "=", "'"}
	if !slices.Equal(prompts, want) || r.code != 0 {
		t.Errorf("exit code %d, prompts\n%q, want\n%q", r.code, prompts, want)
	}
}

func TestPromptCommands(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events (id int NOT NULL DEFAULT 7, note text)", "COMMENT ON COLUMN app.events.note IS 'what people said'")
	for _, c := range []struct {
		typed    string
		out, err []string
	}{
		{"help\n", []string{`\watch [SECONDS]`, "FLUSH TABLE schema.table"}, nil},
		{`\?` + "\n", []string{`\x [on|off|auto]`}, nil},
		{"quit\nSELECT 1;\n", nil, nil},
		{`\d` + "\n" + `\d app.events` + "\n" + `\d app.nope` + "\n", []string{" app    | events | table |", "| not null | 7 ", "what people said"},
			[]string{"table app.nope does not exist"}},
		{`\x` + "\nSELECT 1 AS a;\n" + `\x` + "\n" + `\x auto` + "\n" + `\x perhaps` + "\n",
			[]string{"Expanded display is on.\n", "-[ 1 ]", "Expanded display is off.\n", "Expanded display is auto.\n"}, []string{`\x: "perhaps": expected on, off or auto`}},
		{`\timing` + "\nSELECT 1;\n" + `\timing off` + "\n" + `\timing x` + "\n", []string{"Timing is on.\n", "Time: ", " ms\n", "Timing is off.\n"}, []string{`\timing: "x": expected on or off`}},
		{`\pset null ∅` + "\nSELECT NULL AS a;\n" + `\pset` + "\n" + `\pset colour red` + "\n", []string{" ∅\n", "null     '∅'"}, []string{`\pset: unknown option "colour"`}},
		{`\g` + "\n" + `\dt` + "\n" + `\watch soon` + "\n" + `\g file` + "\n" + `\echo 'open` + "\n" + `\i` + "\n" + `\i /no/such` + "\n", nil, []string{
			"there is no statement to run yet", `unknown command \dt`, `\watch: "soon" is no number of seconds`, `\g: unexpected argument "file"`,
			`\echo: unterminated quoted string`, "the name of a file is missing", "open /no/such: no such file",
		}},
		{`\conninfo` + "\n", []string{"connected to database \"" + db.Name + "\" as user \"" + db.Owner}, nil},
		{"SELECT 1 AS\n" + `\x on` + "\n goes_on;\n", []string{"goes_on | 1"}, nil},
		{"COPY app.events FROM STDIN;\n1\ta\n2\tb\n" + `\.` + "\nSELECT count(*) AS n FROM app.events;\nCOPY app.events TO STDOUT;\n", []string{">> >> >> COPY 2\n", "1\ta\n2\tb\n"}, nil},
		{"LISTEN c;\nNOTIFY c, 'hello';\n", []string{`Notification "c" with payload "hello" from backend `}, nil},
		{"SET standard_conforming_strings = off;\nSELECT 'it\\'s; ' AS a;\n", []string{" it's; \n"}, nil},
	} {
		r := typeAt(t, db, c.typed)
		if r.code != 0 {
			t.Errorf("%q: exit code %d", c.typed, r.code)
		}
		mustContain(t, r.out, c.out...)
		mustContain(t, r.errOut, c.err...)
		if c.err == nil && strings.Contains(r.errOut, "spillway: ") {
			t.Errorf("%q: %s", c.typed, r.errOut)
		}
	}
}

// The connection breaks while the prompt is open: it gets another one, and a script ends with exit code 3.
func TestPromptLosesConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	const kill = "SELECT pg_terminate_backend(pg_backend_pid());\n"
	r := typeAt(t, db, kill+"SELECT 'here again' AS a;\n")
	mustContain(t, r.errOut, "spillway: the connection is gone: terminating connection due to administrator command", "Connected again.")
	mustContain(t, r.out, "here again")
	r = invokeWith(t.Context(), kill+"SELECT 'here again' AS a;\n", []string{"sql", "--sql-url", db.OwnerURL})
	if r.code != 3 || r.out != "" {
		t.Errorf("script: exit code %d: %s%s", r.code, r.out, r.errOut)
	}
}

// Statements come from files and from standard input too, and the first error ends the run.
func TestSQLSources(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t).OwnerURL
	file := writeFile(t, "\ufeff-- a comment; with a semicolon\nSELECT 'from file' AS a;\nSELECT 2 AS b")
	r := invoke(t, []string{"sql", "-o", "json", "-c", "SELECT 1 AS c", "-f", file, "-c", `\echo last`, "--sql-url", url})
	if r.code != 0 || r.out != `{"c":1}`+"\n"+`{"a":"from file"}`+"\n"+`{"b":2}`+"\nlast\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	r = invokeWith(t.Context(), "SELECT 1 AS a; SELECT 1/0; SELECT 2 AS b", []string{"sql", "-o", "json", "--sql-url", url})
	if r.code != 1 || r.out != `{"a":1}`+"\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	mustContain(t, r.errOut, "spillway: stdin:1: division by zero (SQLSTATE 22012)")
	r = invokeWith(t.Context(), "1\n2\n", []string{"sql", "-c", "CREATE TABLE app.n (i int); COPY app.n FROM STDIN; SELECT sum(i) FROM app.n", "-o", "csv", "--sql-url", url})
	if r.code != 0 || r.out != "sum\n3\n" {
		t.Errorf("COPY from standard input: exit code %d: %s%s", r.code, r.out, r.errOut)
	}
}

// -v ON_ERROR_STOP=off goes on after errors; the exit code still tells of them.
func TestSQLGoesOn(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t).OwnerURL
	args := []string{"sql", "-o", "csv", "-c", "SELECT 1 AS a; SELECT nope; SELECT 1/0; SELECT 2 AS a", "--sql-url", url}
	for set, want := range map[string]string{"ON_ERROR_STOP=off": "a\n1\na\n2\n", "ON_ERROR_STOP=1": "a\n1\n"} {
		r := invoke(t, append(slices.Clone(args), "-v", set))
		if r.code != 1 || r.out != want {
			t.Errorf("%s: exit code %d: %s%s", set, r.code, r.out, r.errOut)
		}
		if set == "ON_ERROR_STOP=off" {
			mustContain(t, r.errOut, `column "nope" does not exist`, "division by zero", "spillway: 2 statements failed")
		}
	}
	r := invoke(t, []string{"sql", "-o", "csv", "-f", "testdata/sql/copy-error.sql", "-v", "ON_ERROR_STOP=off", "--sql-url", url})
	if r.code != 1 || r.out != "a\nafter\n" {
		t.Errorf("the rows of a refused COPY: exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	for _, set := range []string{"ON_ERROR_STOP=perhaps", "VERBOSITY=terse"} {
		if r := invoke(t, append(slices.Clone(args), "-v", set)); r.code != 2 {
			t.Errorf("%s: exit code %d", set, r.code)
		}
	}
}

// Scripts, with all that they print.
func TestSQLScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/sql/*.sql")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			r := invoke(t, []string{"sql", "-f", file, "--sql-url", pgtest.Database(t).OwnerURL})
			got := r.out + "-- standard error, exit code " + string(rune('0'+r.code)) + "\n" + r.errOut
			golden := strings.TrimSuffix(file, ".sql") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(withoutTimes(got)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			// \watch prints the time.
			if got = withoutTimes(got); got != string(want) {
				t.Errorf("%s differs:\n%s", golden, got)
			}
		})
	}
}

func withoutTimes(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.Contains(l, " (every ") {
			lines[i] = "(time)"
		}
	}
	return strings.Join(lines, "\n")
}
