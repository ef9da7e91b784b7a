package command

import "github.com/spf13/cobra"

// later builds a command that exists, with its flags, and whose work comes with a later version.
func later(use, short, what, instead string, flags func(*cobra.Command)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short + " (not in this version)",
		Args:  cobra.ArbitraryArgs,
		RunE:  func(*cobra.Command, []string) error { return notYet(what, instead) },
	}
	var o clientOptions
	o.flags(cmd)
	if flags != nil {
		flags(cmd)
	}
	return cmd
}

const useCron = "until then let cron run `spillway flush TABLE --wait`"

func newPolicy() *cobra.Command {
	cmd := parent(&cobra.Command{Use: "policy", Short: "Let tables flush by themselves (not in this version)"})
	cmd.AddCommand(
		later("set TABLE", "Set a table's flush policy", "flush policies", useCron, func(c *cobra.Command) {
			c.Flags().Int64("rows", 0, "flush when so many rows have come")
			c.Flags().String("interval", "", "flush so long after the last flush")
			c.Flags().String("older-than", "", "flush only rows older than this")
			c.Flags().String("age-column", "", "the column that --older-than looks at")
			c.Flags().String("storage", "", "where segments go")
			c.Flags().StringSlice("partition-by", nil, "columns: one file per distinct value")
		}),
		later("reset TABLE", "Remove a table's flush policy", "flush policies", useCron, nil),
		later("list", "List policies", "flush policies", useCron, nil),
	)
	return cmd
}
