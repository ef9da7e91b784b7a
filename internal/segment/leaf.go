package segment

import (
	"math"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
)

// leafType is a Parquet type of one column of one file, whose pages take their bounds from us.
type leafType struct {
	parquet.Type
	bounds *bounds
	dict   parquet.Dictionary // set once the column has one
}

func (t *leafType) Compare(x, y parquet.Value) int {
	if t.bounds.kind == boundsOfFloats {
		return compareFloats(floatOf(x), floatOf(y))
	}
	return t.bounds.compare(x.ByteArray(), y.ByteArray())
}

func (t *leafType) NewColumnIndexer(int) parquet.ColumnIndexer {
	indexer := t.Type.NewColumnIndexer(0) // our bounds are short already
	if t.bounds.kind != boundsOfStrings {
		return unorderedIndexer{indexer}
	}
	return indexer
}

func (t *leafType) NewColumnBuffer(columnIndex, _ int) parquet.ColumnBuffer {
	return &leafBuffer{ColumnBuffer: t.Type.NewColumnBuffer(columnIndex, 0), bounds: t.bounds}
}

func (t *leafType) NewDictionary(columnIndex, numValues int, data encoding.Values) parquet.Dictionary {
	t.dict = t.Type.NewDictionary(columnIndex, numValues, data)
	return leafDictionary{Dictionary: t.dict, leaf: t}
}

// leafDictionary is a dictionary whose column keeps our bounds.
type leafDictionary struct {
	parquet.Dictionary
	leaf *leafType
}

func (d leafDictionary) Type() parquet.Type {
	return &indexedType{Type: d.Dictionary.Type(), leaf: d.leaf}
}

// indexedType is the type of a column while it has a dictionary. The column writer asks it for a buffer of indexes first, and
// once more when the dictionary has grown too large: for a plain one.
type indexedType struct {
	parquet.Type
	leaf *leafType
	used bool
}

func (t *indexedType) NewColumnBuffer(columnIndex, _ int) parquet.ColumnBuffer {
	if t.used {
		return t.leaf.NewColumnBuffer(columnIndex, 0)
	}
	t.used = true
	return &leafBuffer{ColumnBuffer: t.Type.NewColumnBuffer(columnIndex, 0), bounds: t.leaf.bounds}
}

func (t *indexedType) NewColumnIndexer(limit int) parquet.ColumnIndexer {
	return t.leaf.NewColumnIndexer(limit)
}

// leafBuffer gives its page our bounds.
type leafBuffer struct {
	parquet.ColumnBuffer
	bounds *bounds
}

func (b *leafBuffer) Page() parquet.Page {
	return &leafPage{Page: b.ColumnBuffer.Page(), bounds: b.bounds}
}

func (b *leafBuffer) Reset() {
	b.ColumnBuffer.Reset()
	b.bounds.reset()
}

type leafPage struct {
	parquet.Page
	bounds *bounds
}

func (p *leafPage) Bounds() (lower, upper parquet.Value, ok bool) {
	if p.bounds.kind != boundsOfFloats {
		return p.bounds.values()
	}
	lower, upper, ok = p.Page.Bounds()
	if p.bounds.nan {
		// Readers have to take a NaN for an unknown bound, so nobody misses the rows that have it.
		upper = parquet.DoubleValue(math.NaN())
		if lower.Kind() == parquet.Float {
			upper = parquet.FloatValue(float32(math.NaN()))
		}
	}
	return lower, upper, ok
}

func floatOf(v parquet.Value) float64 {
	if v.Kind() == parquet.Float {
		return float64(v.Float())
	}
	return v.Double()
}

// compareFloats orders floats as PostgreSQL does, with NaN above all others.
func compareFloats(a, b float64) int {
	switch {
	case a == b || math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(b) || a < b:
		return -1
	}
	return 1
}

// unorderedIndexer keeps quiet about the order of pages, which parquet-go would take from unsigned bytes, or from NaN.
type unorderedIndexer struct{ parquet.ColumnIndexer }

func (i unorderedIndexer) ColumnIndex() format.ColumnIndex {
	index := i.ColumnIndexer.ColumnIndex()
	index.BoundaryOrder = format.Unordered
	return index
}
