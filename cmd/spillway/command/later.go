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

func newSchedule() *cobra.Command {
	cmd := parent(&cobra.Command{Use: "schedule", Short: "Flush at set times (not in this version)"})
	cmd.AddCommand(
		later("create NAME STATEMENT", "Create a schedule", "schedules", useCron, func(c *cobra.Command) {
			c.Flags().String("every", "", "an interval: '1 day'")
			c.Flags().String("cron", "", "a cron expression: '0 3 * * *'")
			c.Flags().String("time-zone", "", "the time zone of --cron")
			c.Flags().String("overlap", "", "what to do if the last one still runs: skip, buffer_one or allow")
		}),
		later("list", "List schedules", "schedules", useCron, nil),
		later("pause NAME", "Pause a schedule", "schedules", useCron, nil),
		later("resume NAME", "Resume a schedule", "schedules", useCron, nil),
		later("trigger NAME", "Run a schedule now", "schedules", useCron, nil),
		later("drop NAME", "Drop a schedule", "schedules", useCron, nil),
	)
	return cmd
}

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
