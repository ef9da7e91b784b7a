package command

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Flag, environment, file, default: the first that says something wins, for each flag by itself.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "# comment\ntable: from.file\nlimit: 7\nall: true\nsql-url: postgres://file/db\n")
	var out, errOut bytes.Buffer
	for _, c := range []struct {
		name    string
		args    []string
		environ []string
		want    string
	}{
		{"default", nil, nil, "table= limit=50 all=false"},
		{"file", []string{"--config", file}, nil, "table=from.file limit=7 all=true"},
		{"file by environment", nil, []string{"SPILLWAY_CONFIG=" + file}, "table=from.file limit=7 all=true"},
		{"environment", []string{"--config", file}, []string{"SPILLWAY_LIMIT=8", "SPILLWAY_TABLE="}, "table= limit=8 all=true"},
		{"flag", []string{"--config", file, "--limit", "9", "--all=false"}, []string{"SPILLWAY_LIMIT=8", "SPILLWAY_ALL=true"}, "table=from.file limit=9 all=false"},
	} {
		env := testEnv(&out, &errOut, c.environ...)
		root := New(env)
		list, _, err := root.Find([]string{"jobs", "list"})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		list.RunE = func(cmd *cobra.Command, _ []string) error {
			f := cmd.Flags()
			table, _ := f.GetString("table")
			limit, _ := f.GetInt("limit")
			all, _ := f.GetBool("all")
			got = fmt.Sprintf("table=%s limit=%d all=%v", table, limit, all)
			return nil
		}
		root.SetArgs(append([]string{"jobs", "list"}, c.args...))
		if err := root.ExecuteContext(t.Context()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestConfigLists(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "for: [a.one, a.two]\nreader: alice\n")
	var out, errOut bytes.Buffer
	root := New(testEnv(&out, &errOut))
	grants, _, err := root.Find([]string{"grants"})
	if err != nil {
		t.Fatal(err)
	}
	grants.RunE = func(*cobra.Command, []string) error { return nil }
	root.SetArgs([]string{"grants", "--config", file})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	tables, _ := grants.Flags().GetStringArray("for")
	readers, _ := grants.Flags().GetStringArray("reader")
	if len(tables) != 2 || tables[1] != "a.two" || len(readers) != 1 || readers[0] != "alice" {
		t.Errorf("for = %q, reader = %q", tables, readers)
	}
}

// A mistake in the settings is an error that names the place, and never the default.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		wants []string
	}{
		{"tabel: x\n", []string{`:1: unknown key "tabel"`, "known keys: ", "table"}},
		{"limit: 1\nlimit: 2\n", []string{":2: limit: given twice"}},
		{"limit: many\n", []string{":1: limit: invalid argument"}},
		{"limit: {a: 1}\n", []string{"expected a value or a list of values"}},
		{"limit:\n", []string{"expected a value or a list of values"}},
		{"- a\n- b\n", []string{"expected `name: value` lines"}},
		{"a: [\n", []string{"config file", "yaml"}},
	} {
		r := invoke(t, []string{"jobs", "list", "--config", writeFile(t, c.text)})
		if r.code != 2 {
			t.Errorf("%q: exit code %d, want 2", c.text, r.code)
		}
		mustContain(t, r.errOut, c.wants...)
	}
	r := invoke(t, []string{"jobs", "list"}, "SPILLWAY_LIMIT=many")
	if r.code != 2 {
		t.Errorf("environment: exit code %d, want 2", r.code)
	}
	mustContain(t, r.errOut, "SPILLWAY_LIMIT: invalid argument")
	if r := invoke(t, []string{"version", "--config", writeFile(t, "# nothing\n")}); r.code != 0 {
		t.Errorf("empty file: %s", r.errOut)
	}
}
