package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
)

type sqlOptions struct {
	clientOptions
	sources []sqlSource
	output  string
	null    string
	history string
	set     []string
}

// sqlSource is one -c or -f, in the order of the command line.
type sqlSource struct {
	text string // the statements, or the name of their file
	file bool
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
	f.Lookup("output").Annotations = map[string][]string{"forms": sqlForms}
	f.StringVar(&o.null, "null", "", "what stands for NULL in tables and csv")
	f.StringVar(&o.history, "history", historyPath(env), "file of the prompt's history; empty: keep none")
	f.StringArrayVarP(&o.set, "set", "v", nil, "ON_ERROR_STOP=off: go on after errors")
	return cmd
}

var sqlForms = []string{"table", "json", "csv"}

// sourceFlag collects -c and -f in one list, so that their order stays.
type sourceFlag struct {
	list *[]sqlSource
	file bool
}

func (s *sourceFlag) Set(text string) error {
	*s.list = append(*s.list, sqlSource{text: text, file: s.file})
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
		stop, err := parseSwitch(value)
		if err != nil {
			return false, fail.Usagef("--set %s: %v", set, err)
		}
		goOn = !stop
	}
	return goOn, nil
}

// parseSwitch reads a truth value as psql does.
func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on", "yes":
		return true, nil
	case "off", "no":
		return false, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("expected on or off")
	}
	return v, nil
}

func runSQL(ctx context.Context, env *Env, o *sqlOptions) error {
	goOn, err := o.goOn()
	if err != nil {
		return err
	}
	runs, closeAll, err := openSources(o.sources, env.Stdin)
	if err != nil {
		return err
	}
	defer closeAll()
	sh := &shell{
		env: env, dial: o.connect, goOn: goOn,
		view: show.View{Form: o.output, Null: o.null, Width: terminalWidth(env)},
	}
	if err := sh.connect(ctx); err != nil {
		return err
	}
	defer func() { sh.c.Close() }()
	if len(runs) == 0 && env.Interactive {
		return sh.prompt(ctx, o.history)
	}
	if len(runs) == 0 {
		runs = []sqlRun{{lines: newScript(env.Stdin), name: "stdin"}}
	}
	for _, r := range runs {
		if err := sh.run(ctx, &r); err != nil {
			return orNil(err, errQuit)
		}
	}
	return sh.failures()
}

// sqlRun is a source of statements that is open.
type sqlRun struct {
	lines lineSource
	name  string    // for error messages; "" for -c
	data  io.Reader // what COPY FROM STDIN reads; nil: the lines that follow
}

// openSources opens all files before the first statement runs: a name that was mistyped must not leave half the work done.
func openSources(sources []sqlSource, stdin io.Reader) (runs []sqlRun, closeAll func(), err error) {
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			f.Close() // only read
		}
	}
	for _, s := range sources {
		switch {
		case !s.file:
			runs = append(runs, sqlRun{lines: newScript(strings.NewReader(s.text)), data: stdin})
		case s.text == "-":
			runs = append(runs, sqlRun{lines: newScript(stdin), name: "stdin"})
		default:
			f, err := os.Open(s.text)
			if err != nil {
				closeAll()
				return nil, nil, fail.Usagef("--file: %v", err)
			}
			files = append(files, f)
			runs = append(runs, sqlRun{lines: newScript(f), name: s.text})
		}
	}
	return runs, closeAll, nil
}
