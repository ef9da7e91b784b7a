package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/jobmanager"
)

// One example or more for each row of the table of exit codes.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	refused := &pgconn.PgError{Severity: "ERROR", Code: "42P01", Message: "table app.x does not exist"}
	seen := map[int]bool{}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{&sqlclient.StatementError{Statement: "FLUSH TABLE app.x", Err: refused}, 1},
		{&jobmanager.FinishedError{}, 1},
		{fail.Usagef("bad"), 2},
		{fmt.Errorf("wrapped: %w", fail.Usagef("bad")), 2},
		{&fail.Unreachable{What: "x"}, 3},
		{fmt.Errorf("start: %w", jobmanager.ErrUnavailable), 3},
		{&pgconn.ConnectError{Config: &pgconn.Config{}}, 3},
		{&hot.ConnectError{Class: hot.ConnectURL}, 2},
		{&hot.ConnectError{Class: hot.ConnectVersion}, 1},
		{fmt.Errorf("open: %w", &hot.ConnectError{Class: hot.ConnectAuth}), 3},
		{fail.ErrInterrupted, 130},
		{&interruptedError{err: &fail.Unreachable{What: "x"}}, 130},
		{fail.Hint(fail.ErrInterrupted, "go on"), 130},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("ExitCode(%v) = %d, want %d", c.err, got, c.want)
		}
		seen[c.want] = true
	}
	for _, e := range exits {
		if !seen[e.code] {
			t.Errorf("no example for exit code %d", e.code)
		}
	}
}

// docs/errors.md lists the exit codes as the table has them.
func TestExitCodesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \|$`).FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = m[2]
	}
	if len(listed) != len(exits) {
		t.Errorf("docs/errors.md lists %d exit codes, there are %d", len(listed), len(exits))
	}
	for _, e := range exits {
		if got := listed[strconv.Itoa(e.code)]; got != e.means {
			t.Errorf("exit code %d: docs say %q, the table %q", e.code, got, e.means)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"plain": {errors.New("boom"), "spillway: boom\n"},
		"hint":  {fmt.Errorf("up: %w", fail.Hint(errors.New("boom"), "duck")), "spillway: up: boom\nhint: duck\n"},
		"position": {&sqlclient.StatementError{Statement: "FLUSH TABLE\n  app.é nonsense", Err: &pgconn.PgError{
			Message: "syntax error", Code: "42601", Position: 21, Detail: "more", Hint: "expected WHERE",
		}}, "spillway: syntax error (SQLSTATE 42601)\n    app.é nonsense\n        " + "  ^\ndetail: more\nhint: expected WHERE\n"},
		"interrupted": {
			&interruptedError{err: fail.Hint(errors.New("context canceled"), "the job goes on")},
			"spillway: interrupted\nhint: the job goes on\n",
		},
	} {
		var b bytes.Buffer
		report(&b, c.err)
		if b.String() != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, b.String(), c.want)
		}
	}
}

// Whatever is typed wrongly: one message, one hint, exit code 2, and no page of usage.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args  []string
		wants []string
	}{
		{[]string{"vresion"}, []string{`unknown command "vresion"`, "did you mean version?"}},
		{[]string{"jobs", "kil"}, []string{`unknown command "kil" for "spillway jobs"`, "did you mean kill?"}},
		{[]string{"flsh", "a.b", "--wait"}, []string{`unknown command "flsh"`, "did you mean flush?"}},
		{[]string{"jobs", "lst", "--all"}, []string{`unknown command "lst" for "spillway jobs"`, "did you mean list?"}},
		{[]string{"--wiat"}, []string{"unknown flag: --wiat"}},
		{[]string{"flush"}, []string{"expected one TABLE, or --all", "usage: spillway flush schema.table"}},
		{[]string{"flush", "a.b", "--all"}, []string{"not both"}},
		{[]string{"flush", "--all", "--where", "x"}, []string{"not with --all"}},
		{[]string{"flush", "a.b", "--in", "x"}, []string{"--in goes with --all"}},
		{[]string{"flush", "a.b", "--with", "x"}, []string{"expected name=value"}},
		{[]string{"flush", "a.b", "--frobnicate"}, []string{"unknown flag: --frobnicate", "see `spillway flush --help`"}},
		{[]string{"jobs", "list", "--limit", "many"}, []string{"invalid argument"}},
		{[]string{"jobs", "kill"}, []string{"a job id is missing"}},
		{[]string{"version", "now"}, []string{`unexpected argument "now"`}},
		{[]string{"version", "-o", "xml"}, []string{"--output xml: expected table, json or csv"}},
		{[]string{"completion", "tcsh"}, []string{`unknown shell "tcsh"`}},
		{[]string{"grants"}, []string{"no table given"}},
		{[]string{"cat"}, []string{"TABLE is missing"}},
		{[]string{"schedule", "create", "n", "CLEANUP"}, []string{"say when", "--every '1 day'"}},
		{[]string{"schedule", "create", "n", "CLEANUP", "--every", "1 day", "--cron", "0 3 * * *"}, []string{"exclude each other"}},
		{[]string{"schedule", "create", "n", "CLEANUP", "--every", "1 day", "--time-zone", "UTC"}, []string{"--time-zone belongs to --cron"}},
		{[]string{"schedule", "backfill", "n", "--from", "2026-01-01"}, []string{"--from and --to are needed"}},
		{[]string{"schedule", "pause"}, []string{"NAME is missing"}},
		{[]string{"uninstall"}, []string{"no database given", "a private PostgreSQL goes with its data directory"}},
		{[]string{"uninstall", "--database-url", "postgres://127.0.0.1:1/x"}, []string{"there is no terminal to ask at", "--yes"}},
		{[]string{"cat", "a.b", "-o", "tabel"}, []string{"--output tabel: expected csv, json or table", "did you mean table?"}},
		{[]string{"sql", "-f", "/no/such/file"}, []string{"--file: open /no/such/file"}},
		{[]string{"sql", "-c", "x", "--sql-url", "postgres://:x:/"}, []string{"--sql-url cannot be read", "the form is postgres://"}},
		{[]string{"up", "--temporal-ui-url", "temporal.example.com"}, []string{`--temporal-ui-url "temporal.example.com": expected http://host`}},
		{[]string{"version", "--config", "/no/such/file"}, []string{"config file: open /no/such/file"}},
	} {
		r := invoke(t, c.args)
		if r.code != 2 {
			t.Errorf("%q: exit code %d, want 2; %s", c.args, r.code, r.errOut)
		}
		mustContain(t, r.errOut, append(c.wants, "spillway: ")...)
		if lines := bytes.Count([]byte(r.errOut), []byte("\n")); lines > 2 || r.out != "" {
			t.Errorf("%q: expected a message and a hint, got\n%s%s", c.args, r.errOut, r.out)
		}
	}
}

func TestInterruptedClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fail.ErrInterrupted)
	r := invokeWith(ctx, "", []string{"sql", "-c", "SELECT 1", "--sql-url", "postgres://127.0.0.1:1/x"})
	if r.code != 130 || r.errOut != "spillway: interrupted\n" {
		t.Errorf("exit code %d, %q", r.code, r.errOut)
	}
}
