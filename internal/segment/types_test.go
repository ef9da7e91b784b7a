package segment

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

// typeCases holds, for each type, values of the stream and what PostgreSQL prints.
var typeCases = []struct {
	name   string
	column Column
	in     [][]byte
	want   []string
}{
	{"bool", column("c", oidBool), [][]byte{{1}, {0}, nil}, []string{"t", "f", "<null>"}},
	{"int2", column("c", oidInt2), [][]byte{be16(math.MinInt16), be16(math.MaxInt16), nil}, []string{"-32768", "32767", "<null>"}},
	{"int4", column("c", oidInt4), [][]byte{be32(math.MinInt32), be32(math.MaxInt32)}, []string{"-2147483648", "2147483647"}},
	{"int8", column("c", oidInt8), [][]byte{be64(math.MinInt64), be64(math.MaxInt64), be64(0)},
		[]string{"-9223372036854775808", "9223372036854775807", "0"}},
	{"oid", column("c", oidOID), [][]byte{be32(-1), be32(0)}, []string{"4294967295", "0"}},
	{"float4", column("c", oidFloat4), [][]byte{f32(float32(math.NaN())), f32(float32(math.Inf(1))), f32(float32(math.Copysign(0, -1))),
		f32(1.5), f32(1e6), f32(123456), f32(math.SmallestNonzeroFloat32), f32(math.MaxFloat32), f32(0.0001), f32(0.00001)},
		[]string{"NaN", "Infinity", "-0", "1.5", "1e+06", "123456", "1e-45", "3.4028235e+38", "0.0001", "1e-05"}},
	{"float8", column("c", oidFloat8), [][]byte{f64(math.NaN()), f64(math.Inf(-1)), f64(math.Copysign(0, -1)), f64(0.1),
		f64(1e15), f64(1e14), f64(math.MaxFloat64), f64(math.SmallestNonzeroFloat64), f64(1e-4), f64(1e-5), f64(1e100)},
		[]string{"NaN", "-Infinity", "-0", "0.1", "1e+15", "100000000000000", "1.7976931348623157e+308", "5e-324", "0.0001", "1e-05", "1e+100"}},
	{"numeric(9,2)", numericColumn(9, 2), [][]byte{num("9999999.99"), num("-9999999.99"), num("0.00"), num("0.01"), num("100.00"), nil},
		[]string{"9999999.99", "-9999999.99", "0.00", "0.01", "100.00", "<null>"}},
	{"numeric(9,9)", numericColumn(9, 9), [][]byte{num("0.999999999"), num("-0.000000001")}, []string{"0.999999999", "-0.000000001"}},
	{"numeric(9,0)", numericColumn(9, 0), [][]byte{num("999999999"), num("100000000")}, []string{"999999999", "100000000"}},
	{"numeric(18,4)", numericColumn(18, 4), [][]byte{num("99999999999999.9999"), num("-0.0001"), num("10000.0000")},
		[]string{"99999999999999.9999", "-0.0001", "10000.0000"}},
	{"numeric(18,18)", numericColumn(18, 18), [][]byte{num("0.999999999999999999"), num("0.000000000000000001")},
		[]string{"0.999999999999999999", "0.000000000000000001"}},
	{"numeric(18,0)", numericColumn(18, 0), [][]byte{num("999999999999999999"), num("100000000000000000")},
		[]string{"999999999999999999", "100000000000000000"}},
	{"numeric(38,0)", numericColumn(38, 0), [][]byte{num(strings.Repeat("9", 38)), num("-" + strings.Repeat("9", 38)), num("0"), num("1" + strings.Repeat("0", 37))},
		[]string{strings.Repeat("9", 38), "-" + strings.Repeat("9", 38), "0", "1" + strings.Repeat("0", 37)}},
	{"numeric(38,38)", numericColumn(38, 38), [][]byte{num("0." + strings.Repeat("9", 38)), num("-0." + strings.Repeat("0", 37) + "1")},
		[]string{"0." + strings.Repeat("9", 38), "-0." + strings.Repeat("0", 37) + "1"}},
	{"numeric(20,5)", numericColumn(20, 5), [][]byte{num("123456789012345.67890"), num("-1.00000")}, []string{"123456789012345.67890", "-1.00000"}},
	{"numeric", column("c", oidNumeric), [][]byte{num("NaN"), num("Infinity"), num("-Infinity"), num("0"), num("0.000"), num("-123456789.000000001"),
		num("1" + strings.Repeat("0", 200)), num("0." + strings.Repeat("0", 99) + "7")},
		[]string{"NaN", "Infinity", "-Infinity", "0", "0.000", "-123456789.000000001", "1" + strings.Repeat("0", 200), "0." + strings.Repeat("0", 99) + "7"}},
	{"numeric(40,2)", numericColumn(40, 2), [][]byte{num(strings.Repeat("8", 38) + ".25")}, []string{strings.Repeat("8", 38) + ".25"}},
	{"numeric(3,-2)", numericColumn(3, -2), [][]byte{num("99900")}, []string{"99900"}},
	{"text", column("c", oidText), [][]byte{[]byte(""), []byte("naïve 日本"), nil, bytes.Repeat([]byte("x"), 100_000)},
		[]string{"", "naïve 日本", "<null>", strings.Repeat("x", 100_000)}},
	{"bpchar", column("c", oidBPChar), [][]byte{[]byte("ab   ")}, []string{"ab   "}},
	{"varchar", column("c", oidVarchar), [][]byte{[]byte("v")}, []string{"v"}},
	{"name", column("c", oidName), [][]byte{[]byte("n")}, []string{"n"}},
	{"bytea", column("c", oidBytea), [][]byte{{}, {0, 255, 16}}, []string{`\x`, `\x00ff10`}},
	{"char", column("c", oidChar), [][]byte{{'a'}, {0}, nil}, []string{"a", "", "<null>"}},
	{"uuid", column("c", oidUUID), [][]byte{bytes.Repeat([]byte{0xab}, 16), make([]byte, 16)},
		[]string{"abababab-abab-abab-abab-abababababab", "00000000-0000-0000-0000-000000000000"}},
	{"date", column("c", oidDate), [][]byte{be32(0), be32(-2451545 + 1), be32(2145031948), be32(-730119), be32(-730120)},
		[]string{"2000-01-01", "4714-11-25 BC", "5874897-12-31", "0001-01-01", "0001-12-31 BC"}},
	{"time", column("c", oidTime), [][]byte{be64(0), be64(microsPerDay), be64(1), be64(45296_789_000)},
		[]string{"00:00:00", "24:00:00", "00:00:00.000001", "12:34:56.789"}},
	{"timestamp", column("c", oidTimestamp), [][]byte{be64(0), be64(-1), be64(math.MaxInt64 - epochMicros), be64(-211813488000000000)},
		[]string{"2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "294247-01-10 04:00:54.775807", "4714-11-24 00:00:00 BC"}},
	{"timestamptz", column("c", oidTimestampTZ), [][]byte{be64(500000), be64(-211813488000000000)},
		[]string{"2000-01-01 00:00:00.5+00", "4714-11-24 00:00:00+00 BC"}},
	{"json", column("c", oidJSON), [][]byte{[]byte(`{"a" : 1}`)}, []string{`{"a" : 1}`}},
	{"jsonb", column("c", oidJSONB), [][]byte{[]byte("\x01{\"a\": 1}")}, []string{`{"a": 1}`}},
	{"enum", Column{Name: "c", TypeOID: 99999, TypeKind: 'e', TypMod: -1, Declared: "mood"}, [][]byte{[]byte("happy"), []byte("sad")}, []string{"happy", "sad"}},
	{"text[] as text", Column{Name: "c", TypeOID: 1009, TypeKind: 'b', HasElem: true, TypMod: -1, Declared: "text[]"}, [][]byte{[]byte("{a,b}")}, []string{"{a,b}"}},
}

func numericColumn(precision, scale int) Column {
	c := column("c", oidNumeric)
	c.TypMod = numericTypmod(precision, scale)
	return c
}

// A11: every value and NULL survives.
func TestTypesRoundTrip(t *testing.T) {
	t.Parallel()
	for _, tc := range typeCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := mustSchema(t, []Column{tc.column}, nil)
			stream := newCopyStream()
			for _, v := range tc.in {
				stream.row(v)
			}
			file, sum := mustEncode(t, s, stream.end())
			got := rows(t, file)
			if len(got) != len(tc.want) || sum.Rows != int64(len(tc.want)) {
				t.Fatalf("%d rows, summary says %d, want %d", len(got), sum.Rows, len(tc.want))
			}
			for i := range got {
				if got[i][0] != tc.want[i] {
					t.Errorf("row %d: got %q, want %q", i, got[i][0], tc.want[i])
				}
			}
		})
	}
}

// A19: an unrepresentable value is an error that names column, type and row.
func TestUnrepresentable(t *testing.T) {
	t.Parallel()
	key := column("id", oidInt8)
	key.Key = true
	for _, tc := range []struct {
		name   string
		column Column
		value  []byte
	}{
		{"numeric NaN", numericColumn(9, 2), num("NaN")},
		{"numeric Infinity", numericColumn(18, 2), num("Infinity")},
		{"numeric(38) NaN", numericColumn(38, 2), num("NaN")},
		{"numeric too long", numericColumn(9, 2), num("10000000.00")},
		{"numeric(18) too long", numericColumn(18, 0), num("1000000000000000000")},
		{"numeric(38) too long", numericColumn(38, 0), num("1" + strings.Repeat("0", 38))},
		{"numeric too fine", numericColumn(9, 2), num("0.001")},
		{"numeric(38) too fine", numericColumn(38, 2), num("0.001")},
		{"date infinity", column("c", oidDate), be32(math.MaxInt32)},
		{"date -infinity", column("c", oidDate), be32(math.MinInt32)},
		{"timestamp infinity", column("c", oidTimestamp), be64(math.MaxInt64)},
		{"timestamptz -infinity", column("c", oidTimestampTZ), be64(math.MinInt64)},
		{"timestamp beyond", column("c", oidTimestamp), be64(math.MaxInt64 - epochMicros + 1)},
		{"text not UTF-8", column("c", oidText), []byte{0xff}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cols := []Column{key, tc.column}
			stream := newCopyStream().row(be64(41), nil, tid(11, 1)).row(be64(42), tc.value, tid(12, 3)).end()
			s := mustSchema(t, cols, &SchemaOptions{RowID: true, CheckUTF8: true})
			_, _, err := encode(t, s, stream, 0, nil)
			var ue *UnrepresentableError
			if !errors.As(err, &ue) {
				t.Fatalf("got %v, want *UnrepresentableError", err)
			}
			if ue.Column != "c" || ue.Row != 2 || ue.RowID != "(12,3)" || len(ue.Key) != 1 || ue.Key[0] != (KeyValue{"id", "42"}) {
				t.Errorf("got %+v", ue)
			}
			s = mustSchema(t, cols, &SchemaOptions{RowID: true, CheckUTF8: true, OnUnrepresentable: UnrepresentableNull})
			file, _ := mustEncode(t, s, stream)
			if got := rows(t, file); got[1][0] != "42" || got[1][1] != "<null>" {
				t.Errorf("got %q, want NULL", got[1])
			}
		})
	}
}
