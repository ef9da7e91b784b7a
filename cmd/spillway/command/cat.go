package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/cold"
	"github.com/spillwaydb/spillway/internal/cli/show"
)

type catOptions struct {
	clientOptions
	output string
}

func newCat(env *Env) *cobra.Command {
	var o catOptions
	cmd := &cobra.Command{
		Use:   "cat TABLE",
		Short: "Print the cold rows of a table from its registered segments",
		Long: `Print the cold rows of a table: exactly those of the segments that the ledger names. This command reads them itself, from files of
this machine or from buckets, for which it needs the keys that the workers have.

Values are as PostgreSQL prints them; as JSON, arrays are arrays, and composites and hstore objects. Where segments differ in their
columns, a row has NULL in those that it lacks; a column that was renamed is two, and one whose type changed is shown as a number if
both are, else as text.`,
		Example: `  spillway cat app.events > events.csv
  spillway cat app.events -o json | jq .kind`,
		Args: args("TABLE"),
		RunE: func(cmd *cobra.Command, given []string) error { return runCat(cmd.Context(), env, &o, given[0]) },
	}
	o.flags(cmd)
	cmd.Flags().StringVarP(&o.output, "output", "o", "csv", "csv (NULL and the empty string look the same), json, or table, which holds all rows in memory")
	cmd.Flags().Lookup("output").Annotations = map[string][]string{"forms": {"csv", "json", "table"}}
	return cmd
}

func runCat(ctx context.Context, env *Env, o *catOptions, table string) error {
	c, err := o.connect(ctx)
	if err != nil {
		return err
	}
	files, err := cold.Files(ctx, c, table)
	c.Close() // reading the files may take long
	if err != nil {
		return err
	}
	form := show.View{Form: o.output, Width: terminalWidth(env)}
	return cold.Print(ctx, files, form.Sink(env.Stdout))
}
