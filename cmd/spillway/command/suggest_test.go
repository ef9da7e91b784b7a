package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A word that was mistyped is answered with the one that was meant.
func TestDidYouMean(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(config, []byte("storge: /srv\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"flsh app.events":              "did you mean flush?",
		"jobs lst":                     "did you mean list?",
		"jobs list --tabel app.events": "did you mean --table?",
		"up --storge x":                "did you mean --storage?",
		"jobs list -o cvs":             "did you mean csv?",
		"up --qqqqq":                   "see `spillway up --help`",
		"up --config " + config:        "did you mean storage? known keys: ",
	} {
		r := invoke(t, strings.Fields(line))
		if r.code != exitUsage || !strings.Contains(r.errOut, "hint: "+want) {
			t.Errorf("%s: exit code %d: %s", line, r.code, r.errOut)
		}
	}
}

// Names that only the server knows: it is asked for those that are near, and for those that Tab may complete.
func TestNamesOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, []string{"app.events"}, []string{
		"CREATE TABLE app.events AS SELECT i AS id FROM generate_series(1, 3000) i", `CREATE TABLE app."od d" (id int)`,
		"CREATE TABLE app.later (id int)",
	})
	r := s.spillway(t, "flush", "app.events", "--where", "id < 10", "--wait", "-o", "csv")
	if r.code != 0 || !strings.HasPrefix(r.out, "job_id,status,progress,") {
		t.Fatalf("exit code %d: %s%s", r.code, r.out, r.errOut)
	}
	done := strings.SplitN(strings.Split(r.out, "\n")[1], ",", 2)[0]
	r = s.spillway(t, "flush", "app.events", "--with", "max_rows_per_second=10", "--with", "chunk_bytes=64kB", "-o", "csv")
	live := strings.SplitN(strings.Split(r.out, "\n")[1], ",", 2)[0]
	other := live[:len(live)-1] + map[bool]string{true: "1", false: "0"}[strings.HasSuffix(live, "0")]

	for line, want := range map[string]string{
		"flush app.evnts":        "hint: did you mean app.events?\n",
		"verify app.event":       "hint: did you mean app.events?\n",
		"cat ap.events":          "hint: did you mean app.events?\n",
		"jobs kill " + other:     "hint: did you mean " + live + "?\n",
		"jobs show " + live[:20]: "hint: did you mean " + live,
	} {
		await(t, func() error { // on a busy machine the server may not say the names in time
			if r := s.spillway(t, strings.Fields(line)...); r.code == 0 || !strings.Contains(r.errOut, want) {
				return fmt.Errorf("%s: exit code %d: %s", line, r.code, r.errOut)
			}
			return nil
		})
	}
	for _, c := range []struct {
		line     string
		has, not []string
	}{
		{"flush app.", []string{"app.events", "app.later"}, []string{"od d", "spillway."}},
		{"flush app.events ", nil, []string{"app.later"}},
		{"verify ", []string{"app.events"}, []string{"app.later"}},
		{"jobs kill flush:", []string{live}, []string{done}},
		{"jobs kill " + live + " ", nil, []string{live}},
		{"jobs show ", []string{live, done}, nil},
		{"jobs resume ", nil, []string{live}},
		{"jobs list --table ", []string{"app.events"}, nil},
		{"restore app.events --from-job ", []string{done}, nil},
		{"flush --all --in ", []string{"app"}, []string{"pg_catalog"}},
		{"storage drop ", []string{"default"}, nil},
		{"jobs list -o ", []string{"table", "json", "csv"}, nil},
		{"cat app.events -o ", []string{"csv"}, nil},
	} {
		words := strings.Split(c.line, " ")
		last := len(words) - 1
		given := slices.Concat([]string{"__complete"}, words[:last], []string{"--sql-url=" + s.url}, words[last:])
		if strings.HasPrefix(words[max(0, last-1)], "-") { // the value of a flag comes behind it
			given = slices.Concat([]string{"__complete"}, words[:last-1], []string{"--sql-url=" + s.url}, words[last-1:])
		}
		found := map[string]bool{}
		var r result
		await(t, func() error {
			r = invoke(t, given)
			for l := range strings.SplitSeq(r.out, "\n") {
				name, _, _ := strings.Cut(l, "\t")
				found[name] = true
			}
			for _, h := range c.has {
				if !found[h] {
					return fmt.Errorf("%q: %q is missing in\n%s%s", c.line, h, r.out, r.errOut)
				}
			}
			return nil
		})
		for _, n := range c.not {
			if found[n] {
				t.Errorf("%q: %q is in\n%s", c.line, n, r.out)
			}
		}
	}
	if r := invoke(t, []string{"__complete", "jobs", "l"}); !strings.Contains(r.out, "list\t") {
		t.Errorf("jobs l: %s", r.out)
	}
	// The server may be named by the environment too; none at all is no error.
	await(t, func() error {
		if r := invoke(t, []string{"__complete", "jobs", "kill", ""}, "SPILLWAY_SQL_URL="+s.url); !strings.Contains(r.out, live) {
			return fmt.Errorf("by the environment: %s%s", r.out, r.errOut)
		}
		return nil
	})
	if r := invoke(t, []string{"__complete", "jobs", "kill", "", "--data-dir", t.TempDir()}); r.code != 0 || strings.Contains(r.out, "flush:") {
		t.Errorf("without a server: %d %s%s", r.code, r.out, r.errOut)
	}
	if r := s.spillway(t, "jobs", "kill", live); r.code != 0 {
		t.Error(r.errOut)
	}
}

// The scripts are read by their shells without complaint, and ask for names that have colons in them.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := invoke(t, []string{"completion", shell})
		if r.code != 0 || len(r.out) < 1000 {
			t.Errorf("%s: exit code %d, %d bytes", shell, r.code, len(r.out))
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("no %s here: its script is not read", shell)
			continue
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(r.out)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s -n: %v: %s", shell, err, out)
		}
	}
}
