package layout

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/segment"
)

// maxPartitionItems bounds partition_by: each may be a directory, and a key has 1024 bytes.
const maxPartitionItems = 8

// Arrangement is a layout, read and with its template settled.
type Arrangement struct {
	Layout    Layout
	path      *pathTemplate
	Partition []Item
	order     []Item
	bloom     []string
}

// Arrange reads a layout. template is the one that holds where the layout has none. The error is *option.Error.
func Arrange(l Layout, template string) (*Arrangement, error) {
	if l.Path != "" {
		template = l.Path
	}
	a := &Arrangement{Layout: l}
	var err error
	if a.path, err = readPath(template); err != nil {
		return nil, OptionError("path", template, err)
	}
	for _, list := range []struct {
		name, text string
		to         *[]Item
	}{{"partition_by", l.PartitionBy, &a.Partition}, {"order_by", l.OrderBy, &a.order}} {
		if *list.to, err = readItems(list.text); err != nil {
			return nil, OptionError(list.name, list.text, err)
		}
	}
	if len(a.Partition) > maxPartitionItems {
		return nil, OptionError("partition_by", l.PartitionBy, fmt.Errorf("more than %d items", maxPartitionItems))
	}
	blooms, err := readItems(l.Bloom)
	if err != nil {
		return nil, OptionError("bloom", l.Bloom, err)
	}
	for _, it := range blooms {
		a.bloom = append(a.bloom, it.Column)
	}
	return a, a.checkVars()
}

// Template is the template that holds.
func (a *Arrangement) Template() string { return a.path.text }

// Sorted reports whether PostgreSQL sorts the rows of each chunk.
func (a *Arrangement) Sorted() bool { return len(a.Partition)+len(a.order) > 0 }

// checkVars says which variable of the template has nothing to stand for.
func (a *Arrangement) checkVars() error {
	names := map[string]bool{}
	for _, it := range a.Partition {
		if names[it.name()] {
			return OptionError("partition_by", "", &ItemError{it.Text, fmt.Sprintf("two items are called %q", it.name())})
		}
		names[it.name()] = true
	}
	fail := func(format string, args ...any) error {
		return OptionError("path", a.path.text, &PathError{a.path.text, fmt.Sprintf(format, args...)})
	}
	for _, name := range a.path.vars() {
		column, isColumn := strings.CutPrefix(name, "column:")
		switch {
		case isColumn && a.find(column) < 0:
			return fail("{%s} names no item of partition_by%s", name, a.knownItems())
		case name == "shard" && len(a.Partition) == 0:
			return fail("{shard} spreads the values of partition_by, which is not given")
		case name == "mm" && a.timed() >= 0 && a.Partition[a.timed()].Unit == hot.UnitYear,
			name == "dd" && a.timed() >= 0 && !slices.Contains([]string{hot.UnitDay, hot.UnitHour}, a.Partition[a.timed()].Unit):
			return fail("{%s} is finer than %s of partition_by", name, a.Partition[a.timed()].Text)
		}
	}
	return nil
}

func (a *Arrangement) knownItems() string {
	var names []string
	for _, it := range a.Partition {
		names = append(names, "{column:"+it.name()+"}")
	}
	if len(names) == 0 {
		return ", which is not given"
	}
	return "; known: " + strings.Join(names, " ")
}

// find finds the item that {column:name} means: by its own name, or by its column's if no other item has that column.
func (a *Arrangement) find(name string) int {
	if i := slices.IndexFunc(a.Partition, func(it Item) bool { return it.name() == name }); i >= 0 {
		return i
	}
	found := -1
	for i, it := range a.Partition {
		if it.Column == name {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// timed is the finest item that cuts times, or -1: what {yyyy}, {mm} and {dd} come from.
func (a *Arrangement) timed() int {
	best, index := -1, -1
	for i, it := range a.Partition {
		if n := slices.Index(units, it.Unit); n > best {
			best, index = n, i
		}
	}
	return index
}

// Check says why the layout does not fit a table. The error is *option.Error.
func (a *Arrangement) Check(t *hot.Table, schema *segment.Schema) error {
	for _, it := range a.Partition {
		if _, err := keyExpr(t, it); err != nil {
			return OptionError("partition_by", "", &ItemError{it.Text, err.Error()})
		}
	}
	for _, it := range a.order {
		if _, ok := t.Column(it.Column); !ok {
			return OptionError("order_by", "", &ItemError{it.Text, noColumn(it.Column)})
		}
	}
	for _, name := range a.bloom {
		if _, ok := t.Column(name); !ok {
			return OptionError("bloom", "", &ItemError{blooming(a.Layout.Bloom, name), noColumn(name)})
		}
		if err := schema.CanBloom(name); err != nil {
			return OptionError("bloom", "", &ItemError{blooming(a.Layout.Bloom, name), err.Error()})
		}
	}
	return nil
}

func noColumn(name string) string { return fmt.Sprintf("column %q does not exist", name) }

// blooming is how a column is written in the list.
func blooming(list, column string) string {
	items, _ := readItems(list) // it was read before
	for _, it := range items {
		if it.Column == column {
			return it.Text
		}
	}
	return column
}

// keyExpr is the expression whose values an item keeps apart.
func keyExpr(t *hot.Table, it Item) (string, error) {
	if it.Unit != "" {
		return t.TruncatedText(it.Column, it.Unit)
	}
	if _, ok := t.Column(it.Column); !ok {
		return "", fmt.Errorf("%s", noColumn(it.Column))
	}
	return hot.ReturningText(it.Column), nil
}

// SortOf puts into a move what the layout wants of its rows.
func (a *Arrangement) SortOf(m *hot.Move, t *hot.Table) error {
	for _, it := range a.Partition {
		expr, err := keyExpr(t, it)
		if err != nil {
			return err
		}
		m.Keys = append(m.Keys, expr)
	}
	for _, it := range a.order {
		m.Sort = append(m.Sort, it.sortKey())
	}
	return nil
}

// WriterOptions is the layout as package segment takes it.
func (a *Arrangement) WriterOptions() *segment.WriterOptions {
	o := &segment.WriterOptions{RowGroupRows: a.Layout.RowGroupRows, RowGroupBytes: a.Layout.RowGroupBytes, Codec: a.Layout.Codec, Bloom: a.bloom}
	for _, it := range a.order {
		key := it.sortKey()
		o.Sorted = append(o.Sorted, segment.SortedBy{Column: it.Column, Descending: key.Descending, NullsFirst: key.NullsFirst})
	}
	return o
}

// Codec is the name of the codec that the layout means.
func (a *Arrangement) Codec() string {
	if a.Layout.Codec == "" {
		return segment.CodecZstd
	}
	return a.Layout.Codec
}

// Cuts reports whether a chunk may become more than one file.
func (a *Arrangement) Cuts() bool { return len(a.Partition) > 0 || a.Layout.FileBytes > 0 }

// Scatters reports whether directories depend on values of rows.
func (a *Arrangement) Scatters() bool {
	if len(a.Partition) == 0 {
		return false
	}
	return slices.ContainsFunc(a.path.vars(), func(name string) bool {
		switch name {
		case "partition", "shard":
			return true
		case "yyyy", "mm", "dd":
			return a.timed() >= 0
		}
		return strings.HasPrefix(name, "column:")
	})
}

// Place is what a directory depends on beside values of rows.
type Place struct {
	Namespace, Table string
	Leaf             string // the partition's name, or ""
	Job              string
	Asked            time.Time
}

// Dir is the directory of the files of one value. A nil value is NULL.
func (a *Arrangement) Dir(p Place, values []*string) (string, error) {
	return a.path.expand(func(name string) pathValue { return a.value(p, name, values) })
}

// DirForPeople is the directory with each value's name in its place.
func (a *Arrangement) DirForPeople(p Place) (string, error) {
	return a.path.expand(func(name string) pathValue {
		i := a.timed()
		switch column, isColumn := strings.CutPrefix(name, "column:"); {
		case isColumn:
			return pathValue{raw: true, text: "<" + a.Partition[a.find(column)].name() + ">"}
		case name == "job" && p.Job == "", name == "shard", i >= 0 && (name == "yyyy" || name == "mm" || name == "dd"):
			return pathValue{raw: true, text: "<" + name + ">"}
		case name == "partition":
			dirs := leafDirs(p.Leaf)
			for _, it := range a.Partition {
				dirs = append(dirs, escapePath(it.name(), false)+"=<"+it.name()+">")
			}
			return pathValue{dirs: dirs}
		}
		return a.value(p, name, nil)
	})
}

// value is what a variable stands for. A template that does not scatter asks for none that needs values.
func (a *Arrangement) value(p Place, name string, values []*string) pathValue {
	if column, ok := strings.CutPrefix(name, "column:"); ok {
		i := a.find(column)
		return shown(a.Partition[i], values[i])
	}
	switch name {
	case "namespace":
		return pathValue{text: p.Namespace}
	case "table":
		return pathValue{text: p.Table}
	case "job":
		return pathValue{text: p.Job}
	case "shard":
		return pathValue{text: shardOf(values)}
	case "partition":
		dirs := leafDirs(p.Leaf)
		for i, it := range a.Partition {
			dirs = append(dirs, short(escapePath(it.name(), false), maxValueBytes/2)+"="+hiveName(shown(it, values[i])))
		}
		return pathValue{dirs: dirs}
	}
	if i := a.timed(); i >= 0 {
		return datePart(values[i], name)
	}
	return pathValue{text: p.Asked.UTC().Format(map[string]string{"yyyy": "2006", "mm": "01", "dd": "02"}[name])}
}

// ValuesJSON is what the ledger keeps of a file's values: an object by the items' names, of texts and nulls.
func (a *Arrangement) ValuesJSON(values []*string) (json.RawMessage, error) {
	if len(a.Partition) == 0 {
		return nil, nil
	}
	m := make(map[string]*string, len(values))
	for i, it := range a.Partition {
		v := shown(it, values[i])
		if m[it.name()] = nil; !v.null {
			m[it.name()] = &v.text
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write partition values: %w", err)
	}
	return text, nil
}

// hiveName is a value behind name=, where nothing is a name too.
func hiveName(v pathValue) string {
	if !v.null && v.text == "" {
		return ""
	}
	return nameOf(v)
}

func leafDirs(leaf string) []string {
	if leaf == "" {
		return []string{}
	}
	return []string{nameOf(pathValue{text: leaf})}
}

// shardOf spreads values over 256 directories.
func shardOf(values []*string) string {
	h := sha256.New()
	for _, v := range values {
		if v == nil {
			h.Write([]byte{0, 0})
			continue
		}
		h.Write([]byte{1})
		h.Write([]byte(*v))
		h.Write([]byte{0})
	}
	return fmt.Sprintf("%02x", h.Sum(nil)[0])
}

// shown is the value of an item as people and paths have it: 2026, 2026-01, 2026-01-31, 2026-01-31T17.
func shown(it Item, v *string) pathValue {
	if v == nil {
		return pathValue{null: true}
	}
	if it.Unit == "" {
		return pathValue{text: *v}
	}
	y, m, d, h, era, ok := splitTime(*v)
	if !ok {
		return pathValue{text: *v}
	}
	switch it.Unit {
	case hot.UnitYear:
		return pathValue{text: y + era}
	case hot.UnitMonth:
		return pathValue{text: y + "-" + m + era}
	case hot.UnitHour:
		return pathValue{text: y + "-" + m + "-" + d + "T" + h + era}
	}
	return pathValue{text: y + "-" + m + "-" + d + era}
}

// datePart is {yyyy}, {mm} or {dd} of a time.
func datePart(v *string, name string) pathValue {
	if v == nil {
		return pathValue{null: true}
	}
	y, m, d, _, era, ok := splitTime(*v)
	switch {
	case !ok: // infinity
		return pathValue{text: *v}
	case name == "yyyy":
		return pathValue{text: y + era}
	case name == "mm":
		return pathValue{text: m}
	}
	return pathValue{text: d}
}

// splitTime takes a date or timestamp of PostgreSQL's ISO output apart.
func splitTime(text string) (y, m, d, h, era string, ok bool) {
	if before, found := strings.CutSuffix(text, " BC"); found {
		text, era = before, " BC"
	}
	date, clock, _ := strings.Cut(text, " ")
	parts := strings.Split(date, "-")
	if len(parts) != 3 {
		return "", "", "", "", "", false
	}
	h, _, _ = strings.Cut(clock, ":")
	return parts[0], parts[1], parts[2], h, era, true
}
