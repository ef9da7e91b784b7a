package show

import (
	"encoding/csv"
	"io"
)

// View says how results are printed.
type View struct {
	Form     string // table, json or csv
	Expanded Expansion
	Null     string     // stands for NULL
	Width    func() int // of the terminal; 0: there is none
}

// Sink makes the sink of one statement's results.
func (v *View) Sink(w io.Writer) Sink {
	switch v.Form {
	case "json":
		return &JSON{W: w}
	case "csv":
		return &CSV{W: csv.NewWriter(w), Null: v.Null}
	}
	return &Table{W: w, Width: v.Width(), Expanded: v.Expanded, Null: v.Null}
}
