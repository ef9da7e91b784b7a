package command

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/progress"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
	"github.com/spillwaydb/spillway/jobmanager"
)

// upkeepOptions are what verify and cleanup have in common.
type upkeepOptions struct {
	clientOptions
	wait bool
}

func newVerify(env *Env) *cobra.Command {
	var o upkeepOptions
	var parallelism string
	cmd := &cobra.Command{
		Use:   "verify TABLE",
		Short: "Read a table's segments back and compare them with the ledger",
		Long: `Read every segment of a table back and compare it with the ledger: size, checksum, columns, every value; and look for objects in
the table's directories that nothing explains. It changes nothing.

With --wait it prints what it found, one row per object, and ends with exit code 1 if a segment is damaged or missing. Stray objects
alone are no failure.`,
		Example: `  spillway verify app.events --wait`,
		Args:    args("TABLE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			statement := "VERIFY TABLE " + given[0]
			if parallelism != "" {
				statement += " WITH (parallelism = " + sqlclient.Literal(parallelism) + ")"
			}
			return o.run(cmd, env, statement)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&parallelism, "parallelism", "", "groups of segments to read at once (default: 2)")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait for the end, showing progress, and print what was found")
	return cmd
}

func newCleanup(env *Env) *cobra.Command {
	var o upkeepOptions
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "cleanup [URL…]",
		Short: "Remove what failed attempts left behind, or stray objects by name",
		Long: `Remove the objects of attempts that can never commit. With addresses, remove these stray objects instead: each is looked up once
more, and stays if a segment or an attempt explains it. spillway verify finds the addresses.

With --wait it prints what it removed or kept, one row per object.`,
		Example: `  spillway cleanup --dry-run
  spillway cleanup --wait
  spillway cleanup --wait file:///srv/cold/app/events/copy.parquet`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, urls []string) error {
			o.wait = o.wait || dryRun // who asks what would go wants to see it
			return o.run(cmd, env, cleanupStatement(urls, dryRun))
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would go, and wait for that")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait for the end, and print what was removed")
	return cmd
}

func cleanupStatement(urls []string, dryRun bool) string {
	text := "CLEANUP"
	for i, u := range urls {
		text += []string{" OBJECT ", ", "}[min(i, 1)] + strings.TrimSpace(sqlclient.Literal(u))
	}
	if dryRun {
		text += " WITH (dry_run = true)"
	}
	return text
}

// run sends the statement, and follows the job if that was asked for.
func (o *upkeepOptions) run(cmd *cobra.Command, env *Env, statement string) error {
	ctx := cmd.Context()
	c, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	c.OnNotice = func(n *pgconn.Notice) { sqlclient.PrintNotice(env.Stderr, n) }
	var started sqlclient.Collector
	answer := tee{&started}
	if !o.wait {
		answer = append(answer, newSink(cmd, env))
	}
	if err := c.Run(ctx, statement, answer); err != nil || !o.wait {
		return err
	}
	id := started.Rows[0]["job_id"]
	tell := c.OnNotice
	c.OnNotice = nil // or the looks at the job would tell in the middle of the bar what printFindings tells at the end
	row, err := progress.Follow(ctx, c, id, &progress.Meter{W: env.Stderr, Bar: env.Bar})
	if err != nil {
		return err
	}
	c.OnNotice = tell
	var failed error
	if row["status"] != string(jobmanager.Completed) {
		failed = jobError(row)
	}
	return errors.Join(failed, printFindings(ctx, cmd, env, c, id))
}

// printFindings prints what a job found; what it all comes to is told in a notice.
func printFindings(ctx context.Context, cmd *cobra.Command, env *Env, c *sqlclient.Client, id string) error {
	if err := c.Run(ctx, "SHOW JOB "+sqlclient.Literal(id), &sqlclient.Collector{}); err != nil {
		return err
	}
	view, err := c.View(ctx, "findings")
	if err != nil {
		return err
	}
	return c.Run(ctx, "SELECT location, kind, action, bytes, segment_id, problem FROM "+view+" WHERE job_id = "+sqlclient.Literal(id)+
		" ORDER BY kind NOT IN ('damaged', 'missing'), location", newSink(cmd, env))
}
