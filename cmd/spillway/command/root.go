package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

// New builds the whole command line over env.
func New(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "spillway",
		Short: "Move old rows of PostgreSQL tables to Parquet files, each row exactly once",
		Long: `Spillway moves old rows of PostgreSQL tables to Parquet files, each row exactly once.

See it work:        spillway demo
Run it:             spillway up
Flush a table:      spillway flush app.events --wait
                    psql … -c 'FLUSH TABLE app.events'`,
		SilenceErrors:              true, // Run prints the error, once
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().String("config", "", "read settings from this YAML file: the same names as the flags")
	root.PersistentFlags().StringP("output", "o", "table", "how rows are printed: table, json (one object per line) or csv")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return applySettings(cmd, env) }

	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run it:"},
		&cobra.Group{ID: "use", Title: "Use it:"},
		&cobra.Group{ID: "help", Title: "Look after it:"},
	)
	group := func(id string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("run", newDemo(env), newUp(env), newWorker(env), newFront(env))
	group("use", newSQL(env), newFlush(env), newJobs(env), newTop(env), newTables(env), newCat(env),
		newSchedule(env), newPolicy(env), newStorage(env), newRestore(env), newVerify(env), newCleanup(env))
	group("help", newDoctor(env), newHealthcheck(env), newGrants(env), newUninstall(env), newVersion(env), newCompletion(env))
	root.SetHelpCommandGroupID("help")
	addCompletions(root, env)
	return root
}

// unknownCommand refuses a first word that is no command, and names those that are close to it.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &fail.Usage{Msg: fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath()), Todo: "see `" + cmd.CommandPath() + " --help`"}
	if close := cmd.SuggestionsFor(args[0]); len(close) > 0 {
		e.Todo = "did you mean " + strings.Join(close, " or ") + "?"
	}
	return e
}

// args wants exactly the named arguments.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < len(names):
			return &fail.Usage{Msg: cmd.CommandPath() + ": " + names[len(given)] + " is missing", Todo: "usage: " + cmd.UseLine()}
		case len(given) > len(names):
			return &fail.Usage{Msg: fmt.Sprintf("%s: unexpected argument %q", cmd.CommandPath(), given[len(names)]), Todo: "usage: " + cmd.UseLine()}
		}
		return nil
	}
}

// parent is a command that only holds others.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = unknownCommand
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}
