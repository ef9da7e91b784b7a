package layout

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/hot"
)

// In a database whose text is converted on its way, the lengths in hstore's binary form are wrong: it comes as text.
func TestHstoreByEncoding(t *testing.T) {
	t.Parallel()
	for encoding, asText := range map[string]bool{"UTF8": false, "SQL_ASCII": false, "LATIN1": true} {
		tab := &hot.Table{Encoding: encoding, Columns: []hot.Column{
			{Number: 1, Name: "h", TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: 'b', Extension: "hstore"},
			{Number: 2, Name: "hs", TypeOID: 70002, BaseOID: 70002, TypMod: -1, TypeName: "_hstore", TypeKind: 'b', HasElem: true,
				Elem: &hot.Type{TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "hstore", TypeKind: "b", Extension: "hstore"}},
		}}
		s, err := SchemaOf(tab, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if s.AsText(0) != asText || s.AsText(1) != asText {
			t.Errorf("%s: as text: %v, %v", encoding, s.AsText(0), s.AsText(1))
		}
	}
}
