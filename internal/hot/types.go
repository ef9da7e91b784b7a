package hot

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Type is a type inside of a column's: that of an array's elements, or of an attribute of a composite.
type Type struct {
	TypeOID    uint32
	BaseOID    uint32 // after domains
	TypMod     int32  // after domains
	TypeName   string // of the base type
	TypeSchema string
	TypeKind   string // typtype of the base type
	Declared   string // the base type as PostgreSQL writes it
	Domain     string // qualified, or ""
	Collation  string // qualified, or "" for the type's own
	Extension  string // that the base type belongs to, or ""
	Elem       *Type
	Attributes []Attribute
}

// Attribute is a field of a composite type, in its order.
type Attribute struct {
	Number int16
	Name   string
	Type
}

// firstNormalOID is where the oids of users' types begin; what lies below is PostgreSQL's own in every database.
const firstNormalOID = 16384

// maxTypeDepth ends the walk through types in types. PostgreSQL lets no type contain itself.
const maxTypeDepth = 100

// typesSQL walks from types, each with a typmod, to all that they are made of: a domain to its base type, an array to its
// elements, a composite to its attributes. Arrays are those whose elements name them as their array type; int2vector and the
// like are not. An array's typmod is its elements'.
const typesSQL = `
WITH RECURSIVE w(oid, typmod) AS (
	SELECT oid::bigint::pg_catalog.oid, typmod FROM unnest($1::bigint[], $2::int[]) AS r(oid, typmod)
	UNION
	SELECT e.oid, e.typmod
	FROM w JOIN pg_catalog.pg_type y ON y.oid = w.oid
	CROSS JOIN LATERAL (
		SELECT y.typbasetype AS oid, y.typtypmod AS typmod WHERE y.typtype = 'd'
		UNION ALL
		SELECT el.oid, w.typmod FROM pg_catalog.pg_type el WHERE el.oid = y.typelem AND el.typarray = y.oid
		UNION ALL
		SELECT a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute a WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
	) AS e
)
SELECT w.oid, w.typmod, y.typname::text, n.nspname::text, y.typtype::text, pg_catalog.format_type(w.oid, w.typmod), y.typbasetype, y.typtypmod,
	coalesce((SELECT el.oid FROM pg_catalog.pg_type el WHERE el.oid = y.typelem AND el.typarray = y.oid), 0::oid),
	coalesce((SELECT x.extname::text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension x ON x.oid = d.refobjid
	          WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = w.oid AND d.deptype = 'e'
	            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass), ''),
	(SELECT pg_catalog.json_agg(pg_catalog.json_build_object('Number', a.attnum, 'Name', a.attname, 'TypeOID', a.atttypid::bigint, 'TypMod', a.atttypmod,
		'Collation', coalesce((SELECT pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
		                       FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
		                       JOIN pg_catalog.pg_type ay ON ay.oid = a.atttypid
		                       WHERE co.oid = a.attcollation AND a.attcollation <> ay.typcollation), '')) ORDER BY a.attnum)
	 FROM pg_catalog.pg_attribute a WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
FROM w JOIN pg_catalog.pg_type y ON y.oid = w.oid JOIN pg_catalog.pg_namespace n ON n.oid = y.typnamespace`

// typeKey names a type as one place uses it.
type typeKey struct {
	oid    uint32
	typmod int32
}

// typeRow is what typesSQL says of one.
type typeRow struct {
	name, schema, kind, declared string
	base, elem                   uint32
	baseTypMod                   int32
	extension                    string
	attributes                   []Attribute // their types have only TypeOID, TypMod and Collation yet
}

// opaque reports whether a column's type has to be looked into.
func (c *Column) opaque() bool {
	return c.HasElem || c.TypeKind == 'c' || c.TypeKind == 'b' && c.BaseOID >= firstNormalOID
}

// describeTypes looks into the types of columns: elements, attributes and extensions, at any depth. Most tables have nothing to
// look into and cost no statement.
func describeTypes(ctx context.Context, q Querier, tables []*Table) error {
	var columns []*Column
	for _, t := range tables {
		for i := range t.Columns {
			columns = append(columns, &t.Columns[i])
		}
	}
	var oids []int64
	var typmods []int32
	for _, c := range columns {
		if c.opaque() {
			oids, typmods = append(oids, int64(c.BaseOID)), append(typmods, c.TypMod)
		}
	}
	if len(oids) == 0 {
		return nil
	}
	types, err := readTypes(ctx, q, oids, typmods)
	if err != nil {
		return fmt.Errorf("look into types: %w", err)
	}
	for _, c := range columns {
		if !c.opaque() {
			continue
		}
		t, err := resolveType(types, typeKey{c.BaseOID, c.TypMod}, 0)
		if err != nil {
			return fmt.Errorf("look into the type of column %q: %w", c.Name, err)
		}
		c.Extension, c.Elem, c.Attributes = t.Extension, t.Elem, t.Attributes
	}
	return nil
}

func readTypes(ctx context.Context, q Querier, oids []int64, typmods []int32) (map[typeKey]typeRow, error) {
	rows, err := q.Query(ctx, typesSQL, oids, typmods)
	if err != nil {
		return nil, err
	}
	types := map[typeKey]typeRow{}
	var k typeKey
	var r typeRow
	_, err = pgx.ForEachRow(rows, []any{&k.oid, &k.typmod, &r.name, &r.schema, &r.kind, &r.declared, &r.base, &r.baseTypMod, &r.elem, &r.extension, &r.attributes}, func() error {
		types[k] = r
		r.attributes = nil
		return nil
	})
	return types, err
}

// resolveType builds the tree of a type.
func resolveType(types map[typeKey]typeRow, k typeKey, depth int) (*Type, error) {
	r, ok := types[k]
	if !ok || depth > maxTypeDepth {
		return nil, fmt.Errorf("type %d is gone or contains itself", k.oid)
	}
	t := &Type{TypeOID: k.oid}
	for ; r.kind == "d"; depth++ {
		if t.Domain == "" {
			t.Domain = r.declared
		}
		k = typeKey{r.base, r.baseTypMod}
		if r, ok = types[k]; !ok || depth > maxTypeDepth {
			return nil, fmt.Errorf("type %d is gone or contains itself", k.oid)
		}
	}
	t.BaseOID, t.TypMod, t.TypeName, t.TypeSchema, t.TypeKind = k.oid, k.typmod, r.name, r.schema, r.kind
	t.Declared, t.Extension = r.declared, r.extension
	if r.elem != 0 {
		elem, err := resolveType(types, typeKey{r.elem, k.typmod}, depth+1)
		if err != nil {
			return nil, err
		}
		t.Elem = elem
	}
	for _, a := range r.attributes {
		inner, err := resolveType(types, typeKey{a.TypeOID, a.TypMod}, depth+1)
		if err != nil {
			return nil, err
		}
		inner.Collation = a.Collation
		t.Attributes = append(t.Attributes, Attribute{Number: a.Number, Name: a.Name, Type: *inner})
	}
	return t, nil
}

// HasComposite reports whether a value of some column can hold a composite. No lock on a table keeps others from adding or
// dropping attributes of a type.
func (t *Table) HasComposite() bool {
	return slices.ContainsFunc(t.Columns, func(c Column) bool {
		return len(c.Attributes) > 0 || c.Elem != nil && c.Elem.hasComposite()
	})
}

func (t *Type) hasComposite() bool {
	return t.Contains(func(t *Type) bool { return len(t.Attributes) > 0 })
}

// Contains reports whether f holds for the type itself or for one that it is made of.
func (t *Type) Contains(f func(*Type) bool) bool {
	if f(t) || t.Elem != nil && t.Elem.Contains(f) {
		return true
	}
	for i := range t.Attributes {
		if t.Attributes[i].Type.Contains(f) {
			return true
		}
	}
	return false
}

// The comparisons below take a nil list for an empty one: a plan comes back from the ledger as JSON.

func sameColumn(a, b Column) bool {
	if !sameElem(a.Elem, b.Elem) || !slices.EqualFunc(a.Attributes, b.Attributes, sameAttribute) {
		return false
	}
	a.Elem, a.Attributes, b.Elem, b.Attributes = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

func sameAttribute(a, b Attribute) bool {
	return a.Number == b.Number && a.Name == b.Name && sameType(&a.Type, &b.Type)
}

func sameElem(a, b *Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameType(a, b)
}

func sameType(a, b *Type) bool {
	if !sameElem(a.Elem, b.Elem) || !slices.EqualFunc(a.Attributes, b.Attributes, sameAttribute) {
		return false
	}
	x, y := *a, *b
	x.Elem, x.Attributes, y.Elem, y.Attributes = nil, nil, nil, nil
	return reflect.DeepEqual(x, y)
}
