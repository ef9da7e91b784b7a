package shell

import (
	"errors"
	"slices"
	"testing"
)

func TestCommandWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		`\x`: {`\x`, "|"}, `\x on \timing`: {`\x`, "on", `|\timing`}, `\echo 'a ''b\c' d"e`: {`\echo`, `a 'b\c`, `d"e`, "|"},
		`\g;`: {`\g`, "|"}, `\\ SELECT`: {`\`, `|\ SELECT`}, `\pset null ''`: {`\pset`, "null", "", "|"}, `\i a;b`: {`\i`, "a;b", "|"},
	} {
		words, rest, err := commandWords(line)
		if got := append(words, "|"+rest); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	if _, _, err := commandWords(`\echo 'a`); err == nil || errors.Is(err, errQuit) {
		t.Error("an open quote was taken")
	}
}
