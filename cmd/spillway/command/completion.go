package command

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

func newCompletion(env *Env) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a shell's completion script",
		Example: `  source <(spillway completion bash)
  spillway completion zsh > "${fpath[1]}/_spillway"`,
		ValidArgs: shells,
		Args: func(cmd *cobra.Command, given []string) error {
			if err := args("the shell")(cmd, given); err != nil {
				return err
			}
			if !slices.Contains(shells, given[0]) {
				return fail.Usagef("unknown shell %q: expected %s", given[0], strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, given []string) error {
			root := cmd.Root()
			switch given[0] {
			case "bash":
				return root.GenBashCompletionV2(env.Stdout, true)
			case "zsh":
				return root.GenZshCompletion(env.Stdout)
			case "fish":
				return root.GenFishCompletion(env.Stdout, true)
			}
			return root.GenPowerShellCompletionWithDesc(env.Stdout)
		},
	}
}
