package command

import (
	"encoding/csv"
	"io"
	"os"

	"golang.org/x/term"
)

// view says how the prompt and scripts print results.
type view struct {
	form     string // of sqlForms
	expanded expansion
	null     string
	width    func() int // of the terminal; 0: there is none
}

// sink makes the sink of one statement's results.
func (v *view) sink(w io.Writer) sink {
	switch v.form {
	case "json":
		return &jsonSink{w: w}
	case "csv":
		return &csvSink{w: csv.NewWriter(w), null: v.null}
	}
	return &tableSink{w: w, width: v.width(), expanded: v.expanded, null: v.null}
}

// terminalWidth asks again each time: windows change their size.
func terminalWidth(env *Env) func() int {
	return func() int {
		if out, ok := env.Stdout.(*os.File); ok && env.Width > 0 {
			if w, _, err := term.GetSize(int(out.Fd())); err == nil && w > 0 {
				return w
			}
		}
		return env.Width
	}
}
