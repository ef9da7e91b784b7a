package shell

import (
	"bufio"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.events (id int)", "CREATE TABLE app.exports (id int)", `CREATE TABLE app."Odd" (id int)`, "CREATE TABLE app.users (id int)")
	const a, b = "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e90"
	sh := &shell{o: &Options{Err: io.Discard, Dial: func(ctx context.Context) (*sqlclient.Client, error) {
		return sqlclient.Dial(ctx, db.OwnerURL)
	}}, view: show.View{Width: func() int { return 80 }}}
	if err := sh.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer sh.c.Close()
	sh.lookUp()
	sh.names.jobs, sh.names.live = []string{a, b}, []string{a}
	for _, c := range []struct{ line, want string }{
		{"fl", "flush "}, {"FLUSH T", "FLUSH TABLE "}, {"FLUSH TABLE app.ev", "FLUSH TABLE app.events "}, {"flush table use", "flush table app.users "},
		{"FLUSH TABLE app.", "FLUSH TABLE app."}, {"SELECT * FROM e", "SELECT * FROM app.e"}, {`SELECT * FROM app."`, `SELECT * FROM app."Odd" `},
		{"FLUSH TABLE app.events wh", "FLUSH TABLE app.events where "}, {"FLUSH TABLE app.events WITH (chunk_b", "FLUSH TABLE app.events WITH (chunk_bytes = "},
		{"KILL JOB ", "KILL JOB '" + a + "' "}, {"SHOW JOB '", "SHOW JOB '" + a[:len(a)-2]}, {"SELECT 1; kill ", "SELECT 1; kill job"}, {"kill ", "kill job"}, {"KILL ", "KILL JOB"},
		{"verify table app.ev", "verify table app.events "}, {"VER", "VERIFY TABLE "}, {"VERIFY TABLE app.events wi", "VERIFY TABLE app.events with ("},
		{"VERIFY TABLE app.events WITH (pa", "VERIFY TABLE app.events WITH (parallelism = "}, {"cleanup ob", "cleanup object "}, {"CLEANUP WITH (dr", "CLEANUP WITH (dry_run = true "},
		{"RESTORE TABLE app.events fr", "RESTORE TABLE app.events from job "}, {"RESTORE TABLE app.events FROM J", "RESTORE TABLE app.events FROM JOB "},
		{"RESTORE TABLE app.events FROM JOB '", "RESTORE TABLE app.events FROM JOB '" + a[:len(a)-2]}, {"RESTORE TABLE app.events WITH (on", "RESTORE TABLE app.events WITH (on_conflict = skip "},
		{"FLUSH TABLE app.events WITH (wait=tr", "FLUSH TABLE app.events WITH (wait=true "}, {"FLUSH TABLE app.events WITH (codec = s", "FLUSH TABLE app.events WITH (codec = snappy "},
		{"FLUSH TABLE app.events WITH (parallelism = tr", "FLUSH TABLE app.events WITH (parallelism = tr"}, {"SELECT count(sel", "SELECT count(sel"},
		{"CREATE SCHEDULE s FOR VERIFY TABLE app.events WITH (par", "CREATE SCHEDULE s FOR VERIFY TABLE app.events WITH (parallelism = "},
		{`\wa`, `\watch `}, {`\x au`, `\x auto `}, {`\i comp`, `\i complete`}, {"xyzzy", "xyzzy"}, {"SELECT id gro", "SELECT id group by "},
	} {
		// Where there is more than one candidate and nothing in common, they would be listed on a terminal.
		start := wordStart(c.line)
		if found := matching(c.line[start:], sh.candidates("", c.line[:start], c.line[start:])); len(found) > 1 && len(commonPrefix(found)) <= len(c.line)-start {
			if c.want != c.line {
				t.Errorf("%q: %d candidates", c.line, len(found))
			}
			continue
		}
		if got, pos, ok := sh.complete(c.line, len(c.line), '\t'); got != c.want || pos != len(got) || !ok {
			t.Errorf("%q completes to %q, want %q", c.line, got, c.want)
		}
	}
	if got, pos, _ := sh.complete("KILL JOB  -- x", 9, '\t'); got != "KILL JOB '"+a+"'  -- x" || pos != 9+len(a)+3 {
		t.Errorf("in the middle of a line: %q, %d", got, pos)
	}
	if _, _, ok := sh.complete("fl", 2, 'u'); ok {
		t.Error("a letter was completed")
	}
	// A question that fails would abort the user's transaction, so there is none.
	must := func(statement string) {
		if err := sh.c.Run(t.Context(), statement, &sqlclient.Collector{}); err != nil {
			t.Fatal(err)
		}
	}
	must("BEGIN")
	sh.names.at = sh.names.at.Add(-namesFresh)
	sh.complete("KILL JOB ", 9, '\t')
	if sh.c.Conn.TxStatus() != 'T' {
		t.Errorf("transaction status %c", sh.c.Conn.TxStatus())
	}
	must("ROLLBACK")
}

// What Tab offers behind "=" is what the reference lists.
func TestOptionValues(t *testing.T) {
	t.Parallel()
	file, err := os.Open(filepath.Join("..", "..", "..", "docs", "sql.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	row, word := regexp.MustCompile("^\\| `(\\w+)` \\| ((?:`\\w+`(?: \\(default\\))?(?:, )?)+|true, false) \\|"), regexp.MustCompile(`\w+`)
	listed := map[string][]string{"dry_run": yesOrNo, "paused": yesOrNo} // they stand in the text, or with the schedule's
	in := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		in = strings.HasPrefix(line, "| option | value |") || in && strings.HasPrefix(line, "|")
		if m := row.FindStringSubmatch(line); in && m != nil {
			values := slices.DeleteFunc(word.FindAllString(m[2], -1), func(w string) bool { return w == "default" })
			for _, v := range values {
				if !slices.Contains(listed[m[1]], v) { // one table after the other may list the same option
					listed[m[1]] = append(slices.Clone(listed[m[1]]), v)
				}
			}
		}
	}
	delete(listed, "unregistered") // of FLUSH ALL, which Tab does not tell from FLUSH TABLE
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if !slices.Equal(slices.Sorted(slices.Values(optionValues[name])), slices.Sorted(slices.Values(listed[name]))) {
			t.Errorf("%s: Tab offers %q, docs/sql.md lists %q", name, optionValues[name], listed[name])
		}
	}
	if len(optionValues) != len(listed) {
		t.Errorf("Tab knows the values of %q, docs/sql.md lists those of %q", slices.Sorted(maps.Keys(optionValues)), slices.Sorted(maps.Keys(listed)))
	}
}
