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
