package command

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/words"
)

// flagError is the error of a command line whose flags cannot be read.
func flagError(cmd *cobra.Command, err error) error {
	// Where a command's name is mistyped its flags are read as those of the command above it, which says nothing to the user.
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return unknownCommand(cmd, words)
	}
	hint := "see `" + cmd.CommandPath() + " --help`"
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		var flags []string
		collect := func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) }
		cmd.Flags().VisitAll(collect)
		cmd.InheritedFlags().VisitAll(collect)
		if d := words.DidYouMean(words.Nearest("--"+name, flags)); d != "" {
			hint = d
		}
	}
	return &fail.Usage{Msg: err.Error(), Todo: hint}
}
