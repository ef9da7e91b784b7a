package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/shell"
	"github.com/spillwaydb/spillway/internal/cli/show"
)

type sqlOptions struct {
	clientOptions
	sources []shell.Source
	output  string
	null    string
	history string
	set     []string
}

func newSQL(env *Env) *cobra.Command {
	var o sqlOptions
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Prompt for SQL statements, or run them",
		Long: `Run SQL through the front-end: Spillway's own statements (FLUSH TABLE, KILL JOB, SHOW JOBS) and PostgreSQL's.

At a terminal there is a prompt with history, completion by Tab, and the backslash commands that psql users expect; \? lists them.
psql works as well: this command is for machines that have none, and for scripts.

Scripts come from -c and -f, in their order, or from standard input. Each statement is a transaction of its own unless you write
BEGIN. The first error stops the run with exit code 1; after -v ON_ERROR_STOP=off it goes on, and still ends with exit code 1.
Notices go to standard error. COPY … FROM STDIN reads what follows in the file up to a line \. and, with -c, standard input.`,
		Example: `  spillway sql
  spillway sql -c 'FLUSH TABLE app.events'
  spillway sql -c 'SELECT * FROM system.jobs' -o json
  spillway sql -f nightly.sql -o csv > report.csv`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runSQL(cmd.Context(), env, &o) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.VarP(&sourceFlag{list: &o.sources}, "command", "c", "run these statements, or a backslash command (may be repeated)")
	f.VarP(&sourceFlag{list: &o.sources, file: true}, "file", "f", "run the statements of this file; - is standard input (may be repeated)")
	f.StringVarP(&o.output, "output", "o", "table", "table, json (one object per line) or csv")
	f.Lookup("output").Annotations = map[string][]string{"forms": shell.Forms}
	f.StringVar(&o.null, "null", "", "what stands for NULL in tables and csv")
	f.StringVar(&o.history, "history", shell.HistoryPath(env.LookupEnv), "file of the prompt's history; empty: keep none")
	f.StringArrayVarP(&o.set, "set", "v", nil, "ON_ERROR_STOP=off: go on after errors")
	return cmd
}

// sourceFlag collects -c and -f in one list, so that their order stays.
type sourceFlag struct {
	list *[]shell.Source
	file bool
}

func (s *sourceFlag) Set(text string) error {
	*s.list = append(*s.list, shell.Source{Text: text, File: s.file})
	return nil
}

func (s *sourceFlag) String() string { return "" }

func (s *sourceFlag) Type() string {
	if s.file {
		return "file"
	}
	return "statements"
}

// goOn reads -v. ON_ERROR_STOP is on by default, for a script that goes on after an error does not do what it says.
func (o *sqlOptions) goOn() (bool, error) {
	goOn := false
	for _, set := range o.set {
		name, value, _ := strings.Cut(set, "=")
		if name != "ON_ERROR_STOP" {
			return false, &fail.Usage{Msg: fmt.Sprintf("--set %s: unknown variable", name), Todo: "known is ON_ERROR_STOP=on|off"}
		}
		stop, err := shell.ParseSwitch(value)
		if err != nil {
			return false, fail.Usagef("--set %s: %v", set, err)
		}
		goOn = !stop
	}
	return goOn, nil
}

func runSQL(ctx context.Context, env *Env, o *sqlOptions) error {
	goOn, err := o.goOn()
	if err != nil {
		return err
	}
	return shell.Run(ctx, &shell.Options{
		Dial: o.connect, In: env.Stdin, Out: env.Stdout, Err: env.Stderr, Interactive: env.Interactive, Divert: env.ctrlC.divert, Report: report,
		Sources: o.sources, View: show.View{Form: o.output, Null: o.null, Width: terminalWidth(env)}, GoOn: goOn, History: o.history,
	})
}
