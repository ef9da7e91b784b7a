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
}

// newLayout builds a file's schema. Every column is optional, NOT NULL or not: PostgreSQL 18 has NOT NULL constraints that
// older rows need not keep, and files of all schema versions have to fit each other. dict says which columns get a dictionary.
func newLayout(s *Schema, dict []bool) *layout {
	l := &layout{leaves: make([]*leafType, len(s.columns))}
	group := &orderedGroup{}
	ids := FieldIDs(s.columns)
	for i, c := range s.columns {
		m := s.mappings[i]
		node := m.node()
		if kind, ok := m.ownBounds(); ok {
			l.leaves[i] = &leafType{Type: node.Type(), bounds: &bounds{kind: kind}}
			node = parquet.Leaf(l.leaves[i])
		}
		node = parquet.Encoded(node, encodingFor(m, dict[i]))
		node = parquet.FieldID(parquet.Optional(node), ids[i])
		group.fields = append(group.fields, &orderedField{Node: node, name: c.Name})
		l.paths = append(l.paths, []string{c.Name})
	}
	l.schema = parquet.NewSchema("segment", group)
	return l
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

// sampleDictionaries looks at the first batch and says which columns a dictionary pays for.
func sampleDictionaries(s *Schema, scan *scanner) []bool {
	dict := make([]bool, len(s.columns))
	for i, m := range s.mappings {
		switch {
		case m.kind == kindEnum:
			dict[i] = true
		case m.kind == kindText || m.kind == kindChar:
			dict[i] = scan.rows >= sampleRows && repeats(scan, scan.column(i))
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
