package segment

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// columnEncoder turns the cells of one leaf of the file into values and hands them to the leaf's Parquet writer.
type columnEncoder struct {
	mapping
	node      *node
	index     int // of the column that the leaf belongs to
	checkUTF8 bool
	out       *parquet.ColumnWriter
	leaf      *leafType // for leaves whose bounds are ours, else nil
	maxDict   int64     // the dictionary's limit in bytes

	entries // of a leaf inside of a nested column
}

// encoder holds what all columns of a file share.
type encoder struct {
	schema  *Schema
	scan    *scanner
	columns []columnEncoder // the file's leaves
	vals    []parquet.Value // one batch of one column
	scratch []byte          // values that had to be rewritten
	nested  nestedState
}

func newEncoder(s *Schema, scan *scanner) *encoder {
	e := &encoder{
		schema:  s,
		scan:    scan,
		columns: make([]columnEncoder, len(s.tree.leaves)),
		vals:    make([]parquet.Value, batchRows),
	}
	e.nested.nulls = make([]int64, len(s.columns))
	for i, root := range s.tree.roots {
		for _, n := range s.tree.leaves[root.first:root.end] {
			e.columns[n.first] = columnEncoder{mapping: n.mapping, node: n, index: i, checkUTF8: s.opt.CheckUTF8 && n.text()}
		}
	}
	return e
}

// encodeBatch writes the scanner's batch, column by column.
func (e *encoder) encodeBatch() error {
	for i, root := range e.schema.tree.roots {
		if root.nested() {
			if err := e.encodeNested(i); err != nil {
				return err
			}
			continue
		}
		c := &e.columns[root.first]
		vals := e.vals[:e.scan.rows]
		e.scratch = e.scratch[:0]
		if err := e.fill(c, e.scan.column(i), vals); err != nil {
			return err
		}
		if err := e.write(c, vals); err != nil {
			return err
		}
	}
	if cap(e.scratch) > keepBytes {
		e.scratch = nil
	}
	return nil
}

// write hands the values of whole rows to the leaf's writer.
func (e *encoder) write(c *columnEncoder, vals []parquet.Value) error {
	if c.leaf != nil {
		c.leaf.bounds.addValues(vals)
	}
	if _, err := c.out.WriteRowValues(vals); err != nil {
		return fmt.Errorf("write column %q: %w", e.schema.columns[c.index].Name, err)
	}
	if c.leaf != nil && c.leaf.dict != nil && c.leaf.dict.Size() > c.maxDict {
		if err := c.out.Flush(); err != nil { // the column writer leaves a dictionary only between pages
			return fmt.Errorf("write column %q: %w", e.schema.columns[c.index].Name, err)
		}
	}
	return nil
}

// fill turns cells into values. The values point into the scanner's buffer or the scratch space.
func (e *encoder) fill(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	switch c.kind {
	case kindBool:
		return e.fillBool(c, cells, vals)
	case kindInt16, kindInt32, kindOID, kindInt64, kindTime:
		return e.fillInteger(c, cells, vals)
	case kindFloat32, kindFloat64:
		return e.fillFloat(c, cells, vals)
	case kindDate, kindTimestamp, kindTimestampTZ:
		return e.fillTime(c, cells, vals)
	case kindDecimal32, kindDecimal64:
		return e.fillDecimal(c, cells, vals)
	case kindDecimal128, kindNumericText:
		return e.fillRewritten(c, cells, vals)
	case kindUUID:
		return e.fillUUID(c, cells, vals)
	default:
		return e.fillBytes(c, cells, vals)
	}
}

func (e *encoder) fillBool(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf := e.scan.buf
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		if at.len != 1 {
			return e.badLength(c, i, at)
		}
		vals[i] = parquet.BooleanValue(buf[at.off] != 0)
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

func (e *encoder) fillInteger(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf, k := e.scan.buf, c.kind
	size := int32(8)
	switch k {
	case kindInt16:
		size = 2
	case kindInt32, kindOID:
		size = 4
	}
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		if at.len != size {
			return e.badLength(c, i, at)
		}
		b := buf[at.off : at.off+size]
		switch k {
		case kindInt16:
			vals[i] = parquet.Int32Value(int32(int16(binary.BigEndian.Uint16(b))))
		case kindInt32:
			vals[i] = parquet.Int32Value(int32(binary.BigEndian.Uint32(b)))
		case kindOID:
			vals[i] = parquet.Int64Value(int64(binary.BigEndian.Uint32(b)))
		default:
			vals[i] = parquet.Int64Value(int64(binary.BigEndian.Uint64(b)))
		}
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

func (e *encoder) fillFloat(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf, k := e.scan.buf, c.kind
	size := int32(8)
	if k == kindFloat32 {
		size = 4
	}
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		if at.len != size {
			return e.badLength(c, i, at)
		}
		b := buf[at.off : at.off+size]
		if k == kindFloat32 {
			v := math.Float32frombits(binary.BigEndian.Uint32(b))
			c.leaf.bounds.nan = c.leaf.bounds.nan || v != v
			vals[i] = parquet.FloatValue(v)
		} else {
			v := math.Float64frombits(binary.BigEndian.Uint64(b))
			c.leaf.bounds.nan = c.leaf.bounds.nan || v != v
			vals[i] = parquet.DoubleValue(v)
		}
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

func (e *encoder) fillTime(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf, k := e.scan.buf, c.kind
	size := int32(8)
	if k == kindDate {
		size = 4
	}
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		if at.len != size {
			return e.badLength(c, i, at)
		}
		b := buf[at.off : at.off+size]
		var reason string
		if k == kindDate {
			var v int32
			v, reason = parquetDate(int32(binary.BigEndian.Uint32(b)))
			vals[i] = parquet.Int32Value(v)
		} else {
			var v int64
			v, reason = parquetTimestamp(int64(binary.BigEndian.Uint64(b)))
			vals[i] = parquet.Int64Value(v)
		}
		vals[i].SetDefinitionLevel(1)
		if reason != "" {
			if err := e.reject(c, i, reason); err != nil {
				return err
			}
			vals[i] = parquet.Value{}
		}
	}
	return nil
}

func (e *encoder) fillDecimal(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		n, ok := parseNumeric(e.scan.bytes(at))
		if !ok {
			return e.badValue(c, i, at, reasonMalformedNumeric)
		}
		v, reason := n.decimal64(c.precision, c.scale)
		switch {
		case reason != "":
			if err := e.reject(c, i, reason); err != nil {
				return err
			}
			vals[i] = parquet.Value{}
			continue
		case c.kind == kindDecimal32:
			vals[i] = parquet.Int32Value(int32(v))
		default:
			vals[i] = parquet.Int64Value(v)
		}
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

// fillRewritten writes values whose bytes in the file are not those in the stream. A scratch space that moves while it grows
// is harmless: earlier values hold on to the old one.
func (e *encoder) fillRewritten(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		n, ok := parseNumeric(e.scan.bytes(at))
		if !ok {
			return e.badValue(c, i, at, reasonMalformedNumeric)
		}
		from := len(e.scratch)
		if c.kind == kindNumericText {
			if e.scratch, ok = n.appendText(e.scratch); !ok {
				return e.badValue(c, i, at, reasonMalformedNumeric)
			}
			vals[i] = parquet.ByteArrayValue(e.scratch[from:])
		} else {
			v, reason := n.decimal128(c.precision, c.scale)
			if reason != "" {
				if err := e.reject(c, i, reason); err != nil {
					return err
				}
				vals[i] = parquet.Value{}
				continue
			}
			e.scratch = binary.BigEndian.AppendUint64(e.scratch, v.hi)
			e.scratch = binary.BigEndian.AppendUint64(e.scratch, v.lo)
			vals[i] = parquet.FixedLenByteArrayValue(e.scratch[from:])
		}
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

func (e *encoder) fillUUID(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf := e.scan.buf
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		if at.len != 16 {
			return e.badLength(c, i, at)
		}
		vals[i] = parquet.FixedLenByteArrayValue(buf[at.off : at.off+16])
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

func (e *encoder) fillBytes(c *columnEncoder, cells []cell, vals []parquet.Value) error {
	buf, k := e.scan.buf, c.kind
	for i, at := range cells {
		if at.len < 0 {
			vals[i] = parquet.Value{}
			continue
		}
		b := buf[at.off : at.off+at.len]
		switch k {
		case kindJSONB:
			if len(b) == 0 || b[0] != 1 {
				return e.badValue(c, i, at, "jsonb of an unknown version")
			}
			b = b[1:]
		case kindChar:
			if len(b) != 1 {
				return e.badLength(c, i, at)
			}
		}
		if c.checkUTF8 && !utf8.Valid(b) {
			if err := e.reject(c, i, "not valid UTF-8"); err != nil {
				return err
			}
			vals[i] = parquet.Value{}
			continue
		}
		vals[i] = parquet.ByteArrayValue(b)
		vals[i].SetDefinitionLevel(1)
	}
	return nil
}

// reject decides about a value that its Parquet type cannot hold: nil means that NULL is written. at is the value's place
// among the leaf's cells.
func (e *encoder) reject(c *columnEncoder, at int, reason string) error {
	if e.schema.opt.OnUnrepresentable == UnrepresentableNull && !c.node.required {
		return nil
	}
	return e.unrepresentable(c.index, c.node, c.row(at), reason)
}

// unrepresentable names the row of the batch that has a value without a counterpart.
func (e *encoder) unrepresentable(column int, n *node, row int, reason string) error {
	col := e.schema.columns[column]
	err := &UnrepresentableError{
		Column:   col.Name,
		Path:     n.path,
		Declared: col.Declared,
		Reason:   reason,
		Row:      e.scan.rowBase + int64(row) + 1,
		RowID:    e.rowID(row),
	}
	for i, k := range e.schema.columns {
		if k.Key {
			err.Key = append(err.Key, KeyValue{Column: k.Name, Value: e.cellText(i, row)})
		}
	}
	return err
}

// rowID is the row's ctid, if the stream has it.
func (e *encoder) rowID(row int) string {
	if !e.schema.opt.RowID {
		return ""
	}
	b := e.scan.bytes(e.scan.column(len(e.schema.columns))[row])
	if len(b) != 6 {
		return ""
	}
	return fmt.Sprintf("(%d,%d)", binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]))
}

// cellText prints a value for an error, and never fails itself.
func (e *encoder) cellText(col, row int) string {
	const longest = 200
	at := e.scan.column(col)[row]
	if at.len < 0 {
		return "NULL"
	}
	text, ok := e.schema.tree.roots[col].streamText(e.scan.bytes(at))
	if !ok {
		return "?"
	}
	if len(text) > longest {
		text = append(text[:longest], "..."...)
	}
	return string(text)
}

func (e *encoder) badLength(c *columnEncoder, i int, at cell) error {
	return e.badValue(c, i, at, fmt.Sprintf("%d bytes are no value of type %s", at.len, c.node.typ.Declared))
}

func (e *encoder) badValue(c *columnEncoder, i int, at cell, reason string) error {
	return e.malformed(c.index, c.row(i), at, reason)
}

// malformed is the error for bytes that PostgreSQL would not send for a value.
func (e *encoder) malformed(column, row int, at cell, reason string) error {
	return &FormatError{
		Offset: e.scan.base + int64(at.off),
		Row:    e.scan.rowBase + int64(row) + 1,
		Column: e.schema.columns[column].Name,
		Reason: reason,
	}
}
