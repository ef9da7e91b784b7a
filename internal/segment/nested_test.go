package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// Types that the tests of this file are made of.
var (
	int4Type  = Type{TypeOID: oidInt4, BaseOID: oidInt4, TypMod: -1, TypeName: "int4", TypeKind: "b", Declared: "integer"}
	textType  = Type{TypeOID: oidText, BaseOID: oidText, TypMod: -1, TypeName: "text", TypeKind: "b", Declared: "text"}
	dateType  = Type{TypeOID: oidDate, BaseOID: oidDate, TypMod: -1, TypeName: "date", TypeKind: "b", Declared: "date"}
	inetType  = Type{TypeOID: 869, BaseOID: 869, TypMod: -1, TypeName: "inet", TypeKind: "b", Declared: "inet"}
	moodType  = Type{TypeOID: 70001, BaseOID: 70001, TypMod: -1, TypeName: "mood", TypeKind: "e", Declared: "app.mood"}
	priceType = Type{TypeOID: 70002, BaseOID: oidNumeric, TypMod: numericTypmod(7, 2), TypeName: "numeric", TypeKind: "b", Declared: "numeric(7,2)", Domain: "app.price"}
)

func arrayColumn(name string, oid uint32, elem Type) Column {
	return Column{Name: name, TypeOID: oid, TypMod: -1, TypeKind: 'b', HasElem: true, Declared: elem.Declared + "[]", Elem: &elem}
}

func rowColumn(name string, attributes ...Attribute) Column {
	return Column{Name: name, TypeOID: 70010, TypMod: -1, TypeKind: 'c', Declared: "app.row", Attributes: attributes}
}

func attribute(name string, number int16, t Type) Attribute {
	return Attribute{Name: name, AttNum: number, Type: t}
}

func storeColumn(name string) Column {
	return Column{Name: name, TypeOID: 70020, TypMod: -1, TypeKind: 'b', TypeName: "hstore", Extension: "hstore", Declared: "public.hstore"}
}

// The functions below make values as PostgreSQL sends them.

func part(dst, v []byte) []byte {
	if v == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...)
}

// array has one dimension from lower, or none if it has no elements.
func array(elem uint32, lower int32, vals ...[]byte) []byte {
	dims := int32(1)
	if len(vals) == 0 {
		dims = 0
	}
	b := append(append(be32(dims), be32(1)...), be32(int32(elem))...)
	if dims == 1 {
		b = append(append(b, be32(int32(len(vals)))...), be32(lower)...)
	}
	for _, v := range vals {
		b = part(b, v)
	}
	return b
}

func record(oids []uint32, vals ...[]byte) []byte {
	b := be32(int32(len(vals)))
	for i, v := range vals {
		b = part(append(b, be32(int32(oids[i]))...), v)
	}
	return b
}

func store(vals ...[]byte) []byte {
	b := be32(int32(len(vals) / 2))
	for _, v := range vals {
		b = part(b, v)
	}
	return b
}

var rowOIDs = []uint32{oidText, 70002}

func nestedColumns() []Column {
	return []Column{
		column("id", oidInt4), arrayColumn("list", 1007, int4Type),
		rowColumn("row", attribute("name", 1, textType), attribute("the price", 3, priceType)),
		storeColumn("store"), arrayColumn("moods", 70003, moodType),
	}
}

func nestedStream() []byte {
	s := newCopyStream()
	for i := range int32(40) {
		s.row(be32(i), array(oidInt4, 1, be32(i), nil, be32(7)), record(rowOIDs, []byte("x y"), num("1.50")), store([]byte("k"), []byte("v"), []byte("n"), nil), array(70001, 1, []byte("ok")))
	}
	s.row(be32(40), nil, nil, nil, nil)
	s.row(be32(41), array(oidInt4, 1), record(rowOIDs, nil, nil), store(), array(70001, 1, nil))
	return s.end()
}

func nestedBase(t testing.TB) []byte {
	file, _ := mustEncode(t, mustSchema(t, nestedColumns(), nil), nestedStream())
	return file
}

// A11: nested values come back in PostgreSQL's output form, wherever the stream is cut.
func TestNestedValues(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, nestedColumns(), nil)
	want, sum := mustEncode(t, s, nestedStream())
	for _, step := range []int{1, 7, 4096} {
		got, _, err := encode(t, s, nestedStream(), step, nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("pieces of %d bytes give another file: %v", step, err)
		}
	}
	all := rows(t, want)
	for i, row := range map[int]string{
		3:  `3|{3,NULL,7}|("x y",1.50)|"k"=>"v", "n"=>NULL|{ok}`,
		40: `40|<null>|<null>|<null>|<null>`,
		41: `41|{}|(,)||{NULL}`,
	} {
		if got := strings.Join(all[i], "|"); got != row {
			t.Errorf("row %d: got %s, want %s", i, got, row)
		}
	}
	for i, nulls := range []int64{0, 1, 1, 1, 1} {
		if st := sum.Stats[i]; st.Nulls != nulls || i > 0 && (st.Min != nil || st.Max != nil) {
			t.Errorf("statistics of %s: %+v", st.Name, st)
		}
	}
}

// What contains a type without a mapping is text as a whole, and so is a composite without attributes.
func TestNestedMappings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		column Column
		asText bool
	}{
		"int4[]":            {arrayColumn("c", 1, int4Type), false},
		"inet[]":            {arrayColumn("c", 1, inetType), true},
		"row with inet":     {rowColumn("c", attribute("a", 1, int4Type), attribute("b", 2, inetType)), true},
		"row":               {rowColumn("c", attribute("a", 1, int4Type)), false},
		"row without parts": {rowColumn("c"), true},
		"hstore":            {storeColumn("c"), false},
		"another hstore":    {Column{Name: "c", TypeOID: 1, TypeKind: 'b', TypeName: "hstore", Declared: "app.hstore"}, true},
		"int4[] by request": {func() Column { c := arrayColumn("c", 1, int4Type); c.AsText = true; return c }(), true},
	} {
		if got := mustSchema(t, []Column{tc.column}, nil).AsText(0); got != tc.asText {
			t.Errorf("%s: as text is %v", name, got)
		}
	}
}

// Field ids of parts are unique in a file, and follow from attribute numbers.
func TestNestedFieldIDs(t *testing.T) {
	t.Parallel()
	cols := nestedColumns()
	for i := range cols {
		cols[i].AttNum = int16(i + 1)
	}
	tree, err := newTree(cols, FieldIDs(cols))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.id <= 0 || seen[n.id] {
			t.Errorf("field id %d twice, or none", n.id)
		}
		seen[n.id] = true
		for _, p := range n.parts {
			walk(p)
		}
	}
	for _, root := range tree.roots {
		walk(root)
	}
	if id := tree.roots[2].parts[1].id; id != 3*2048+3 {
		t.Errorf("attribute 3 of column 3 has field id %d", id)
	}
}

// A19, in the encoder: shapes fail whatever the policy says; values by policy.
func TestNestedUnrepresentable(t *testing.T) {
	t.Parallel()
	infinity := be32(0x7fffffff)
	twoDims := append(append(append(be32(2), be32(0)...), be32(oidInt4)...), bytes.Repeat(append(be32(1), be32(1)...), 2)...)
	twoDims = part(twoDims, be32(1))
	for name, tc := range map[string]struct {
		column Column
		value  []byte
		want   string // "" if the policy null takes it
		null   string
	}{
		"two dimensions": {arrayColumn("c", 1007, int4Type), twoDims, "2 dimensions", ""},
		"lower bound":    {arrayColumn("c", 1007, int4Type), array(oidInt4, 0, be32(1)), "lower bound is 0", ""},
		"infinite date":  {arrayColumn("c", 1182, dateType), array(oidDate, 1, be32(0), infinity), "", "{2000-01-01,NULL}"},
		"NaN":            {rowColumn("c", attribute("n", 1, priceType)), record([]uint32{70002}, num("NaN")), "", "()"},
	} {
		cols := []Column{{Name: "id", TypeOID: oidInt4, Key: true, Declared: "integer"}, tc.column}
		stream := newCopyStream().row(be32(1), nil).row(be32(2), tc.value).end()
		_, _, err := encode(t, mustSchema(t, cols, nil), stream, 0, nil)
		var ue *UnrepresentableError
		if !errors.As(err, &ue) || ue.Row != 2 || len(ue.Key) != 1 || ue.Key[0].Value != "2" || !strings.Contains(ue.Reason, tc.want) {
			t.Errorf("%s: got %v", name, err)
		}
		file, _, err := encode(t, mustSchema(t, cols, &SchemaOptions{OnUnrepresentable: "null"}), stream, 0, nil)
		switch {
		case tc.want != "" && !errors.As(err, &ue):
			t.Errorf("%s: the policy null took it: %v", name, err)
		case tc.want == "" && (err != nil || rows(t, file)[1][1] != tc.null):
			t.Errorf("%s: got %v, %v", name, rows(t, file), err)
		}
	}
}

// A key of a map cannot be NULL, so the policy null cannot spare it.
func TestMapKeyIsNeverNull(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{storeColumn("c")}, &SchemaOptions{CheckUTF8: true, OnUnrepresentable: "null"})
	file, _, err := encode(t, s, newCopyStream().row(store([]byte("k"), []byte("\xff"))).end(), 0, nil)
	if err != nil || rows(t, file)[0][0] != `"k"=>NULL` {
		t.Errorf("value: %v", err)
	}
	var ue *UnrepresentableError
	if _, _, err := encode(t, s, newCopyStream().row(store([]byte("\xff"), nil)).end(), 0, nil); !errors.As(err, &ue) {
		t.Errorf("key: got %v", err)
	}
}

// A value with more elements than a batch has room for fails clearly.
func TestTooManyElements(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a value of 17 MB, and -short was asked for")
	}
	b := append(append(append(be32(1), be32(1)...), be32(oidInt4)...), append(be32(maxEntries+1), be32(1)...)...)
	b = append(b, bytes.Repeat([]byte{0xff}, 4*(maxEntries+1))...)
	_, _, err := encode(t, mustSchema(t, []Column{arrayColumn("c", 1007, int4Type)}, nil), newCopyStream().row(b).end(), 0, nil)
	var ue *UnrepresentableError
	if !errors.As(err, &ue) || !strings.Contains(ue.Reason, "4194304 elements") {
		t.Errorf("got %v", err)
	}
}

// Bytes that PostgreSQL does not send for a type are refused, whatever they are.
func TestMalformedNestedValues(t *testing.T) {
	t.Parallel()
	list, row, hash := arrayColumn("c", 1007, int4Type), rowColumn("c", attribute("a", 1, int4Type)), storeColumn("c")
	good := array(oidInt4, 1, be32(1), be32(2))
	long := bytes.Clone(good)
	binary.BigEndian.PutUint32(long[20:], 1<<30)
	for name, tc := range map[string]struct {
		column Column
		value  []byte
	}{
		"empty list": {list, []byte{}}, "cut list": {list, good[:len(good)-1]}, "list with a tail": {list, append(bytes.Clone(good), 0)},
		"other elements": {list, array(oidInt8, 1, be64(1))}, "short element": {list, array(oidInt4, 1, be16(1))}, "long element": {list, long},
		"negative dimensions": {list, append(be32(-1), good[4:]...)}, "negative size": {list, append(append(bytes.Clone(good[:12]), be32(-5)...), be32(1)...)},
		"cut row": {row, record([]uint32{oidInt4}, be32(1))[:9]}, "row with a tail": {row, append(record([]uint32{oidInt4}, be32(1)), 1)}, "empty row": {row, []byte{}},
		"hstore with a NULL key": {hash, store(nil, []byte("v"))}, "cut hstore": {hash, store([]byte("k"), []byte("v"))[:11]}, "negative hstore": {hash, be32(-1)},
		"hstore with a tail": {hash, append(store(), 7)},
	} {
		_, _, err := encode(t, mustSchema(t, []Column{tc.column}, nil), newCopyStream().row(tc.value).end(), 0, nil)
		var fe *FormatError
		if !errors.As(err, &fe) || fe.Column != "c" || fe.Row != 1 {
			t.Errorf("%s: got %v, want a *FormatError", name, err)
		}
	}
}

// A composite with other attributes than the schema's was changed meanwhile.
func TestChangedComposite(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{rowColumn("c", attribute("a", 1, int4Type), attribute("b", 2, textType))}, nil)
	for name, value := range map[string][]byte{
		"one fewer":   record([]uint32{oidInt4}, be32(1)),
		"one more":    record([]uint32{oidInt4, oidText, oidText}, be32(1), nil, nil),
		"another one": record([]uint32{oidInt4, oidInt4}, be32(1), be32(1)),
	} {
		if _, _, err := encode(t, s, newCopyStream().row(value).end(), 0, nil); !errors.Is(err, ErrTypeChanged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Types too deep or too wide for one file are refused with what to do.
func TestNestedLimits(t *testing.T) {
	t.Parallel()
	deep := int4Type
	for range maxDepth + 1 {
		inner := deep
		deep = Type{TypeOID: 1, TypeKind: "b", Declared: "deep[]", Elem: &inner}
	}
	wide := make([]Attribute, 1500)
	for i := range wide {
		wide[i] = attribute(strings.Repeat("a", i+1), int16(i+1), int4Type)
	}
	for name, cols := range map[string][]Column{
		"deep": {arrayColumn("c", 1, deep)},
		"wide": {rowColumn("a", wide...), rowColumn("b", wide...), rowColumn("c", wide...)},
	} {
		_, err := NewSchema(cols, nil)
		var se *SchemaError
		if !errors.As(err, &se) || se.Column != "c" || !strings.Contains(se.Reason, "as_text") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// No step of the walk allocates for each row.
func TestNestedRowsDoNotAllocate(t *testing.T) {
	s := mustSchema(t, nestedColumns(), nil)
	scan := newScanner(s)
	enc := newEncoder(s, scan)
	if _, err := scan.feed(nestedStream()); err != nil {
		t.Fatal(err)
	}
	walk := func() {
		for i := 1; i < len(s.columns); i++ {
			if err := enc.walkColumn(i); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := testing.AllocsPerRun(20, walk); n > 0 {
		t.Errorf("%v allocations for %d rows", n, scan.rows)
	}
}
