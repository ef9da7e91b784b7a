package command

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/words"
)

// checkOutput refuses an -o that the command does not know. A command with forms of its own says so by an annotation.
func checkOutput(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("output")
	if f == nil {
		return nil
	}
	forms := formsOf(f)
	if slices.Contains(forms, f.Value.String()) {
		return nil
	}
	last := len(forms) - 1
	return &fail.Usage{Msg: fmt.Sprintf("--output %s: expected %s or %s", f.Value, strings.Join(forms[:last], ", "), forms[last]),
		Todo: words.DidYouMean(words.Nearest(f.Value.String(), forms))}
}

// formsOf are the words that a flag -o takes.
func formsOf(f *pflag.Flag) []string {
	if own := f.Annotations["forms"]; own != nil {
		return own
	}
	return []string{"table", "json", "csv"}
}

// newSink returns the sink for cmd's -o.
func newSink(cmd *cobra.Command, env *Env) show.Sink {
	switch out, _ := cmd.Flags().GetString("output"); out {
	case "json":
		return &show.JSON{W: env.Stdout}
	case "csv":
		return &show.CSV{W: csv.NewWriter(env.Stdout)}
	}
	return &show.Table{W: env.Stdout, Width: env.Width}
}

// terminalWidth asks again each time: windows change their size.
func terminalWidth(env *Env) func() int {
	return func() int {
		if out, ok := env.Stdout.(*os.File); ok && env.Width > 0 {
			if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 0 {
				return w
			}
		}
		return env.Width
	}
}
