package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/segment"
)

// AttributesChangedError says that a composite type has other attributes than when the rows of a segment went cold. Its values come back
// as text, in which only the order tells attributes apart: PostgreSQL would take one for another.
type AttributesChangedError struct {
	Segment string
	Table   string
	Column  string
	Type    string
	Then    []string // in the segment
	Now     []string
}

func (e *AttributesChangedError) Error() string {
	return fmt.Sprintf("segment %s: type %s of column %q of table %s had the attributes (%s) and has (%s) now; give it those again, or make the column text while rows are restored",
		e.Segment, e.Type, e.Column, e.Table, strings.Join(e.Then, ", "), strings.Join(e.Now, ", "))
}

// sameAttributes looks whether the composites in a column are what they were. asItWas says that the column is the very one: then
// attributes are told by their numbers, as columns are, and by their names otherwise.
func sameAttributes(file *File, c segment.Column, now *hot.Column, target *hot.Table, asItWas bool) error {
	was := segment.Type{TypeOID: c.TypeOID, BaseOID: c.BaseOID, Declared: c.Declared, Elem: c.Elem, Attributes: c.Attributes}
	is := segment.Type{TypeOID: now.TypeOID, BaseOID: now.BaseOID, Declared: now.Declared, Elem: layout.ElemType(now.Elem), Attributes: layout.Attributes(now.Attributes)}
	other, otherNow := otherAttributes(&was, &is, asItWas)
	if other == nil {
		return nil
	}
	return jobstep.Classified(jobstep.ClassRefused, &AttributesChangedError{
		Segment: file.seg.ID.String(), Table: target.Schema + "." + target.Name, Column: now.Name, Type: otherNow.Declared,
		Then: attributeNames(other), Now: attributeNames(otherNow),
	})
}

// otherAttributes finds the outermost composite in two types that has other attributes in each, or nil. Types of different kinds are
// compared no further: whether the text of one is a value of the other is for PostgreSQL to say.
func otherAttributes(was, is *segment.Type, asItWas bool) (other, otherNow *segment.Type) {
	if was.Elem != nil && is.Elem != nil {
		return otherAttributes(was.Elem, is.Elem, asItWas)
	}
	if len(was.Attributes) == 0 || len(is.Attributes) == 0 {
		return nil, nil
	}
	byNumber := asItWas && was.BaseOID == is.BaseOID
	same := func(a, b segment.Attribute) bool {
		if byNumber {
			return a.AttNum == b.AttNum
		}
		return a.Name == b.Name
	}
	if !slices.EqualFunc(was.Attributes, is.Attributes, same) {
		return was, is
	}
	for i := range was.Attributes {
		if other, otherNow = otherAttributes(&was.Attributes[i].Type, &is.Attributes[i].Type, asItWas); other != nil {
			return other, otherNow
		}
	}
	return nil, nil
}

func attributeNames(t *segment.Type) []string {
	names := make([]string, len(t.Attributes))
	for i := range t.Attributes {
		names[i] = t.Attributes[i].Name
	}
	return names
}

// madeAnew reports whether the type of column i was dropped and made anew, from the same parts: its values are the same under other
// oids, and what stays cold is read from PostgreSQL under those.
func (c *File) madeAnew(i int, now *hot.Column) bool {
	if now == nil {
		return false
	}
	was, is := c.Footer.Columns[i], layout.Column(*now, false, false)
	a := segment.Type{TypMod: was.TypMod, TypeKind: kindOf(was.TypeKind), Declared: was.Declared, Elem: was.Elem, Attributes: was.Attributes}
	b := segment.Type{TypMod: is.TypMod, TypeKind: kindOf(is.TypeKind), Declared: is.Declared, Elem: is.Elem, Attributes: is.Attributes}
	if !sameParts(&a, &b) {
		return false
	}
	was.TypeOID, was.BaseOID, was.Elem, was.Attributes = is.TypeOID, is.BaseOID, is.Elem, is.Attributes
	c.Rest[i] = was
	return true
}

// sameParts compares types by all but their oids.
func sameParts(a, b *segment.Type) bool {
	if a.Declared != b.Declared || a.TypMod != b.TypMod || a.TypeKind != b.TypeKind || (a.Elem == nil) != (b.Elem == nil) {
		return false
	}
	if a.Elem != nil && !sameParts(a.Elem, b.Elem) {
		return false
	}
	return slices.EqualFunc(a.Attributes, b.Attributes, func(x, y segment.Attribute) bool { return x.Name == y.Name && sameParts(&x.Type, &y.Type) })
}

func kindOf(letter byte) string {
	if letter == 0 {
		return ""
	}
	return string(rune(letter))
}

// Changeable reports whether a table can get code of its owner's while it is locked as it is for inserts: it can get a partition, and a
// domain a constraint. So it is looked at once more when the rows are in; then what has run meanwhile is rolled back.
func Changeable(t *hot.Table) bool {
	return t.RelKind == "p" || slices.ContainsFunc(t.Columns, func(c hot.Column) bool {
		return c.Domain != "" || c.Elem != nil && c.Elem.Domain != "" || c.Elem != nil && len(c.Elem.Attributes) > 0 || len(c.Attributes) > 0
	})
}
