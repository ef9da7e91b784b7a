package layout

import (
	"errors"
	"slices"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/segment"
)

// SchemaOf is how a leaf's rows look as Parquet. Without a primary key the rows bring their ctid, so that an error can
// name one. Columns named in asText are stored as text; nullUnrepresent writes NULL for values without a place in their Parquet type.
func SchemaOf(t *hot.Table, asText []string, nullUnrepresent bool) (*segment.Schema, error) {
	if len(t.Columns) == 0 {
		return nil, errors.New("a table without columns cannot be written to Parquet")
	}
	key := map[string]bool{}
	for _, name := range t.PrimaryKey {
		key[name] = true
	}
	cols := make([]segment.Column, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = Column(c, key[c.Name], slices.Contains(asText, c.Name))
		if !textOnTheWire(t.Encoding) && hasHstore(c) {
			cols[i].AsText = true
		}
	}
	o := &segment.SchemaOptions{CheckUTF8: t.Encoding == "SQL_ASCII", RowID: len(t.PrimaryKey) == 0, OnUnrepresentable: "error"}
	if nullUnrepresent {
		o.OnUnrepresentable = "null"
	}
	return segment.NewSchema(cols, o)
}

// textOnTheWire reports whether PostgreSQL sends text in the encoding that it keeps it in. Where it does not, the lengths in
// hstore's binary form are those before the conversion, so hstore has to come as text.
func textOnTheWire(encoding string) bool { return encoding == "UTF8" || encoding == "SQL_ASCII" }

func hasHstore(c hot.Column) bool {
	t := hot.Type{TypeName: c.TypeName, Extension: c.Extension, Elem: c.Elem, Attributes: c.Attributes}
	return t.Contains(func(t *hot.Type) bool { return t.Extension == "hstore" })
}

// Column hands what the catalog says of a column to the encoder.
func Column(c hot.Column, key, asText bool) segment.Column {
	return segment.Column{
		Name: c.Name, TypeOID: c.TypeOID, BaseOID: c.BaseOID, TypMod: c.TypMod, TypeName: c.TypeName, TypeSchema: c.TypeSchema,
		TypeKind: c.TypeKind, Declared: c.Declared, Domain: c.Domain, Collation: c.Collation, NotNull: c.NotNull, HasElem: c.HasElem, Key: key, AttNum: c.Number,
		Extension: c.Extension, Elem: ElemType(c.Elem), Attributes: Attributes(c.Attributes), AsText: asText,
	}
}

func segmentType(t *hot.Type) segment.Type {
	return segment.Type{
		TypeOID: t.TypeOID, BaseOID: t.BaseOID, TypMod: t.TypMod, TypeName: t.TypeName, TypeSchema: t.TypeSchema, TypeKind: t.TypeKind,
		Declared: t.Declared, Domain: t.Domain, Collation: t.Collation, Extension: t.Extension,
		Elem: ElemType(t.Elem), Attributes: Attributes(t.Attributes),
	}
}

// ElemType is segmentType where there may be none.
func ElemType(t *hot.Type) *segment.Type {
	if t == nil {
		return nil
	}
	elem := segmentType(t)
	return &elem
}

// Attributes hands the attributes of a composite to the encoder.
func Attributes(list []hot.Attribute) []segment.Attribute {
	var out []segment.Attribute
	for i := range list {
		out = append(out, segment.Attribute{Name: list[i].Name, AttNum: list[i].Number, Type: segmentType(&list[i].Type)})
	}
	return out
}
