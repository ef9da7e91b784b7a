package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

type jobsKillOptions struct {
	clientOptions
	where  string
	dryRun bool
}

// newJobsKill stops jobs by their ids, or all that meet a condition.
func newJobsKill(env *Env) *cobra.Command {
	var o jobsKillOptions
	cmd := &cobra.Command{
		Use:   "kill JOB… | kill --where CONDITION",
		Short: "Stop jobs; rows not yet moved stay in their tables",
		Long: `Stop jobs: those that are named, or all live ones whose row of system.jobs meets a condition in SQL. Rows that were moved
stay cold, the others stay in their tables.`,
		Example: `  spillway jobs kill flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f
  spillway jobs kill --where "created_at < now() - interval '1 hour'" --dry-run
  spillway jobs kill --where true`,
		Args: func(cmd *cobra.Command, ids []string) error { return o.check(cmd, ids) },
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if o.where != "" {
				return o.killWhere(cmd, env, c)
			}
			s := newSink(cmd, env)
			for _, id := range ids {
				if err := c.Run(cmd.Context(), "KILL JOB "+sqlclient.Literal(id), s); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.where, "where", "", "stop the live jobs that meet this condition over the columns of system.jobs")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "with --where: only list them")
	return cmd
}

// check wants either ids or a condition.
func (o *jobsKillOptions) check(cmd *cobra.Command, ids []string) error {
	switch {
	case o.where == "" && (o.dryRun || cmd.Flags().Changed("where")):
		return &fail.Usage{Msg: cmd.CommandPath() + ": --where is missing or empty", Todo: "--where true takes all live jobs"}
	case o.where == "":
		return someJobs(cmd, ids)
	case len(ids) > 0:
		return &fail.Usage{Msg: cmd.CommandPath() + ": both ids and --where are given", Todo: "--where \"job_id IN ('…') AND …\" takes both into account"}
	}
	return nil
}

// killWhere fails if a job that matched could not be killed.
func (o *jobsKillOptions) killWhere(cmd *cobra.Command, env *Env, c *sqlclient.Client) error {
	verb := "KILL JOBS WHERE "
	if o.dryRun {
		verb = "EXPLAIN KILL JOBS WHERE "
	}
	s := &errorsSink{Sink: newSink(cmd, env)}
	if err := c.Run(cmd.Context(), verb+o.where, s); err != nil {
		return err
	}
	if o.dryRun {
		return nil
	}
	return errors.Join(s.errors...)
}

// errorsSink passes rows on and gathers what stands in their column error.
type errorsSink struct {
	show.Sink
	id, column int
	errors     []error
}

func (s *errorsSink) Begin(cols []show.Column) error {
	for i, c := range cols {
		switch c.Name {
		case "job_id":
			s.id = i
		case "error":
			s.column = i
		}
	}
	return s.Sink.Begin(cols)
}

func (s *errorsSink) Row(values [][]byte) error {
	if e := values[s.column]; e != nil {
		s.errors = append(s.errors, fmt.Errorf("%s: %s", values[s.id], e))
	}
	return s.Sink.Row(values)
}
