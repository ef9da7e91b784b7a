package command

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Behind these lines of a page everything is written by `make docs`.
const generated = "<!-- What follows is written by `make docs`. -->\n"

// The reference pages have exactly the commands and flags that there are.
func TestReference(t *testing.T) {
	t.Parallel()
	root := New(testEnv(&bytes.Buffer{}, &bytes.Buffer{}))
	for path, text := range map[string]string{
		"../../../docs/configuration.md": configurationDoc(root),
		"../../../docs/cli.md":           cliDoc(root),
	} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, have, ok := strings.Cut(string(page), generated)
		if !ok {
			t.Fatalf("%s: no line %s", path, generated)
		}
		if have == text {
			continue
		}
		if !*update {
			t.Errorf("%s is not what the commands say: run `make docs`", path)
		} else if err := os.WriteFile(path, []byte(head+generated+text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// visible lists the commands that somebody may type, root first.
func visible(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
			list = append(list, visible(sub)...)
		}
	}
	return list
}

// settingRow is one meaning of a flag, and the commands that give it that meaning.
type settingRow struct {
	name, def, says string
	commands        []string
}

// configurationDoc is a table of all settings: first those of the processes that go on, then those of the others.
func configurationDoc(root *cobra.Command) string {
	var b strings.Builder
	servers := []string{"up", "front", "worker"}
	write := func(title string, of func(*cobra.Command) bool) {
		var rows []*settingRow
		for _, c := range visible(root) {
			if of(c) {
				c.LocalFlags().VisitAll(func(f *pflag.Flag) { rows = addSetting(rows, commandPath(c), f) })
			}
		}
		slices.SortStableFunc(rows, func(a, b *settingRow) int { return strings.Compare(a.name, b.name) })
		fmt.Fprintf(&b, "\n## %s\n\n| key, `--flag` | variable | default | of | says |\n|---|---|---|---|---|\n", title)
		for _, r := range rows {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", r.name, envName(r.name), r.def, strings.Join(r.commands, ", "), cell(r.says))
		}
	}
	write("Processes that go on", func(c *cobra.Command) bool { return c.Parent() == root && slices.Contains(servers, c.Name()) })
	write("Other commands", func(c *cobra.Command) bool { return c.Parent() != root || !slices.Contains(servers, c.Name()) })
	return b.String()
}

func addSetting(rows []*settingRow, command string, f *pflag.Flag) []*settingRow {
	if f.Name == "help" || f.Name == "config" || f.Hidden {
		return rows
	}
	row := &settingRow{name: f.Name, says: f.Usage, commands: []string{command}}
	if d := f.DefValue; d != "" && d != "[]" {
		row.def = "`" + d + "`"
	}
	for _, r := range rows {
		if r.name == row.name && r.def == row.def && r.says == row.says {
			r.commands = append(r.commands, command)
			return rows
		}
	}
	return append(rows, row)
}

// commandPath is how a command is typed, without the program; the root has none, and its flags are all commands'.
func commandPath(c *cobra.Command) string {
	if _, path, ok := strings.Cut(c.CommandPath(), " "); ok {
		return "`" + path + "`"
	}
	return "all"
}

// cell makes a text fit into a table of Markdown.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(text)
}

// cliDoc is what --help says of every command.
func cliDoc(root *cobra.Command) string {
	var b strings.Builder
	for _, c := range visible(root)[1:] {
		long := c.Long
		if long == "" {
			long = c.Short
		}
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s\n\nUsage: %s\n", c.CommandPath(), strings.TrimSpace(long), c.UseLine())
		if c.Example != "" {
			fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(c.Example, "\n"))
		}
		if flags := c.LocalFlags().FlagUsages(); c.HasAvailableLocalFlags() {
			fmt.Fprintf(&b, "\nFlags:\n%s", flags)
		}
		b.WriteString("```\n")
	}
	return b.String()
}
