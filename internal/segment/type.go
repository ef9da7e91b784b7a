package segment

import (
	"fmt"
	"math"
)

// Type is a type inside of a column's: that of an array's elements, or of an attribute of a composite.
type Type struct {
	TypeOID    uint32      `json:"type_oid"` // as declared, a domain's own
	BaseOID    uint32      `json:"base_oid"` // after domains
	TypMod     int32       `json:"typmod"`   // the effective one, after domains
	TypeName   string      `json:"type_name"`
	TypeSchema string      `json:"type_schema,omitempty"`
	TypeKind   string      `json:"type_kind,omitempty"` // pg_type.typtype of the base type
	Declared   string      `json:"declared"`            // format_type of the base type
	Domain     string      `json:"domain,omitempty"`    // the domain, schema-qualified
	Collation  string      `json:"collation,omitempty"`
	Extension  string      `json:"extension,omitempty"`  // the extension that the base type belongs to
	Elem       *Type       `json:"elem,omitempty"`       // of an array
	Attributes []Attribute `json:"attributes,omitempty"` // of a composite
}

// Attribute is a field of a composite type.
type Attribute struct {
	Name   string `json:"name"`
	AttNum int16  `json:"attnum"` // pg_attribute.attnum, which is never used twice in one type
	Type
}

// typeOf is a column's own type.
func typeOf(c *Column) *Type {
	t := &Type{
		TypeOID: c.TypeOID, BaseOID: c.BaseOID, TypMod: c.TypMod, TypeName: c.TypeName, TypeSchema: c.TypeSchema,
		Declared: c.Declared, Domain: c.Domain, Collation: c.Collation, Extension: c.Extension, Elem: c.Elem, Attributes: c.Attributes,
	}
	if c.TypeKind != 0 {
		t.TypeKind = string(rune(c.TypeKind))
	}
	return t
}

// base is the type's oid after domains.
func (t *Type) base() uint32 {
	if t.BaseOID == 0 {
		return t.TypeOID
	}
	return t.BaseOID
}

const (
	maxLeaves = 4096 // of a file: each has an open page
	maxDepth  = 64   // of types in types; Parquet's levels are bytes, and a list takes three
)

// node is a place in the tree of a file's types: a column, an element, an attribute, a key or a value.
type node struct {
	mapping
	typ      *Type
	name     string // of an attribute, "" else
	path     string // names of the attributes that lead here from the column, for errors
	id       int    // Parquet field id; 0: none
	required bool   // a key of a map
	repeated bool   // inside of a list or map
	def      uint8  // definition level of a value that is not NULL
	rep      uint8  // of a list or map: repetition level of all items but the first
	parts    []*node
	first    int // its leaves are first to end-1 of the file's
	end      int
}

// nested reports whether the node has parts, and hence perhaps several leaves.
func (n *node) nested() bool { return len(n.parts) > 0 }

// Parts of one node are numbered in base idBase, and their numbers strung together: unique in the file, and stable as long as
// attribute numbers are.
const (
	idBase    = 2048
	idElement = 2047
	idKey     = 2046
	idValue   = 2045
)

// tree numbers the leaves of a file.
type tree struct {
	roots  []*node
	leaves []*node
}

// newTree lays out the types of columns, which must have passed Schema's checks.
func newTree(cols []Column, ids []int) (*tree, error) {
	t := &tree{}
	for i := range cols {
		c := &cols[i]
		m := mapping{kind: kindText, asText: true}
		if !c.AsText {
			m = mappingOf(typeOf(c))
		}
		root := &node{mapping: m, typ: typeOf(c), id: ids[i]}
		if err := t.grow(root, 0, 0, 0); err != nil {
			return nil, &SchemaError{Column: c.Name, Reason: err.Error()}
		}
		t.roots = append(t.roots, root)
	}
	return t, nil
}

// grow sets n's levels, leaves and parts. def and rep are those of a value of n's parent.
func (t *tree) grow(n *node, def, rep uint8, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("types nested in each other more than %d times are not supported: flush the column as text, by the option as_text", maxDepth)
	}
	n.def, n.first, n.repeated = def+1, len(t.leaves), rep > 0
	if n.required {
		n.def = def
	}
	inner, innerRep := n.def, rep
	switch n.kind {
	case kindGroup:
		for i := range n.typ.Attributes {
			a := &n.typ.Attributes[i]
			n.parts = append(n.parts, n.part(a.Name, &a.Type, int(a.AttNum)))
		}
	case kindList:
		n.rep = rep + 1
		inner, innerRep = n.def+1, n.rep
		n.parts = []*node{n.part("", n.typ.Elem, idElement)}
	case kindMap:
		n.rep = rep + 1
		inner, innerRep = n.def+1, n.rep
		text := &Type{TypeOID: oidText, BaseOID: oidText, TypMod: -1, TypeName: "text", Declared: "text"}
		key := n.part("", text, idKey)
		key.required = true
		n.parts = []*node{key, n.part("", text, idValue)}
	default:
		if len(t.leaves) == maxLeaves {
			return fmt.Errorf("the table's columns and the parts of their types are more than %d: flush columns as text, by the option as_text", maxLeaves)
		}
		t.leaves = append(t.leaves, n)
	}
	for _, p := range n.parts {
		if err := t.grow(p, inner, innerRep, depth+1); err != nil {
			return err
		}
	}
	n.end = len(t.leaves)
	return nil
}

// part makes a part of n.
func (n *node) part(name string, typ *Type, number int) *node {
	p := &node{mapping: mappingOf(typ), typ: typ, name: name, path: n.path}
	if name != "" {
		if p.path != "" {
			p.path += "."
		}
		p.path += name
	}
	if id := n.id*idBase + number; n.id > 0 && number > 0 && id <= math.MaxInt32 {
		p.id = id
	}
	return p
}

// Nested reports whether a column is stored as a list, a group or a map, and not as one value.
func (c *Column) Nested() bool {
	if c.AsText {
		return false
	}
	switch mappingOf(typeOf(c)).kind {
	case kindList, kindGroup, kindMap:
		return true
	}
	return false
}

// Type is the column's own type.
func (c *Column) Type() *Type { return typeOf(c) }
