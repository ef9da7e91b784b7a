package segment

import (
	"bytes"
	"encoding/binary"

	"github.com/parquet-go/parquet-go"
)

// boundBytes is where the bounds of strings are cut. A bound that was cut still is one: a lower bound is cut off, an upper
// bound is cut off and raised.
const boundBytes = 64

// boundsKind says what is wrong with parquet-go's own bounds.
type boundsKind uint8

const (
	boundsOfStrings  boundsKind = iota // they are whole values, four copies to a page
	boundsOfDecimals                   // they take the bytes of a negative decimal for a large number
	boundsOfFloats                     // they leave out NaN, which PostgreSQL and DuckDB hold for the greatest float
)

// bounds follows the least and the greatest value of a page.
type bounds struct {
	kind     boundsKind
	nan      bool // a float was NaN
	seen     bool
	min, max []byte
	cut      bool   // max lacks an end
	longest  int    // of the values that max was cut from, or that equal it so far
	lost     bool   // some bound of the file was cut; survives reset
	upper    []byte // scratch
}

func (b *bounds) reset() {
	b.seen, b.nan, b.cut, b.longest = false, false, false, 0
	b.min, b.max = b.min[:0], b.max[:0]
}

// add takes a value into the bounds; v may be reused afterwards.
func (b *bounds) add(v []byte) {
	p := v[:min(len(v), boundBytes)]
	if len(p) < len(v) {
		b.longest = max(b.longest, len(v))
	}
	if !b.seen {
		b.seen = true
		b.min = append(b.min[:0], p...)
		b.max, b.cut = append(b.max[:0], p...), len(p) < len(v)
		b.lost = b.lost || b.cut
		return
	}
	if b.compare(p, b.min) < 0 {
		b.min = append(b.min[:0], p...)
		b.lost = b.lost || len(p) < len(v)
	}
	if c := b.compare(p, b.max); c > 0 {
		b.max, b.cut = append(b.max[:0], p...), len(p) < len(v)
		b.lost = b.lost || b.cut
	} else if c == 0 && len(p) < len(v) {
		b.cut, b.lost = true, true
	}
}

func (b *bounds) compare(x, y []byte) int {
	if b.kind == boundsOfDecimals && len(x) == 16 && len(y) == 16 && (x[0]^y[0])&0x80 != 0 {
		return int(int8(x[0])>>7) - int(int8(y[0])>>7)
	}
	return bytes.Compare(x, y)
}

// addValues takes a batch of values. Most strings are judged by their first eight bytes.
func (b *bounds) addValues(vals []parquet.Value) {
	switch b.kind {
	case boundsOfFloats:
		return // parquet-go's do, and the encoder has noted NaN
	case boundsOfDecimals:
		for i := range vals {
			if !vals[i].IsNull() {
				b.add(vals[i].ByteArray())
			}
		}
		return
	}
	var lo, hi []byte
	var loKey, hiKey uint64
	seen := false
	for i := range vals {
		if vals[i].IsNull() {
			continue
		}
		v := vals[i].ByteArray()
		key := prefixKey(v)
		if !seen {
			seen, lo, hi, loKey, hiKey = true, v, v, key, key
			continue
		}
		if key < loKey || key == loKey && bytes.Compare(v, lo) < 0 {
			lo, loKey = v, key
		}
		if key > hiKey || key == hiKey && bytes.Compare(v, hi) > 0 {
			hi, hiKey = v, key
		}
		if len(v) > boundBytes {
			b.longest = max(b.longest, len(v))
		}
	}
	if seen {
		b.add(lo)
		b.add(hi)
	}
}

// prefixKey orders like the first eight bytes of v, padded with zeros.
func prefixKey(v []byte) uint64 {
	if len(v) >= 8 {
		return binary.BigEndian.Uint64(v)
	}
	var k uint64
	for i, c := range v {
		k |= uint64(c) << (56 - 8*i)
	}
	return k
}

// upperBound returns a value that no value of the page exceeds.
func (b *bounds) upperBound() []byte {
	if !b.cut {
		return b.max
	}
	b.upper = append(b.upper[:0], b.max...)
	for i := len(b.upper) - 1; i >= 0; i-- {
		if b.upper[i] < 0xff {
			b.upper[i]++
			return b.upper[:i+1]
		}
	}
	// All bytes are the greatest there is; only so many of them that no value has more are an upper bound.
	return append(b.upper, bytes.Repeat([]byte{0xff}, b.longest-len(b.upper))...)
}

func (b *bounds) values() (lower, upper parquet.Value, ok bool) {
	if !b.seen {
		return parquet.Value{}, parquet.Value{}, false
	}
	if b.kind == boundsOfDecimals {
		return parquet.FixedLenByteArrayValue(b.min), parquet.FixedLenByteArrayValue(b.max), true
	}
	return parquet.ByteArrayValue(b.min), parquet.ByteArrayValue(b.upperBound()), true
}
