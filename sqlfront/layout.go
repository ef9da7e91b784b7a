package sqlfront

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// layoutOptions are the options of FLUSH that say how rows are laid out in files. What they mean for a table, the planner
// knows.
var layoutOptions = []option{
	{"bloom", list},
	{"codec", oneOf("zstd", "snappy", "none")},
	{"file_bytes", size},
	{"order_by", list},
	{"partition_by", list},
	{"path", anything},
	{"row_group_bytes", size},
	{"row_group_rows", between(256, 10_000_000)},
}

// listOptions are the options that take a list. The function says what is wrong with an item, or "".
var listOptions = map[string]func(parse.ListItem) string{
	"drop_columns": plainColumn,
	"as_text":      plainColumn,
	"bloom":        plainColumn,
	"order_by": func(it parse.ListItem) string {
		if it.Function != "" {
			return "expected a column"
		}
		return ""
	},
	"partition_by": func(it parse.ListItem) string {
		switch {
		case it.Function != "" && !slices.Contains(timeUnits, it.Function):
			return "expected a column, or year, month, day or hour of one"
		case it.Descending || it.Nulls != "":
			return "an order belongs into order_by"
		}
		return ""
	},
}

var timeUnits = []string{"year", "month", "day", "hour"}

func plainColumn(it parse.ListItem) string {
	if it.Function != "" || it.Descending || it.Nulls != "" {
		return "expected a column"
	}
	return ""
}

// list refuses a text where a list is wanted: lists do not come here.
func list(text string) (string, error) {
	return "", &pgwire.Error{Code: codeInvalidValue, Message: fmt.Sprintf("expected a list in parentheses, not \"%s\"", text), Hint: "write (a, b)"}
}

// readList checks an option that was given as a list, and returns its parameter.
func readList(o parse.Option) (string, error) {
	wrong, ok := listOptions[o.Name]
	if !ok {
		return "", &pgwire.Error{Code: codeInvalidValue, Position: o.ValuePos, Message: fmt.Sprintf("invalid value for option \"%s\": expected one value, not a list", o.Name)}
	}
	seen := map[[2]string]bool{}
	for _, it := range o.List {
		msg := wrong(it)
		if msg == "" && seen[[2]string{it.Function, it.Name}] {
			msg = "it is given twice"
		}
		if msg != "" {
			return "", &pgwire.Error{Code: codeInvalidValue, Position: it.Pos, Message: fmt.Sprintf("invalid value for option \"%s\": %s: %s", o.Name, it, msg)}
		}
		seen[[2]string{it.Function, it.Name}] = true
	}
	return o.Value, nil
}

// blame returns the place in a WITH list that an error is about, or pos.
func blame(err error, opts []parse.Option, pos int) int {
	var spec *jobmanager.SpecError
	var wire *pgwire.Error
	if errors.As(err, &wire) {
		return wire.Position
	}
	if !errors.As(err, &spec) {
		return pos
	}
	for _, o := range opts {
		if o.Name != spec.Param {
			continue
		}
		pos = o.ValuePos
		for _, it := range o.List {
			if spec.Item != "" && it.String() == spec.Item {
				return it.Pos
			}
		}
	}
	return pos
}
