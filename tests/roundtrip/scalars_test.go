package roundtrip

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

func scalar(sql string, s shape, value func(g *gen) string) *typ {
	return &typ{sql: sql, shape: s, value: value}
}

// oneOf makes a type whose values are a choice.
func oneOf(sql string, s shape, values ...string) typ {
	return typ{sql: sql, shape: s, value: func(g *gen) string { return pick(g, values) }}
}

// hstore needs its extension in the schema public.
var hstore = &typ{sql: "public.hstore", shape: asMap, value: func(g *gen) string {
	var parts []string
	for range g.IntN(4) {
		v := "NULL"
		if !g.oneIn(4) {
			v = `"` + backslashed(text(g)) + `"`
		}
		parts = append(parts, `"`+backslashed(text(g))+`"=>`+v)
	}
	return strings.Join(parts, ", ")
}}

var box = typ{sql: "box", shape: opaque, semicolon: true, value: func(*gen) string { return "(1,1),(0,0)" }}

// scalars are all types that are not made of others.
var scalars = []typ{
	oneOf("bool", asBool, "t", "f"),
	{sql: "int2", shape: asInt, value: integer(16)}, {sql: "int4", shape: asInt, value: integer(32)}, {sql: "int8", shape: asInt, value: integer(64)},
	{sql: "oid", shape: asInt, value: func(g *gen) string { return fmt.Sprint(g.Uint32()) }},
	{sql: "float4", shape: asFloat4, value: float(32)}, {sql: "float8", shape: asFloat8, value: float(64)},
	decimal(4, 2), decimal(9, 9), decimal(9, 0), decimal(12, 2), decimal(18, 5), decimal(19, 4), decimal(38, 10), decimal(38, 0), decimal(38, 38),
	{sql: "numeric", shape: asText, value: func(g *gen) string {
		return pick(g, []string{"NaN", "Infinity", "-Infinity", "0.000", "1e300", "-1e-300", digits(g, 60) + "." + digits(g, 60)})
	}},
	oneOf("numeric(50,3)", asText, "NaN", "12345678901234567890123456789012345678901234567.125", "-0.001"),
	oneOf("numeric(5,-3)", asText, "12345678", "0"),
	{sql: "text", shape: asText, value: text}, {sql: "text", shape: asText, value: text}, {sql: `text COLLATE "C"`, shape: asText, value: text},
	{sql: "varchar", shape: asText, value: text}, {sql: "public.citext", shape: opaque, value: text},
	{sql: "varchar(10)", shape: asText, value: short(10)}, {sql: "char(7)", shape: asText, value: short(7)}, {sql: "name", shape: asText, value: short(20)},
	{sql: "bytea", shape: asBytes, value: func(g *gen) string {
		b := make([]byte, g.IntN(40))
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		return `\x` + hex.EncodeToString(b)
	}},
	oneOf(`"char"`, asChar, "a", "", "\\", `"`, ","),
	{sql: "uuid", shape: asUUID, value: func(g *gen) string { return fmt.Sprintf("%016x%016x", g.Uint64(), g.Uint64()) }},
	{sql: "date", shape: asDate, value: func(g *gen) string { return date(between(g, -2440588, 2145042541-10957)) }},
	{sql: "time", shape: asTime, value: func(g *gen) string { return clock(between(g, 0, 86400e6)) }},
	{sql: "time(2)", shape: asTime, value: func(g *gen) string { return clock(between(g, 0, 86400e6)) }},
	{sql: "timestamp", shape: asTimestamp, value: moment}, {sql: "timestamptz", shape: asTimestamp, value: func(g *gen) string { return moment(g) }},
	oneOf("json", asJSON, `{"b" : 1, "a": [ 1,2 ], "a": null}`, "null", `"te\"xt\\"`, "[]", "1e3", ` {"x":"日本"} `),
	oneOf("jsonb", asJSON, `{"b" : 1, "a": [ 1,2, {"deep": "日本"} ]}`, "null", `"te\"xt\\"`, "1e3", "{}"),

	oneOf("xml", opaque, `<a b="c">d</a>`, "", "text"), oneOf("timetz", opaque, "12:34:56.5+05:30", "24:00:00-15:59"),
	oneOf("interval", opaque, "1 year 2 mons -3 days 04:05:06.789", "0", "-00:00:00.000001"), oneOf("interval day to second(2)", opaque, "1 day 01:02:03.456"),
	oneOf("inet", opaque, "10.0.0.1", "10.0.0.1/8", "::1"), oneOf("cidr", opaque, "10.1.2.0/24"), oneOf("macaddr", opaque, "08:00:2b:01:02:03"),
	oneOf("macaddr8", opaque, "08:00:2b:01:02:03:04:05"), oneOf("bit(4)", opaque, "1010"), oneOf("varbit", opaque, "", "101"), oneOf("money", opaque, "12.34", "-1"),
	oneOf("point", opaque, "(1.5,-2)"), box, oneOf("path", opaque, "[(0,0),(1,1)]"), oneOf("polygon", opaque, "((0,0),(1,1),(1,0))"),
	oneOf("circle", opaque, "<(0,0),1.5>"), oneOf("line", opaque, "{1,2,3}"), oneOf("lseg", opaque, "[(0,0),(1,1)]"),
	oneOf("tsvector", opaque, "'a':1 'fat':2", ""), oneOf("tsquery", opaque, "'a' & 'b'"), oneOf("jsonpath", opaque, "$.a[*]"),
	oneOf("int4range", opaque, "[1,5)", "empty", "(,)"), oneOf("numrange", opaque, "[1.5,2.50]"), oneOf("daterange", opaque, "[2026-01-01,infinity)"),
	oneOf("tstzrange", opaque, `["2026-01-01 00:00:00+00",)`), oneOf("int8multirange", opaque, "{[1,3),[5,7)}", "{}"), oneOf("tsmultirange", opaque, `{["2026-01-01 00:00:00",)}`),
	oneOf("pg_lsn", opaque, "16/B374D848"), oneOf("regclass", opaque, "pg_class", "123456789"), oneOf("regtype", opaque, "integer"), oneOf("tid", opaque, "(1,2)"),
	oneOf("xid", opaque, "7"), oneOf("xid8", opaque, "18446744073709551615"), oneOf("pg_snapshot", opaque, "1:2:"), oneOf("int2vector", opaque, "1 2 3", ""),
	oneOf("oidvector", opaque, "4294967295 1"), oneOf("public.cube", opaque, "(1, 2),(3, 4)"),
}

// between makes a number, at the limits more often than chance would.
func between(g *gen, lo, hi int64) int64 {
	switch g.IntN(8) {
	case 0:
		return lo
	case 1:
		return hi
	case 2:
		return max(lo, min(hi, int64(g.IntN(3)-1)))
	}
	return lo + int64(g.Uint64N(uint64(hi-lo)))
}

func integer(bits int) func(g *gen) string {
	return func(g *gen) string {
		v := int64(g.Uint64()) >> (64 - bits)
		switch g.IntN(8) {
		case 0:
			v = -1 << (bits - 1)
		case 1:
			v = 1<<(bits-1) - 1
		case 2:
			v = int64(g.IntN(3) - 1)
		}
		return fmt.Sprint(v)
	}
}

func float(bits int) func(g *gen) string {
	return func(g *gen) string {
		if g.oneIn(3) {
			return pick(g, []string{"NaN", "Infinity", "-Infinity", "-0", "0", "0.1", "1e15", "16777217", "1e-5"})
		}
		if bits == 32 {
			return strconv.FormatFloat(float64(math.Float32frombits(g.Uint32()&0xff7fffff|1)), 'g', -1, 32)
		}
		return strconv.FormatFloat(math.Float64frombits(g.Uint64()&^(1<<62)|1), 'g', -1, 64)
	}
}

func digits(g *gen, n int) string {
	b := make([]byte, 1+g.IntN(n))
	for i := range b {
		b[i] = byte('0' + g.IntN(10))
	}
	return string(b)
}

func decimal(precision, scale int) typ {
	return typ{sql: fmt.Sprintf("numeric(%d,%d)", precision, scale), shape: asDecimal, value: func(g *gen) string {
		sign := pick(g, []string{"", "-"})
		switch {
		case g.oneIn(5):
			return sign + strings.Repeat("9", precision-scale) + "." + strings.Repeat("9", scale)
		case precision == scale:
			return sign + "0." + digits(g, scale)
		}
		return sign + digits(g, precision-scale)
	}}
}

// text makes a string of all sorts.
func text(g *gen) string {
	if g.big {
		g.big = false
		return strings.Repeat("ten MB, \"quoted\" \\ ünï ", 10<<20/24)
	}
	switch g.IntN(8) {
	case 0:
		return pick(g, []string{"", "NULL", "null", " ", `"`, `\`, `\N`, "{}", "()", ",", "\t\n\r\v\f", "a=>b", "\x01\x7f", "\ufeff", "�", "e\u0301", "\u00a0"})
	case 1:
		return strings.Repeat(pick(g, []string{"long ", "日本", `"\`, "\n"}), g.IntN(3000))
	}
	return short(30)(g)
}

// short makes a string of at most n characters.
func short(n int) func(g *gen) string {
	alphabet := []rune(`abcdefghijklmnopqrstuvwxyzABC0189 ,;:{}()[]"'\%=>ßäß日本語🎉`)
	return func(g *gen) string {
		r := make([]rune, g.IntN(n+1))
		for i := range r {
			r[i] = pick(g, alphabet)
		}
		return string(r)
	}
}

// The forms below are PostgreSQL's ISO style, made by Go's calendar.

func date(days int64) string {
	year, month, day := time.Unix(days*86400, 0).UTC().Date()
	if year <= 0 {
		return fmt.Sprintf("%04d-%02d-%02d BC", 1-year, month, day)
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, month, day)
}

func clock(us int64) string {
	return fmt.Sprintf("%02d:%02d:%02d.%06d", us/3600e6, us/60e6%60, us/1e6%60, us%1e6)
}

// moment makes a time from PostgreSQL's first one to nearly the last that Parquet holds.
func moment(g *gen) string {
	us := between(g, -210866803200000000, math.MaxInt64-2)
	days := us / 86400e6
	if us%86400e6 < 0 {
		days--
	}
	d, bc := strings.CutSuffix(date(days), " BC")
	s := d + " " + clock(us-days*86400e6)
	if bc {
		s += " BC"
	}
	return s
}
