package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// The prompt runs each statement when its semicolon has come, shows errors and goes on.
func TestPrompt(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	env := testEnv(&out, &errOut)
	env.Interactive = true
	env.Stdin = strings.NewReader("SELECT 1 AS one,\n 'a;b' AS two; SELECT 3 AS three;\nSELECT nope;\n\nSELECT 4 AS four;\n\\q\nSELECT 5 AS five;\n")
	if code := Run(t.Context(), env, []string{"sql", "--sql-url", pgtest.Database(t).OwnerURL}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, out.String(), "Statements end with a semicolon", "spillway=> spillway-> ", "   1 | a;b\n", "three", "four")
	mustContain(t, errOut.String(), `column "nope" does not exist (SQLSTATE 42703)`, "  SELECT nope\n         ^\n")
	if strings.Contains(out.String(), "five") {
		t.Error(`\q did not leave`)
	}
}

// Statements come from files and from standard input too, and the first error ends the run.
func TestSQLSources(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t).OwnerURL
	file := writeFile(t, "-- a comment; with a semicolon\nSELECT 'from file' AS a;\nSELECT 2 AS b")
	r := invoke(t, []string{"sql", "-o", "json", "-c", "SELECT 1 AS c", "-f", file, "--sql-url", url})
	if r.code != 0 || r.out != `{"c":1}`+"\n"+`{"a":"from file"}`+"\n"+`{"b":2}`+"\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	r = invokeWith(t.Context(), "SELECT 1 AS a; SELECT 1/0; SELECT 2 AS b", []string{"sql", "-o", "json", "--sql-url", url})
	if r.code != 1 || r.out != `{"a":1}`+"\n" {
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	mustContain(t, r.errOut, "division by zero (SQLSTATE 22012)")
}
