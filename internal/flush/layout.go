package flush

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spillwaydb/spillway/internal/hot"
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
var layoutOptions = map[string]func(o *Options, v string) error{
	"path": func(o *Options, v string) error { o.Layout.Path = v; return CheckPath(v) },
	"partition_by": func(o *Options, v string) error {
		o.Layout.PartitionBy = v
		return checkItems(v, func(it item) string {
			switch {
			case it.sorted():
				return "an order belongs into order_by"
			case it.unit != "" && !slices.Contains(units, it.unit):
				return fmt.Sprintf("unknown function %s; known: %s", it.unit, strings.Join(units, ", "))
			}
			return ""
		})
	},
	"order_by": func(o *Options, v string) error {
		o.Layout.OrderBy = v
		return checkItems(v, func(it item) string { return it.noUnit() })
	},
	"bloom": func(o *Options, v string) error {
		o.Layout.Bloom = v
		return checkItems(v, func(it item) string {
			if it.sorted() {
				return "a bloom filter has no order"
			}
			return it.noUnit()
		})
	},
	"file_bytes": func(o *Options, v string) (err error) {
		o.Layout.FileBytes, err = bytesBetween(v, MinFileBytes, MaxFileBytes)
		return
	},
	"row_group_bytes": func(o *Options, v string) (err error) {
		o.Layout.RowGroupBytes, err = bytesBetween(v, MinRowGroupBytes, MaxRowGroupBytes)
		return
	},
	"row_group_rows": func(o *Options, v string) (err error) {
		n, err := intBetween(v, MinRowGroupRows, MaxRowGroupRows)
		o.Layout.RowGroupRows = int64(n)
		return err
	},
	"codec": func(o *Options, v string) error {
		if o.Layout.Codec = v; !slices.Contains(codecs, v) {
			return fmt.Errorf("expected %s", strings.Join(codecs, ", "))
		}
		return nil
	},
}

var (
	units  = []string{hot.UnitYear, hot.UnitMonth, hot.UnitDay, hot.UnitHour}
	codecs = []string{segment.CodecZstd, segment.CodecSnappy, segment.CodecNone}
)

// optionReader finds how the text of a parameter is read.
func optionReader(name string) (func(o *Options, v string) error, bool) {
	if read, ok := options[name]; ok {
		return read, true
	}
	read, ok := layoutOptions[name]
	return read, ok
}

// item is one item of a list.
type item struct {
	text       string // as it stands in the parameter
	column     string
	unit       string // of a time: year, month, day, hour; "": the column itself
	descending bool
	nulls      string // "FIRST", "LAST", or "": PostgreSQL's default
}

func (it item) sorted() bool { return it.descending || it.nulls != "" }

func (it item) noUnit() string {
	if it.unit != "" {
		return "expected a column"
	}
	return ""
}

// name is what a partition column is called: in {column:…}, in directories and in the ledger.
func (it item) name() string {
	if it.unit == "" {
		return it.column
	}
	return it.column + "_" + it.unit
}

// sortKey is the item as PostgreSQL sorts by it.
func (it item) sortKey() hot.SortKey {
	nullsFirst := it.nulls == "FIRST" || it.nulls == "" && it.descending
	return hot.SortKey{Expr: hot.ReturningColumn(it.column), Descending: it.descending, NullsFirst: nullsFirst}
}

// ItemError is an item of a list that cannot be used.
type ItemError struct {
	Item string // as it stands in the parameter
	Msg  string
}

func (e *ItemError) Error() string { return e.Item + ": " + e.Msg }

// checkItems reads a list and says what is wrong with the first item that is not right.
func checkItems(list string, wrong func(item) string) error {
	items, err := readItems(list)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, it := range items {
		msg := wrong(it)
		if msg == "" && seen[it.unit+" "+it.column] {
			msg = "it is given twice"
		}
		if msg != "" {
			return &ItemError{it.text, msg}
		}
		seen[it.unit+" "+it.column] = true
	}
	return nil
}

// readItems reads items joined by ", ": column, unit(column), each with DESC, NULLS FIRST or NULLS LAST behind it where that
// is not the default. Names are quoted as in SQL where they have to be.
func readItems(list string) ([]item, error) {
	if list == "" {
		return nil, nil
	}
	var out []item
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

func readItem(text string) (it item, rest string, err error) {
	name, quoted, rest, err := readName(text)
	if err != nil {
		return it, "", err
	}
	it.column = name
	if inner, ok := strings.CutPrefix(rest, "("); ok && !quoted {
		it.unit = name
		if it.column, _, rest, err = readName(inner); err != nil {
			return it, "", err
		}
		if rest, ok = strings.CutPrefix(rest, ")"); !ok {
			return it, "", fmt.Errorf("expected a closing parenthesis after %s(%s", it.unit, it.column)
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
	it.text = text[:len(text)-len(rest)]
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
