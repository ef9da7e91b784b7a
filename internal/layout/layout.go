package layout

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/option"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Bounds of the options of a layout.
const (
	MinFileBytes     = 64 << 10
	MaxFileBytes     = 16 << 30
	MinRowGroupBytes = 64 << 10
	MaxRowGroupBytes = 256 << 20 // it is memory of the worker, for each chunk that runs
	MinRowGroupRows  = 256
	MaxRowGroupRows  = 10_000_000
	maxItems         = 32 // of a list
)

// Layout says how a flush lays rows out in files. The zero value is one file per chunk, in the order in which PostgreSQL gives
// the rows. Lists are kept as their parameters are written: see readItems.
type Layout struct {
	Path          string // template; "": the storage's, or DefaultPath
	PartitionBy   string // columns, and year, month, day or hour of columns
	OrderBy       string // columns, with DESC and NULLS FIRST or LAST
	Bloom         string // columns
	FileBytes     int64  // a file ends when it is about so large; 0: with its chunk
	RowGroupBytes int64  // 0: the default of package segment
	RowGroupRows  int64
	Codec         string // "": zstd
}

// layoutOptions holds, for each parameter of a layout, how its text is read.
var layoutOptions = map[string]func(l *Layout, v string) error{
	"path": func(l *Layout, v string) error { l.Path = v; return CheckPath(v) },
	"partition_by": func(l *Layout, v string) error {
		l.PartitionBy = v
		return checkItems(v, func(it Item) string {
			switch {
			case it.sorted():
				return "an order belongs into order_by"
			case it.Unit != "" && !slices.Contains(units, it.Unit):
				return fmt.Sprintf("unknown function %s; known: %s", it.Unit, strings.Join(units, ", "))
			}
			return ""
		})
	},
	"order_by": func(l *Layout, v string) error {
		l.OrderBy = v
		return checkItems(v, func(it Item) string { return it.noUnit() })
	},
	"bloom": func(l *Layout, v string) error {
		l.Bloom = v
		return checkItems(v, func(it Item) string {
			if it.sorted() {
				return "a bloom filter has no order"
			}
			return it.noUnit()
		})
	},
	"file_bytes": func(l *Layout, v string) (err error) {
		l.FileBytes, err = option.Bytes(v, MinFileBytes, MaxFileBytes)
		return
	},
	"row_group_bytes": func(l *Layout, v string) (err error) {
		l.RowGroupBytes, err = option.Bytes(v, MinRowGroupBytes, MaxRowGroupBytes)
		return
	},
	"row_group_rows": func(l *Layout, v string) (err error) {
		n, err := option.Int(v, MinRowGroupRows, MaxRowGroupRows)
		l.RowGroupRows = int64(n)
		return err
	},
	"codec": func(l *Layout, v string) error {
		if l.Codec = v; !slices.Contains(codecs, v) {
			return fmt.Errorf("expected %s", strings.Join(codecs, ", "))
		}
		return nil
	},
}

var (
	units  = []string{hot.UnitYear, hot.UnitMonth, hot.UnitDay, hot.UnitHour}
	codecs = []string{segment.CodecZstd, segment.CodecSnappy, segment.CodecNone}
)

// Option finds how the text of a parameter of a layout is read.
func Option(name string) (read func(l *Layout, v string) error, known bool) {
	read, known = layoutOptions[name]
	return read, known
}

// OptionNames lists the parameters of a layout, in no order.
func OptionNames() (names []string) {
	for name := range layoutOptions {
		names = append(names, name)
	}
	return names
}

// Item is one item of a list.
type Item struct {
	Text       string // as it stands in the parameter
	Column     string
	Unit       string // of a time: year, month, day, hour; "": the column itself
	descending bool
	nulls      string // "FIRST", "LAST", or "": PostgreSQL's default
}

func (it Item) sorted() bool { return it.descending || it.nulls != "" }

func (it Item) noUnit() string {
	if it.Unit != "" {
		return "expected a column"
	}
	return ""
}

// name is what a partition column is called: in {column:…}, in directories and in the ledger.
func (it Item) name() string {
	if it.Unit == "" {
		return it.Column
	}
	return it.Column + "_" + it.Unit
}

// sortKey is the item as PostgreSQL sorts by it.
func (it Item) sortKey() hot.SortKey {
	nullsFirst := it.nulls == "FIRST" || it.nulls == "" && it.descending
	return hot.SortKey{Expr: hot.ReturningColumn(it.Column), Descending: it.descending, NullsFirst: nullsFirst}
}

// ItemError is an item of a list that cannot be used.
type ItemError struct {
	Item string // as it stands in the parameter
	Msg  string
}

func (e *ItemError) Error() string { return e.Item + ": " + e.Msg }

// OptionError is an error about the value of a parameter.
func OptionError(name, value string, err error) *option.Error {
	e := &option.Error{Option: name, Msg: fmt.Sprintf("option %s = %s: %v", name, strconv.Quote(value), err)}
	var it *ItemError
	var path *PathError
	switch {
	case errors.As(err, &it):
		e.Item, e.Msg = it.Item, fmt.Sprintf("option %s: %v", name, err)
	case errors.As(err, &path):
		e.Msg = fmt.Sprintf("option %s: %v", name, err)
	}
	e.Hint = layoutHints[name]
	return e
}

// layoutHints say what fits, where the message says what does not.
var layoutHints = map[string]string{
	"partition_by": "an item is a column of the table, or year, month, day or hour of a column of times",
	"order_by":     "an item is a column of the table whose type has an order, with DESC, NULLS FIRST or NULLS LAST behind it",
	"bloom":        "an item is a column of the table that holds single values, and no boolean",
	"path":         "for example '{namespace}/{table}/{partition}'; {column:name} names an item of partition_by",
}

// Columns reads a list of columns.
func Columns(v string) ([]string, error) {
	items, err := readItems(v)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, it := range items {
		if it.sorted() || it.Unit != "" {
			return nil, fmt.Errorf("%s: expected a column", it.Text)
		}
		if !slices.Contains(names, it.Column) {
			names = append(names, it.Column)
		}
	}
	return names, nil
}

// checkItems reads a list and says what is wrong with the first item that is not right.
func checkItems(list string, wrong func(Item) string) error {
	items, err := readItems(list)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, it := range items {
		msg := wrong(it)
		if msg == "" && seen[it.Unit+" "+it.Column] {
			msg = "it is given twice"
		}
		if msg != "" {
			return &ItemError{it.Text, msg}
		}
		seen[it.Unit+" "+it.Column] = true
	}
	return nil
}

// readItems reads items joined by ", ": column, unit(column), each with DESC, NULLS FIRST or NULLS LAST behind it where that
// is not the default. Names are quoted as in SQL where they have to be.
func readItems(list string) ([]Item, error) {
	if list == "" {
		return nil, nil
	}
	var out []Item
	for rest := list; ; {
		it, after, err := readItem(rest)
		if err != nil {
			return nil, err
		}
		out = append(out, it)
		if len(out) > maxItems {
			return nil, fmt.Errorf("more than %d items", maxItems)
		}
		if after == "" {
			return out, nil
		}
		next, ok := strings.CutPrefix(after, ",")
		if !ok {
			return nil, fmt.Errorf("unexpected %q in a list", after)
		}
		rest = strings.TrimLeft(next, " ")
	}
}

func readItem(text string) (it Item, rest string, err error) {
	name, quoted, rest, err := readName(text)
	if err != nil {
		return it, "", err
	}
	it.Column = name
	if inner, ok := strings.CutPrefix(rest, "("); ok && !quoted {
		it.Unit = name
		if it.Column, _, rest, err = readName(inner); err != nil {
			return it, "", err
		}
		if rest, ok = strings.CutPrefix(rest, ")"); !ok {
			return it, "", fmt.Errorf("expected a closing parenthesis after %s(%s", it.Unit, it.Column)
		}
	}
	for _, word := range []struct {
		text string
		set  func()
	}{
		{" ASC", func() {}},
		{" DESC", func() { it.descending = true }},
		{" NULLS FIRST", func() { it.nulls = "FIRST" }},
		{" NULLS LAST", func() { it.nulls = "LAST" }},
	} {
		if after, ok := strings.CutPrefix(rest, word.text); ok {
			word.set()
			rest = after
		}
	}
	it.Text = text[:len(text)-len(rest)]
	return it, rest, nil
}

// readName reads a name as SQL writes it.
func readName(text string) (name string, quoted bool, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, `,() "`)
		if end < 0 {
			end = len(text)
		}
		if end == 0 {
			return "", false, "", fmt.Errorf("expected a column's name at %s", strconv.Quote(text))
		}
		return text[:end], false, text[end:], nil
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '"':
		case i+1 < len(text) && text[i+1] == '"':
			i++
		default:
			return strings.ReplaceAll(text[1:i], `""`, `"`), true, text[i+1:], nil
		}
	}
	return "", true, "", fmt.Errorf("a quoted name has no end: %s", text)
}
