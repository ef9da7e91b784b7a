package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

func newSchedule(env *Env) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "schedule",
		Short: "Flush, verify or clean up at set times",
		Example: `  spillway schedule create nightly "FLUSH TABLE app.events OLDER THAN '7 days'" --cron '0 3 * * *' --time-zone Europe/Berlin
  spillway schedule explain nightly
  spillway schedule list
  spillway schedule pause nightly`,
	})
	cmd.AddCommand(newScheduleCreate(env), newScheduleList(env),
		scheduleVerb(env, "show", "Show one schedule, with what it missed and skipped", "SHOW SCHEDULE "),
		scheduleVerb(env, "explain", "Show the next ten times of a schedule", "EXPLAIN SCHEDULE "),
		scheduleVerb(env, "pause", "Pause a schedule; jobs that it started go on", "PAUSE SCHEDULE "),
		scheduleVerb(env, "resume", "Let a paused schedule go on", "RESUME SCHEDULE "),
		scheduleVerb(env, "trigger", "Run a schedule now", "TRIGGER SCHEDULE "),
		newScheduleBackfill(env),
		scheduleVerb(env, "drop", "Drop a schedule; jobs that it started go on", "DROP SCHEDULE "))
	return cmd
}

// scheduleFlags are those of `schedule create`.
type scheduleFlags struct {
	every, cron, zone, overlap, jitter, catchup string
	pauseOnFailure, paused                      bool
}

func newScheduleCreate(env *Env) *cobra.Command {
	var o clientOptions
	var f scheduleFlags
	cmd := &cobra.Command{
		Use:   "create NAME STATEMENT",
		Short: "Create a schedule for FLUSH, VERIFY or CLEANUP",
		Long: `Create a schedule. STATEMENT is FLUSH TABLE …, FLUSH ALL …, VERIFY TABLE …, VERIFY ALL … or CLEANUP, and is checked now as if it were run.
The schedule runs with the rights of whoever creates it, which are asked for again at each run.`,
		Example: `  spillway schedule create nightly "FLUSH TABLE app.events OLDER THAN '7 days' WHERE kind = 'view'" --cron '0 3 * * *' --time-zone Europe/Berlin
  spillway schedule create tidy CLEANUP --every '1 day' --pause-on-failure`,
		Args: args("NAME", "STATEMENT"),
		RunE: func(cmd *cobra.Command, given []string) error {
			statement, err := f.statement(given[0], given[1])
			if err != nil {
				return err
			}
			return o.send(cmd, env, statement)
		},
	}
	o.flags(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.every, "every", "", "an interval: '1 day'; it counts from 1970 in UTC")
	fs.StringVar(&f.cron, "cron", "", "a cron expression: '0 3 * * *'")
	fs.StringVar(&f.zone, "time-zone", "", "the time zone of --cron (default UTC)")
	fs.StringVar(&f.overlap, "overlap", "", "what to do if the last run has not ended: skip, buffer_one or allow (default skip)")
	fs.StringVar(&f.jitter, "jitter", "", "be late by up to this, by chance")
	fs.StringVar(&f.catchup, "catchup-window", "", "how late a run may begin that could not begin in time (default '1 day')")
	fs.BoolVar(&f.pauseOnFailure, "pause-on-failure", false, "pause the schedule when a run fails")
	fs.BoolVar(&f.paused, "paused", false, "create it paused")
	return cmd
}

// statement renders CREATE SCHEDULE. The predicate of the statement goes to the end.
func (f *scheduleFlags) statement(name, inner string) (string, error) {
	timing := ""
	switch {
	case f.every != "" && f.cron != "":
		return "", &fail.Usage{Msg: "--every and --cron exclude each other", Todo: "create a schedule for each"}
	case f.every != "" && f.zone != "":
		return "", &fail.Usage{Msg: "--time-zone belongs to --cron", Todo: "an interval is the same in every time zone"}
	case f.every != "":
		timing = " EVERY " + sqlclient.Literal(f.every)
	case f.cron != "":
		timing = " CRON " + sqlclient.Literal(f.cron)
	default:
		return "", &fail.Usage{Msg: "say when: --every or --cron is missing", Todo: "for example --every '1 day', or --cron '0 3 * * *' --time-zone Europe/Berlin"}
	}
	if f.zone != "" {
		timing += " TIME ZONE " + sqlclient.Literal(f.zone)
	}
	var options []string
	for _, o := range []struct{ name, value string }{{"overlap", f.overlap}, {"jitter", f.jitter}, {"catchup_window", f.catchup}} {
		if o.value != "" {
			options = append(options, o.name+" = "+sqlclient.Literal(o.value))
		}
	}
	if f.pauseOnFailure {
		options = append(options, "pause_on_failure = true")
	}
	if f.paused {
		options = append(options, "paused = true")
	}
	if len(options) > 0 {
		timing += " WITH (" + strings.Join(options, ", ") + ")"
	}
	inner = strings.TrimRight(strings.TrimSpace(inner), "; \t\n")
	if tree, err := parse.Parse(inner, nil); err == nil {
		if flush, ok := tree.(*parse.FlushTable); ok && flush.Where != nil {
			head := *flush
			head.Where = nil
			inner, timing = head.String(), timing+" WHERE "+flush.Where.Text
		}
	}
	return "CREATE SCHEDULE " + parse.QuoteName(name) + " FOR " + inner + timing, nil
}

func newScheduleList(env *Env) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List schedules",
		Args:  args(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.send(cmd, env, "SHOW SCHEDULES") },
	}
	o.flags(cmd)
	return cmd
}

// scheduleVerb builds a command that does one thing with one schedule.
func scheduleVerb(env *Env, use, short, statement string) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   use + " NAME",
		Short: short,
		Args:  args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return o.send(cmd, env, statement+parse.QuoteName(given[0]))
		},
	}
	o.flags(cmd)
	return cmd
}

func newScheduleBackfill(env *Env) *cobra.Command {
	var o clientOptions
	var from, to string
	cmd := &cobra.Command{
		Use:     "backfill NAME",
		Short:   "Run a schedule once for each of its times in a span that has passed",
		Example: "  spillway schedule backfill nightly --from 2026-03-01 --to '2026-03-04 12:00+01'",
		Args:    args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			if from == "" || to == "" {
				return &fail.Usage{Msg: "--from and --to are needed", Todo: "for example --from 2026-03-01 --to 2026-03-04"}
			}
			return o.send(cmd, env, "BACKFILL SCHEDULE "+parse.QuoteName(given[0])+" FROM "+sqlclient.Literal(from)+" TO "+sqlclient.Literal(to))
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "where the span begins: a time, as PostgreSQL reads it")
	cmd.Flags().StringVar(&to, "to", "", "where it ends")
	return cmd
}
