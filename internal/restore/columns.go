package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/segment"
)

// ExtraColumnsError says that a segment has columns which its table does not.
type ExtraColumnsError struct {
	Segment string
	Table   string
	Columns []string
}

func (e *ExtraColumnsError) Error() string {
	names := make([]string, len(e.Columns))
	for i, c := range e.Columns {
		names[i] = fmt.Sprintf("%q", c)
	}
	list := strings.Join(names, ", ")
	return fmt.Sprintf("segment %s has columns that table %s has not: %s; add them, or give them up by WITH (drop_columns = (%s))",
		e.Segment, e.Table, list, strings.Join(e.Columns, ", "))
}

// RefillOf says where each column of a segment goes. Columns are told by their numbers if asItWas, the table that the rows came from,
// is there, and by their names if not. Columns of the table that the segment lacks get their defaults.
func RefillOf(file *File, target, asItWas *hot.Table, opts Options) (*hot.Refill, []int, error) {
	file.Rest = slices.Clone(file.Footer.Columns)
	r := &hot.Refill{
		Schema: target.Schema, Table: target.Name, Predicate: opts.Where, SkipConflicts: opts.SkipConflicts,
	}
	var values []int
	var extra []string
	usable := false
	add := func(f hot.Field, value int) {
		r.Fields = append(r.Fields, f)
		values = append(values, value)
		usable = usable || f.Insert
	}
	for i, c := range file.Footer.Columns {
		now := findColumn(c, target, asItWas)
		if now == nil && !slices.Contains(opts.DropColumns, c.Name) {
			extra = append(extra, c.Name)
			continue
		}
		if now != nil {
			if err := sameAttributes(file, c, now, target, asItWas != nil); err != nil {
				return nil, nil, err
			}
		}
		if now != nil && (opts.Staged() || now.Generated == "") {
			add(hot.Field{Column: now.Name, Insert: now.Generated == ""}, i)
		}
		// What stays cold keeps the type that it has in its file.
		if opts.Staged() && (now == nil || !sameType(c, *now)) && !file.madeAnew(i, now) {
			add(hot.Field{Stage: stageName(target, i), Type: c.Declared}, i)
		}
	}
	if len(extra) > 0 {
		return nil, nil, jobstep.Classified(jobstep.ClassRefused, &ExtraColumnsError{Segment: file.seg.ID.String(), Table: target.Schema + "." + target.Name, Columns: extra})
	}
	if !usable {
		return nil, nil, jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("segment %s has no column in common with table %s.%s", file.seg.ID, target.Schema, target.Name))
	}
	return r, values, nil
}

func findColumn(c segment.Column, target, asItWas *hot.Table) *hot.Column {
	name := c.Name
	if asItWas != nil && c.AttNum > 0 {
		i := slices.IndexFunc(asItWas.Columns, func(k hot.Column) bool { return k.Number == c.AttNum })
		if i < 0 {
			return nil // dropped; one of the same name is another
		}
		name = asItWas.Columns[i].Name
	}
	i := slices.IndexFunc(target.Columns, func(k hot.Column) bool { return k.Name == name })
	if i < 0 {
		return nil
	}
	return &target.Columns[i]
}

// WithoutValue lists the columns of the table that get their defaults.
func WithoutValue(t *hot.Table, r *hot.Refill) (names []string) {
	for _, c := range t.Columns {
		if !slices.ContainsFunc(r.Fields, func(f hot.Field) bool { return f.Column == c.Name }) {
			names = append(names, c.Name)
		}
	}
	return names
}

// sameType reports whether a value's binary form is the same in file and table.
func sameType(c segment.Column, now hot.Column) bool {
	return c.BaseOID == now.BaseOID && c.TypMod == now.TypMod && c.Declared == now.Declared
}

// stageName is a name for column i of a segment that no column of the table has.
func stageName(t *hot.Table, i int) string {
	name := fmt.Sprintf("spillway_file_%d", i+1)
	for slices.ContainsFunc(t.Columns, func(k hot.Column) bool { return k.Name == name }) {
		name += "_"
	}
	return name
}

// Staying lists, for each column of the segment, the expression over the stage that brings it in the form that schema wants.
func Staying(r *hot.Refill, values []int, schema *segment.Schema) []string {
	out := make([]string, len(schema.Columns()))
	for n, f := range r.Fields {
		name := f.Column
		if name == "" {
			name = f.Stage // comes behind the column of the table, and is what the file has
		}
		if i := values[n]; schema.AsText(i) {
			out[i] = hot.ReturningText(name)
		} else {
			out[i] = hot.ReturningColumn(name)
		}
	}
	return out
}
