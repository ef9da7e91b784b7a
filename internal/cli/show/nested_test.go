package show

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/spillwaydb/spillway/internal/segment"
)

func TestNestedJSON(t *testing.T) {
	t.Parallel()
	number := segment.Type{BaseOID: pgtype.Int4OID}
	text := segment.Type{BaseOID: pgtype.TextOID}
	document := segment.Type{BaseOID: pgtype.JSONBOID}
	pair := segment.Type{Attributes: []segment.Attribute{{Name: "a", Type: number}, {Name: `b "q"`, Type: text}}}
	pairs := segment.Type{Elem: &pair}
	numbers := segment.Type{Elem: &number}
	store := segment.Type{TypeName: "hstore", Extension: "hstore"}
	deep := segment.Type{Attributes: []segment.Attribute{{Name: "list", Type: pairs}, {Name: "h", Type: store}, {Name: "j", Type: document}}}
	for _, tc := range []struct {
		typ        segment.Type
		text, want string
	}{
		{numbers, `{1,NULL,3}`, `[1,null,3]`},
		{numbers, `{}`, `[]`},
		{segment.Type{Elem: &text}, `{"a b",NULL,"NULL","",x,"q\"uote","back\\slash"}`, `["a b",null,"NULL","","x","q\"uote","back\\slash"]`},
		{pair, `(1,"x ""y""")`, `{"a":1,"b \"q\"":"x \"y\""}`},
		{pair, `(,)`, `{"a":null,"b \"q\"":null}`},
		{pair, `(,"")`, `{"a":null,"b \"q\"":""}`},
		{pairs, `{"(1,\"x y\")",NULL}`, `[{"a":1,"b \"q\"":"x y"},null]`},
		{store, `"k"=>"v, \"w\"", "n"=>NULL, ""=>"NULL"`, `{"k":"v, \"w\"","n":null,"":"NULL"}`},
		{store, ``, `{}`},
		{deep, `("{""(1,x)""}","""k""=>""v""","{""x"": 1}")`, `{"list":[{"a":1,"b \"q\"":"x"}],"h":{"k":"v"},"j":{"x":1}}`},
		{numbers, `[2:3]={7,8}`, `"[2:3]={7,8}"`}, // of a segment that keeps the column as text
		{numbers, `{1,2`, `"{1,2"`},
		{pair, `(1,2,3)`, `"(1,2,3)"`},
		{pair, `(1,"x`, `"(1,\"x"`},
	} {
		got := nestedJSON([]byte(tc.text), &tc.typ)
		if string(got) != tc.want || !json.Valid(got) {
			t.Errorf("%s: got %s, want %s", tc.text, got, tc.want)
		}
	}
	if got := nestedJSON(nil, &numbers); string(got) != "null" {
		t.Errorf("NULL: %s", got)
	}
}
