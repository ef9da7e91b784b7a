package segment

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Column is a table's column, as far as a file must know it to rebuild the table.
type Column struct {
	Name       string `json:"name"`
	TypeOID    uint32 `json:"type_oid"`              // as declared, a domain's own
	BaseOID    uint32 `json:"base_oid"`              // after domains
	TypMod     int32  `json:"typmod"`                // the effective one, after domains
	TypeName   string `json:"type_name"`             // pg_type.typname of the base type
	TypeSchema string `json:"type_schema,omitempty"` // its schema
	TypeKind   byte   `json:"type_kind,omitempty"`   // pg_type.typtype of the base type: b c d e m p r
	Declared   string `json:"declared"`              // format_type, for example "numeric(12,2)"
	Domain     string `json:"domain,omitempty"`      // the domain, schema-qualified
	Collation  string `json:"collation,omitempty"`
	NotNull    bool   `json:"not_null,omitempty"`
	HasElem    bool   `json:"has_elem,omitempty"` // an array
	Key        bool   `json:"key,omitempty"`      // part of the primary key
	AttNum     int16  `json:"attnum,omitempty"`   // pg_attribute.attnum; the Parquet field id, so that a renamed column keeps it

	Extension  string      `json:"extension,omitempty"`  // the extension that the base type belongs to
	Elem       *Type       `json:"elem,omitempty"`       // of an array
	Attributes []Attribute `json:"attributes,omitempty"` // of a composite
	AsText     bool        `json:"as_text,omitempty"`    // stored as text although its type has a mapping
}

// columnJSON is a Column without its methods.
type columnJSON Column

// MarshalJSON writes the type's kind as the letter that it is.
func (c Column) MarshalJSON() ([]byte, error) {
	v := struct {
		columnJSON
		TypeKind string `json:"type_kind,omitempty"`
	}{columnJSON: columnJSON(c)}
	if c.TypeKind != 0 {
		v.TypeKind = string(rune(c.TypeKind))
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Column) UnmarshalJSON(b []byte) error {
	v := struct {
		*columnJSON
		TypeKind string `json:"type_kind"`
	}{columnJSON: (*columnJSON)(c)}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	c.TypeKind = 0
	if len(v.TypeKind) == 1 {
		c.TypeKind = v.TypeKind[0]
	}
	return nil
}

// What happens to a value that its Parquet type cannot hold.
const (
	UnrepresentableFail = "error" // the Writer fails with *UnrepresentableError
	UnrepresentableNull = "null"  // NULL is written
)

// SchemaOptions change how a Schema reads the stream. The zero value is fine.
type SchemaOptions struct {
	// CheckUTF8 refuses text that is not valid UTF-8: for databases whose encoding is SQL_ASCII.
	CheckUTF8 bool
	// RowID says that the stream carries the row's ctid as an extra last column, which is not stored and names the row in errors.
	RowID bool
	// OnUnrepresentable is "error" (also "") or "null".
	OnUnrepresentable string
}

// Schema is a table's columns with their Parquet types. It is immutable, and may serve many Writers at once.
type Schema struct {
	columns []Column
	tree    *tree
	opt     SchemaOptions
}

// NewSchema maps columns to Parquet types. The names have to differ and not be empty; every type has a mapping. The error is
// *SchemaError.
func NewSchema(cols []Column, opt *SchemaOptions) (*Schema, error) {
	s := &Schema{columns: slices.Clone(cols)}
	if opt != nil {
		s.opt = *opt
	}
	switch s.opt.OnUnrepresentable {
	case "":
		s.opt.OnUnrepresentable = UnrepresentableFail
	case UnrepresentableFail, UnrepresentableNull:
	default:
		return nil, &SchemaError{Reason: fmt.Sprintf("on_unrepresentable is %q: expected error or null", s.opt.OnUnrepresentable)}
	}
	if len(cols) == 0 {
		return nil, &SchemaError{Reason: "a table without columns has nothing to store"}
	}
	if len(cols) > maxColumns {
		return nil, &SchemaError{Reason: fmt.Sprintf("%d columns, at most %d are supported", len(cols), maxColumns)}
	}
	names := make(map[string]bool, len(cols))
	for i := range s.columns {
		c := &s.columns[i]
		if c.Name == "" {
			return nil, &SchemaError{Reason: fmt.Sprintf("column %d has no name", i+1)}
		}
		if names[c.Name] {
			return nil, &SchemaError{Column: c.Name, Reason: "the name occurs twice"}
		}
		names[c.Name] = true
		if c.BaseOID == 0 {
			c.BaseOID = c.TypeOID
		}
	}
	var err error
	if s.tree, err = newTree(s.columns, FieldIDs(s.columns)); err != nil {
		return nil, err
	}
	return s, nil
}

// maxColumns is PostgreSQL's own limit for a result, MaxTupleAttributeNumber.
const maxColumns = 1664

// AsText reports whether column i has to come as text, in the output form of its type.
func (s *Schema) AsText(i int) bool { return s.tree.roots[i].asText }

// Columns returns the columns in the table's order.
func (s *Schema) Columns() []Column { return slices.Clone(s.columns) }

// PGTypes returns each column's declared type by name, as the ledger keeps it.
func (s *Schema) PGTypes() map[string]string {
	m := make(map[string]string, len(s.columns))
	for _, c := range s.columns {
		m[c.Name] = c.Declared
	}
	return m
}

// ColumnsJSON returns the columns as the JSON list that the footer holds. Equal columns give equal bytes.
func (s *Schema) ColumnsJSON() ([]byte, error) {
	b, err := json.Marshal(s.columns)
	if err != nil {
		return nil, fmt.Errorf("encode columns: %w", err)
	}
	return b, nil
}

// String lists the columns with their declared and Parquet types.
func (s *Schema) String() string {
	var b strings.Builder
	for i, c := range s.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %s -> %s", c.Name, c.Declared, plainNode(s.tree.roots[i]).String())
	}
	return b.String()
}

// streamFields is how many fields a tuple of the stream has.
func (s *Schema) streamFields() int {
	if s.opt.RowID {
		return len(s.columns) + 1
	}
	return len(s.columns)
}

// FieldIDs returns the Parquet field ids of columns: their attribute numbers where all columns have one, so that a renamed
// column keeps its own; else their places.
func FieldIDs(columns []Column) []int {
	ids, places := make([]int, len(columns)), make([]int, len(columns))
	seen := make(map[int16]bool, len(columns))
	numbered := true
	for i, c := range columns {
		numbered = numbered && c.AttNum > 0 && !seen[c.AttNum]
		seen[c.AttNum] = true
		ids[i], places[i] = int(c.AttNum), i+1
	}
	if !numbered {
		return places
	}
	return ids
}
