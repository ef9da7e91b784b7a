package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

type restoreOptions struct {
	clientOptions
	fromJob, where, onConflict string
	with                       []string
	wait                       bool
}

func newRestore(env *Env) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore TABLE",
		Short: "Bring cold rows back into their table",
		Long: `Bring cold rows back into their table, through a running ` + "`spillway up`" + ` or front-end.

Each file goes back in one transaction, after it was compared with the ledger. Rows that --where or --on-conflict skip leave out stay
cold. The worker's role needs INSERT on the table: see ` + "`spillway grants --restore`" + `.`,
		Example: `  spillway restore app.events --wait
  spillway restore app.events --where "created_at >= '2025-01-01'"
  spillway restore app.events --from-job flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f --on-conflict skip`,
		Args: args("TABLE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			statement, err := o.statement(given[0])
			if err != nil {
				return err
			}
			return startJobs(cmd, env, &o.clientOptions, statement, o.wait)
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.fromJob, "from-job", "", "only rows that this job moved")
	f.StringVar(&o.where, "where", "", "only rows that match this SQL condition; the others stay cold")
	f.StringVar(&o.onConflict, "on-conflict", "", "what to do with rows that a unique key forbids: error (default) or skip")
	f.StringArrayVar(&o.with, "with", nil, "an option of RESTORE, name=value; a list in parentheses (may be repeated)")
	f.BoolVar(&o.wait, "wait", false, "wait for the end, showing progress")
	return cmd
}

// statement renders the RESTORE that the flags ask for.
func (o *restoreOptions) statement(table string) (string, error) {
	var b strings.Builder
	b.WriteString("RESTORE TABLE " + table)
	if o.fromJob != "" {
		b.WriteString(" FROM JOB " + sqlclient.Literal(o.fromJob))
	}
	given := o.with
	if o.onConflict != "" {
		given = append([]string{"on_conflict=" + o.onConflict}, given...)
	}
	with, err := withList("restore", given)
	if err != nil {
		return "", err
	}
	b.WriteString(with)
	if o.where != "" {
		b.WriteString(" WHERE " + o.where)
	}
	return b.String(), nil
}
