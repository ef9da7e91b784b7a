package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/cli/sqlclient"
)

// Options say where statements come from, where results go, and what the shell asks of the process.
type Options struct {
	Dial        func(context.Context) (*sqlclient.Client, error)
	In          io.Reader
	Out, Err    io.Writer
	Interactive bool     // there is a person at In
	Sources     []Source // of statements, in their order; without any, In
	View        show.View
	GoOn        bool                           // after errors
	History     string                         // the file of the prompt's history; "": none
	Divert      func(func()) (giveBack func()) // sends each Ctrl-C to the function, until it is given back
	Report      func(w io.Writer, err error)   // prints an error that does not end the shell
}

// Run runs the sources, or a prompt where there are none and a person is there.
func Run(ctx context.Context, o *Options) error {
	runs, closeAll, err := openSources(o.Sources, o.In)
	if err != nil {
		return err
	}
	defer closeAll()
	sh := &shell{o: o, goOn: o.GoOn, view: o.View}
	if err := sh.connect(ctx); err != nil {
		return err
	}
	defer func() { sh.c.Close() }()
	if len(runs) == 0 && o.Interactive {
		return sh.prompt(ctx, o.History)
	}
	if len(runs) == 0 {
		runs = []run{{lines: newScript(o.In), name: "stdin"}}
	}
	for _, r := range runs {
		if err := sh.run(ctx, &r); err != nil {
			return orNil(err, errQuit)
		}
	}
	return sh.failures()
}

// Source is one -c or -f, in the order of the command line.
type Source struct {
	Text string // the statements, or the name of their file; - is standard input
	File bool
}

// Forms are how results can be printed.
var Forms = []string{"table", "json", "csv"}

// ParseSwitch reads a truth value as psql does.
func ParseSwitch(text string) (bool, error) {
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

// run is a source of statements that is open.
type run struct {
	lines lineSource
	name  string    // for error messages; "" for -c
	data  io.Reader // what COPY FROM STDIN reads; nil: the lines that follow
}

// openSources opens all files before the first statement runs: a name that was mistyped must not leave half the work done.
func openSources(sources []Source, stdin io.Reader) (runs []run, closeAll func(), err error) {
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			f.Close() // only read
		}
	}
	for _, s := range sources {
		switch {
		case !s.File:
			runs = append(runs, run{lines: newScript(strings.NewReader(s.Text)), data: stdin})
		case s.Text == "-":
			runs = append(runs, run{lines: newScript(stdin), name: "stdin"})
		default:
			f, err := os.Open(s.Text)
			if err != nil {
				closeAll()
				return nil, nil, fail.Usagef("--file: %v", err)
			}
			files = append(files, f)
			runs = append(runs, run{lines: newScript(f), name: s.Text})
		}
	}
	return runs, closeAll, nil
}
