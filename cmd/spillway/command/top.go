package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/top"
)

// leastRefresh bounds what a view that somebody forgot costs the server.
const leastRefresh = 500 * time.Millisecond

type topOptions struct {
	clientOptions
	refresh time.Duration
	all     bool
}

func newTop(env *Env) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch jobs, tables and workers live, and kill, pause or resume jobs",
		Long: `Watch jobs, tables and workers on the whole terminal, and kill, pause or resume jobs by a key. It asks the SQL front-end, with the
rights of its user: two short statements per refresh, and the sizes of tables every five seconds.

  Tab, 1 2 3     the next list; jobs, tables, workers      k  kill the job under the cursor
  arrows, PgUp   move in the list                          p  pause it
  Enter          all about the job, and back               r  resume it
  /              filter: rows that hold the text           a  jobs that have ended, or not
  s, S           sort by the next column; backwards        ?  the keys
  Esc            take back filter, question or page        q  leave

Kill, pause and resume ask first. NO_COLOR switches colours off.`,
		Example: `  spillway top
  spillway top --sql-url postgres://app@db.example.com:7432/app --refresh 2s`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runTop(cmd.Context(), env, &o) },
	}
	o.flags(cmd)
	cmd.Flags().DurationVar(&o.refresh, "refresh", time.Second, "how often it looks, 500ms or more")
	cmd.Flags().BoolVar(&o.all, "all", false, "show jobs that ended in the last hour from the start")
	return cmd
}

func runTop(ctx context.Context, env *Env, o *topOptions) error {
	if o.refresh < leastRefresh {
		return fail.Usagef("--refresh %s: expected %s or more", o.refresh, leastRefresh)
	}
	if env.Width == 0 || !env.Interactive {
		return &fail.Usage{Msg: "top needs a terminal, for its keys and for its screen", Todo: "`spillway jobs list` prints the jobs once; -o json and -o csv are for programs"}
	}
	return top.Run(ctx, &top.Options{
		Dial: o.connect, Refresh: o.refresh, All: o.all, In: env.Stdin, Out: env.Stdout, Environ: env.Environ(), Hint: hintOf,
	})
}
