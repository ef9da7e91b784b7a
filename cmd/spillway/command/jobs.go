package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

func newJobs(env *Env) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "jobs",
		Short: "List, show, kill, pause, resume and wait for jobs",
		Example: `  spillway jobs list --all
  spillway jobs pause flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f
  spillway jobs kill flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f
  spillway jobs kill --where "target = 'app.events'" --dry-run`,
	})
	cmd.AddCommand(
		newJobsList(env),
		jobCommand(env, "show", "Show everything about jobs", "SHOW JOB "),
		newJobsKill(env),
		jobCommand(env, "pause", "Hold jobs between chunks, also across restarts", "PAUSE JOB "),
		jobCommand(env, "resume", "Let paused jobs go on", "RESUME JOB "),
		newJobsWait(env),
	)
	return cmd
}

type jobsListOptions struct {
	clientOptions
	all   bool
	table string
	limit int
}

func newJobsList(env *Env) *cobra.Command {
	var o jobsListOptions
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first: those that live, or all",
		Args:  args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			view, err := c.View(cmd.Context(), "jobs")
			if err != nil {
				return err
			}
			return c.Run(cmd.Context(), o.statement(view), newSink(cmd, env))
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "jobs that have ended as well")
	cmd.Flags().StringVar(&o.table, "table", "", "only jobs of this table, schema.table")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "at most so many")
	return cmd
}

func (o *jobsListOptions) statement(view string) string {
	conditions := []string{"true"}
	if !o.all {
		var live []jobmanager.Status
		for _, s := range jobmanager.Statuses {
			if !s.Terminal() {
				live = append(live, s)
			}
		}
		conditions = append(conditions, oneOf("status", live...))
	}
	if o.table != "" {
		conditions = append(conditions, "target = "+sqlclient.Literal(o.table))
	}
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY created_at DESC, job_id LIMIT %d",
		strings.Join(jobColumns, ", "), view, strings.Join(conditions, " AND "), max(0, o.limit))
}

// jobCommand builds a command that sends one statement per job id.
func jobCommand(env *Env, name, short, verb string) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   name + " JOB…",
		Short: short,
		Args:  someJobs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			s := newSink(cmd, env)
			for _, id := range ids {
				if err := c.Run(cmd.Context(), verb+sqlclient.Literal(id), s); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

func newJobsWait(env *Env) *cobra.Command {
	var o clientOptions
	cmd := &cobra.Command{
		Use:   "wait JOB…",
		Short: "Wait until jobs have ended; fails unless all completed",
		Args:  someJobs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			wait := progress.WhenComplete
			if env.Bar {
				wait = progress.Follow
			}
			return waitJobs(cmd, env, c, ids, wait)
		},
	}
	o.flags(cmd)
	return cmd
}

func someJobs(cmd *cobra.Command, ids []string) error {
	if len(ids) == 0 {
		return &fail.Usage{Msg: cmd.CommandPath() + ": a job id is missing", Todo: "`spillway jobs list` shows them"}
	}
	return nil
}
