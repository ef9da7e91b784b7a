package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What is quoted by backquotes in a flag's usage, the help shows as the name of its value: `--sql-url spillway up`.
func TestUsageNamesNoValueByAccident(t *testing.T) {
	t.Parallel()
	eachCommand(t, func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(f.Usage, "`") {
				t.Errorf("%s --%s: the usage has backquotes: %s", cmd.CommandPath(), f.Name, f.Usage)
			}
		})
	})
}

// Each example is a command that there is, with flags and arguments that it takes.
func TestExamplesAreCommands(t *testing.T) {
	t.Parallel()
	found := 0
	eachCommand(t, func(cmd *cobra.Command) {
		for line := range strings.SplitSeq(strings.ReplaceAll(cmd.Example, "\\\n", " "), "\n") {
			_, line, ok := strings.Cut(line, "spillway ")
			if _, after, set := strings.Cut(line, " spillway "); set { // behind a setting of the environment that has the word too
				line = after
			}
			if !ok && strings.TrimSpace(line) != "spillway" {
				continue
			}
			found++
			root := New(testEnv(&bytes.Buffer{}, &bytes.Buffer{}))
			words := shellWords(line)
			sub, rest, err := root.Find(words)
			if err == nil {
				err = sub.ParseFlags(rest)
			}
			if err == nil && sub.Args != nil {
				err = sub.Args(sub, sub.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), words, err)
			}
		}
	})
	if found < 30 {
		t.Errorf("only %d examples found", found)
	}
}

func eachCommand(t *testing.T, do func(*cobra.Command)) {
	t.Helper()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		do(cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(New(testEnv(&bytes.Buffer{}, &bytes.Buffer{})))
}

// shellWords cuts a line as a shell does, up to a pipe, a redirection or a closing parenthesis.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	begun := false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case strings.ContainsRune(" |>)", r):
			if begun {
				words = append(words, word.String())
			}
			if r != ' ' {
				return words
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	return words
}
