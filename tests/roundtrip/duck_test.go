package roundtrip

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// duckStep: DuckDB, which shares no code with the writer, sees the same values, under types of its own.
func duckStep(t *testing.T, r *rig, m *moved) {
	quoted := make([]string, len(m.files))
	for i, f := range m.files {
		quoted[i] = literal(&f)
	}
	rows, err := r.duck.Query("SELECT * FROM read_parquet([" + strings.Join(quoted, ", ") + "], hive_partitioning = false)")
	must(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	must(t, err)
	if len(names) != len(m.columns) {
		t.Fatalf("DuckDB sees %d columns, want %d", len(names), len(m.columns))
	}
	seen := 0
	for rows.Next() {
		values := make([]any, len(names))
		to := make([]any, len(names))
		for i := range values {
			to[i] = &values[i]
		}
		must(t, rows.Scan(to...))
		seen++
		want := m.want[fmt.Sprint(values[0])]
		if want == nil {
			t.Errorf("DuckDB reads a row %v, which was not there", values[0])
			continue
		}
		for i, c := range m.columns {
			if names[i] != c.name {
				t.Errorf("DuckDB calls column %q %q", c.name, names[i])
			}
			if diff := c.typ.differs(values[i], want[i]); diff != "" {
				t.Errorf("DuckDB, row %v, column %q (%s): %s; PostgreSQL had %s", values[0], c.name, c.typ.sql, diff, show(want[i]))
			}
		}
	}
	must(t, rows.Err())
	if seen != len(m.want) {
		t.Errorf("DuckDB reads %d rows, want %d", seen, len(m.want))
	}
}

// differs compares a value of DuckDB's driver with what PostgreSQL printed, and says what is wrong.
func (t *typ) differs(got any, want *string) string {
	if got == nil || want == nil {
		if got == nil && (want == nil || t.shape == asJSON && *want == "null") { // the driver takes JSON's null for SQL's
			return ""
		}
		return fmt.Sprintf("got %.200v", got)
	}
	if t.hasOpaque() {
		if got != any(*want) {
			return fmt.Sprintf("got %T %.200q", got, got)
		}
		return ""
	}
	switch t.shape {
	case asList:
		return t.listDiffers(got, *want)
	case asStruct:
		return t.structDiffers(got, *want)
	case asMap:
		return mapDiffers(got, *want)
	case asJSON:
		var value any
		if err := json.Unmarshal([]byte(*want), &value); err != nil {
			return err.Error()
		}
		if !reflect.DeepEqual(got, value) {
			return fmt.Sprintf("got %#v", got)
		}
		return ""
	}
	a, err := t.duckText(got)
	if err != nil {
		return err.Error()
	}
	if b := t.pgText(*want); a != b {
		return fmt.Sprintf("got %.200q, want %.200q", a, b)
	}
	return ""
}

func (t *typ) listDiffers(got any, want string) string {
	list, ok := got.([]any)
	items := splitArray(want)
	if !ok || len(list) != len(items) {
		return fmt.Sprintf("got %T of %.200v", got, got)
	}
	for i := range items {
		if diff := t.elem.differs(list[i], items[i]); diff != "" {
			return fmt.Sprintf("element %d: %s", i+1, diff)
		}
	}
	return ""
}

func (t *typ) structDiffers(got any, want string) string {
	values, ok := got.(map[string]any)
	parts := splitRecord(want)
	if !ok || len(values) != len(t.fields) || len(parts) != len(t.fields) {
		return fmt.Sprintf("got %T of %.200v", got, got)
	}
	for i, f := range t.fields {
		value, ok := values[f.name]
		if !ok {
			return fmt.Sprintf("no attribute %q", f.name)
		}
		if diff := f.typ.differs(value, parts[i]); diff != "" {
			return fmt.Sprintf("attribute %q: %s", f.name, diff)
		}
	}
	return ""
}

func mapDiffers(got any, want string) string {
	m, ok := got.(duckdb.OrderedMap)
	if !ok {
		return fmt.Sprintf("got %T", got)
	}
	var parts []string
	for i, k := range m.Keys() {
		v := "NULL"
		if m.Values()[i] != nil {
			v = `"` + backslashed(m.Values()[i].(string)) + `"`
		}
		parts = append(parts, `"`+backslashed(k.(string))+`"=>`+v)
	}
	if text := strings.Join(parts, ", "); text != want {
		return fmt.Sprintf("got %.200q", text)
	}
	return ""
}

// duckText and pgText spell a value in one way.
func (t *typ) duckText(got any) (string, error) {
	switch v := got.(type) {
	case bool:
		return map[bool]string{true: "t", false: "f"}[v], nil
	case int16, int32, int64:
		return fmt.Sprint(v), nil
	case float32:
		return bits(float64(v)), nil
	case float64:
		return bits(v), nil
	case string:
		return v, nil
	case duckdb.Decimal:
		text := fmt.Sprintf("%0*d", int(v.Scale)+1, new(big.Int).Abs(v.Value))
		if v.Scale > 0 {
			text = text[:len(text)-int(v.Scale)] + "." + text[len(text)-int(v.Scale):]
		}
		return strings.Repeat("-", max(0, -v.Value.Sign())) + text, nil
	case []byte:
		if t.shape == asUUID {
			return hex.EncodeToString(v), nil
		}
		return `\x` + hex.EncodeToString(v), nil
	case time.Time:
		if t.shape == asTime {
			return fmt.Sprint(v.Sub(v.Truncate(24 * time.Hour)).Microseconds()), nil
		}
		return fmt.Sprint(v.UnixMicro()), nil
	}
	return "", fmt.Errorf("got a %T", got)
}

func (t *typ) pgText(want string) string {
	switch t.shape {
	case asFloat4:
		v, _ := strconv.ParseFloat(want, 32)
		return bits(v)
	case asFloat8:
		v, _ := strconv.ParseFloat(want, 64)
		return bits(v)
	case asChar:
		if want == "" {
			return `\x00`
		}
		return `\x` + hex.EncodeToString([]byte(want))
	case asUUID:
		return strings.ReplaceAll(want, "-", "")
	case asDate, asTimestamp:
		return fmt.Sprint(microsOf(want))
	case asTime:
		return fmt.Sprint(clockOf(want) % 86400e6) // the driver takes 24:00 for 00:00
	}
	return want
}

// bits names a float exactly; the many NaNs are one.
func bits(v float64) string {
	if math.IsNaN(v) {
		return "NaN"
	}
	return fmt.Sprintf("%v %x", v, math.Float64bits(v))
}

// microsOf reads a date or timestamp of ISO style, of any year.
func microsOf(s string) int64 {
	s, bc := strings.CutSuffix(s, " BC")
	day, at, _ := strings.Cut(strings.TrimSuffix(s, "+00"), " ")
	parts := strings.Split(day, "-")
	year, month, date := number(parts[0]), number(parts[1]), number(parts[2])
	if bc {
		year = 1 - year
	}
	us := time.Date(year, time.Month(month), date, 0, 0, 0, 0, time.UTC).UnixMicro()
	if at != "" {
		us += clockOf(at)
	}
	return us
}

func clockOf(s string) int64 {
	s, frac, _ := strings.Cut(s, ".")
	parts := strings.Split(s, ":")
	frac += strings.Repeat("0", 6-len(frac))
	return int64(number(parts[0]))*3600e6 + int64(number(parts[1]))*60e6 + int64(number(parts[2]))*1e6 + int64(number(frac))
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// splitArray reads PostgreSQL's output form of an array of one dimension.
func splitArray(s string) (items []*string) {
	if s == "{}" {
		return nil
	}
	for rest := s[1:]; ; {
		var item *string
		var quoted bool
		item, rest, quoted = token(rest, ",}", func(c, next byte) bool { return c == '\\' })
		if !quoted && *item == "NULL" {
			item = nil
		}
		items = append(items, item)
		end := rest[0] == '}'
		if rest = rest[1:]; end {
			return items
		}
	}
}

// splitRecord reads the output form of a composite.
func splitRecord(s string) (parts []*string) {
	for rest := s[1:]; ; {
		var part *string
		var quoted bool
		part, rest, quoted = token(rest, ",)", func(c, next byte) bool { return c == '\\' || c == '"' && next == '"' })
		if !quoted && *part == "" {
			part = nil
		}
		parts = append(parts, part)
		end := rest[0] == ')'
		if rest = rest[1:]; end {
			return parts
		}
	}
}

// token reads up to one of the delimiters, which it leaves.
func token(s, delimiters string, escape func(c, next byte) bool) (value *string, rest string, quoted bool) {
	var b []byte
	inside := false
	for i := 0; ; i++ {
		if n := strings.IndexAny(s[i:], `"\`+delimiters); n > 0 {
			b = append(b, s[i:i+n]...)
			i += n
		}
		c, next := s[i], byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		switch {
		case inside && escape(c, next):
			b = append(b, next)
			i++
		case c == '"':
			inside, quoted = !inside, true
		case !inside && strings.IndexByte(delimiters, c) >= 0:
			text := string(b)
			return &text, s[i:], quoted
		default:
			b = append(b, c)
		}
	}
}
