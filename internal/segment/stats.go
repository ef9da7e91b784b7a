package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go/format"
)

// ColumnStats is what the ledger keeps about a column of a segment. Min and Max are in PostgreSQL's output form: no value is
// less than Min or greater than Max. Strings compare byte by byte, as under the collation C, and their bounds may be cut; then
// Inexact is set. Columns whose values have no order that a reader could rely on have neither, and nor have arrays, composites
// and maps.
type ColumnStats struct {
	Name    string  `json:"name"`
	Nulls   int64   `json:"nulls"`
	Min     *string `json:"min,omitempty"`
	Max     *string `json:"max,omitempty"`
	Inexact bool    `json:"inexact,omitempty"`
}

// columnStats gathers the statistics of all row groups.
func (w *Writer) columnStats(meta *format.FileMetaData) []ColumnStats {
	stats := make([]ColumnStats, len(w.schema.columns))
	for i, c := range w.schema.columns {
		root := w.schema.tree.roots[i]
		s := &stats[i]
		s.Name = c.Name
		if root.nested() {
			s.Nulls = w.enc.nested.nulls[i]
			continue
		}
		m, leaf := root.mapping, root.first
		var lower, upper []byte
		for _, g := range meta.RowGroups {
			st := &g.Columns[leaf].MetaData.Statistics
			s.Nulls += st.NullCount
			if g.Columns[leaf].MetaData.NumValues == st.NullCount {
				continue
			}
			if lower == nil || m.compareBounds(st.MinValue, lower) < 0 {
				lower = append([]byte{}, st.MinValue...)
			}
			if upper == nil || m.compareBounds(st.MaxValue, upper) > 0 {
				upper = append([]byte{}, st.MaxValue...)
			}
		}
		if lower == nil || !m.comparable {
			continue
		}
		w.setBounds(s, i, lower, upper)
	}
	return stats
}

func (w *Writer) setBounds(s *ColumnStats, i int, lower, upper []byte) {
	root := w.schema.tree.roots[i]
	m := root.mapping
	if m.kind == kindText {
		s.Inexact = w.layout.leaves[root.first].bounds.lost
		lo, ok := validLower(lower)
		s.Inexact = s.Inexact || !ok
		s.Min = &lo
		if hi, exact, ok := validUpper(upper); ok {
			s.Inexact = s.Inexact || !exact
			s.Max = &hi
		}
		return
	}
	lo, hi := string(m.boundText(lower)), string(m.boundText(upper))
	s.Min, s.Max = &lo, &hi
}

// compareBounds orders two values in the form of Parquet's statistics.
func (m mapping) compareBounds(x, y []byte) int {
	switch m.kind {
	case kindBool:
		return bytes.Compare(x, y)
	case kindFloat32, kindFloat64:
		return compareFloats(m.boundFloat(x), m.boundFloat(y))
	case kindDecimal128:
		return (&bounds{kind: boundsOfDecimals}).compare(x, y)
	case kindUUID:
		return bytes.Compare(x, y)
	}
	if m.varlen() {
		return bytes.Compare(x, y)
	}
	return cmp.Compare(boundInteger(x), boundInteger(y))
}

func boundInteger(b []byte) int64 {
	switch len(b) {
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case 8:
		return int64(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (m mapping) boundFloat(b []byte) float64 {
	if m.kind == kindFloat32 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// boundText prints a value in the form of Parquet's statistics.
func (m mapping) boundText(b []byte) []byte {
	switch m.kind {
	case kindBool:
		return appendBool(nil, len(b) > 0 && b[0] != 0)
	case kindFloat32:
		return appendFloat(nil, m.boundFloat(b), 32)
	case kindFloat64:
		return appendFloat(nil, m.boundFloat(b), 64)
	case kindUUID, kindDecimal128:
		return m.appendBytes(nil, b, true)
	}
	return m.appendInteger(nil, boundInteger(b))
}

// validLower cuts b to the valid UTF-8 at its start, which is no greater.
func validLower(b []byte) (string, bool) {
	n := validPrefix(b)
	return string(b[:n]), n == len(b)
}

// validUpper returns valid UTF-8 that is no less than b: a bound that was cut and raised may end inside of a character.
func validUpper(b []byte) (s string, exact, ok bool) {
	n := validPrefix(b)
	if n == len(b) {
		return string(b), true, true
	}
	// Raise the last character before the broken one that has a successor.
	for p := b[:n]; len(p) > 0; {
		r, size := utf8.DecodeLastRune(p)
		p = p[:len(p)-size]
		if r++; r == 0xd800 {
			r = 0xe000
		}
		if r <= utf8.MaxRune {
			return string(utf8.AppendRune(p[:len(p):len(p)], r)), false, true
		}
	}
	return "", false, false
}

func validPrefix(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}
