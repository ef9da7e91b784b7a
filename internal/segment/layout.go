package segment

import (
	"reflect"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
)

// orderedGroup is a Parquet group whose fields keep their order; parquet.Group sorts them by name.
type orderedGroup struct {
	parquet.Group // empty: for the methods that all groups share
	fields        []parquet.Field
}

func (g *orderedGroup) Fields() []parquet.Field { return g.fields }

// GoType is asked for by code paths that turn rows into Go structs, which we never take.
func (g *orderedGroup) GoType() reflect.Type { return reflect.TypeFor[struct{}]() }

type orderedField struct {
	parquet.Node
	name string
}

func (f *orderedField) Name() string                      { return f.name }
func (f *orderedField) Value(reflect.Value) reflect.Value { return reflect.Value{} }

// layout is the Parquet schema of one file, with the types whose bounds are ours.
type layout struct {
	schema *parquet.Schema
	leaves []*leafType // nil where parquet-go's own bounds do
	paths  [][]string
	dict   []bool
}

// newLayout builds a file's schema. Every column is optional, NOT NULL or not: PostgreSQL 18 has NOT NULL constraints that
// older rows need not keep, and files of all schema versions have to fit each other. dict says which leaves get a dictionary.
func newLayout(s *Schema, dict []bool) *layout {
	n := len(s.tree.leaves)
	l := &layout{leaves: make([]*leafType, n), paths: make([][]string, n), dict: dict}
	group := &orderedGroup{}
	for i, c := range s.columns {
		node := l.build(s.tree.roots[i], []string{c.Name})
		group.fields = append(group.fields, &orderedField{Node: node, name: c.Name})
	}
	l.schema = parquet.NewSchema("segment", group)
	return l
}

// build makes the Parquet node of n, which lies at path.
func (l *layout) build(n *node, path []string) parquet.Node {
	within := func(names ...string) []string { return append(path[:len(path):len(path)], names...) }
	var out parquet.Node
	switch n.kind {
	case kindList:
		out = parquet.List(l.build(n.parts[0], within("list", "element")))
	case kindMap:
		out = parquet.Map(l.build(n.parts[0], within("key_value", "key")), l.build(n.parts[1], within("key_value", "value")))
	case kindGroup:
		group := &orderedGroup{}
		for _, p := range n.parts {
			group.fields = append(group.fields, &orderedField{Node: l.build(p, within(p.name)), name: p.name})
		}
		out = group
	default:
		out = n.mapping.node()
		if kind, ok := n.ownBounds(); ok {
			l.leaves[n.first] = &leafType{Type: out.Type(), bounds: &bounds{kind: kind}}
			out = parquet.Leaf(l.leaves[n.first])
		}
		out = parquet.Encoded(out, encodingFor(n.mapping, l.dict[n.first]))
		l.paths[n.first] = path
	}
	if !n.required {
		out = parquet.Optional(out)
	}
	if n.id > 0 {
		out = parquet.FieldID(out, n.id)
	}
	return out
}

// plainNode is n's Parquet node without what one file adds.
func plainNode(n *node) parquet.Node {
	switch n.kind {
	case kindList:
		return parquet.List(parquet.Optional(plainNode(n.parts[0])))
	case kindMap:
		return parquet.Map(plainNode(n.parts[0]), parquet.Optional(plainNode(n.parts[1])))
	case kindGroup:
		group := &orderedGroup{}
		for _, p := range n.parts {
			group.fields = append(group.fields, &orderedField{Node: parquet.Optional(plainNode(p)), name: p.name})
		}
		return group
	}
	return n.mapping.node()
}

// ownBounds says whether parquet-go's bounds do not do for a column, and why.
func (m mapping) ownBounds() (boundsKind, bool) {
	switch m.kind {
	case kindDecimal128:
		return boundsOfDecimals, true
	case kindFloat32, kindFloat64:
		return boundsOfFloats, true
	}
	return boundsOfStrings, m.varlen()
}

// encodingFor chooses a column's encoding.
func encodingFor(m mapping, dict bool) encoding.Encoding {
	switch m.kind {
	case kindInt16, kindInt32, kindInt64, kindOID, kindDecimal32, kindDecimal64, kindDate, kindTime, kindTimestamp, kindTimestampTZ:
		return &parquet.DeltaBinaryPacked
	}
	switch {
	case dict:
		return &parquet.RLEDictionary
	case m.varlen():
		return &parquet.DeltaLengthByteArray
	}
	return &parquet.Plain
}

const (
	sampleRows      = 16  // fewer rows say nothing about a column
	dictValueBytes  = 128 // longer values than this on average make a poor dictionary
	dictRepetitions = 4   // each value has to occur so often in the sample
)

// sampleDictionaries looks at the first batch and says which leaves a dictionary pays for.
func (e *encoder) sampleDictionaries() []bool {
	dict := make([]bool, len(e.columns))
	for i, root := range e.schema.tree.roots {
		if root.nested() {
			// A value that cannot be walked is reported when the batch is encoded.
			if err := e.walkColumn(i); err != nil {
				continue
			}
		}
		for _, n := range e.schema.tree.leaves[root.first:root.end] {
			cells := e.columns[n.first].cells
			if !root.nested() {
				cells = e.scan.column(i)
			}
			switch n.kind {
			case kindEnum:
				dict[n.first] = true
			case kindText, kindChar:
				dict[n.first] = len(cells) >= sampleRows && repeats(e.scan, cells)
			}
		}
	}
	return dict
}

// repeats reports whether few distinct short values fill the cells.
func repeats(scan *scanner, cells []cell) bool {
	distinct := make(map[string]struct{})
	size, n := 0, 0
	for _, c := range cells {
		if c.len < 0 {
			continue
		}
		n++
		size += int(c.len)
		if size > (n+1)*dictValueBytes*4 {
			return false
		}
		distinct[string(scan.bytes(c))] = struct{}{}
		if len(distinct)*dictRepetitions > len(cells) {
			return false
		}
	}
	return n > 0 && size <= n*dictValueBytes && len(distinct)*dictRepetitions <= n
}
