package segment

import (
	"encoding/binary"
	"fmt"

	"github.com/parquet-go/parquet-go"
)

// maxEntries is how many values of one leaf a batch may have, NULLs and empty lists included. A batch of more than one row has
// far fewer, so this bounds the elements of one array.
const maxEntries = 4 << 20

// keepEntries is how many are kept room for between batches.
const keepEntries = 64 << 10

// entries are the values of one leaf of a nested column in a batch, in Parquet's order: where each lies in the stream, and at
// which levels.
type entries struct {
	cells []cell
	rep   []uint8
	def   []uint8
}

func (s *entries) add(at cell, rep, def uint8) {
	s.cells = append(s.cells, at)
	s.rep = append(s.rep, rep)
	s.def = append(s.def, def)
}

func (s *entries) reset() {
	if cap(s.cells) > keepEntries {
		*s = entries{}
	}
	s.cells, s.rep, s.def = s.cells[:0], s.rep[:0], s.def[:0]
}

// row is the row of the batch that entry i belongs to. A leaf of a plain column has an entry for each row, and none here.
func (s *entries) row(i int) int {
	if len(s.rep) == 0 {
		return i
	}
	row := -1
	for _, r := range s.rep[:i+1] {
		if r == 0 {
			row++
		}
	}
	return row
}

// nestedState is what the nested columns of a file share.
type nestedState struct {
	vals  []parquet.Value
	nulls []int64 // of each column: rows that have NULL
	row   int     // of the batch, the one being walked
	index int     // of the column being walked
}

// encodeNested writes the batch's values of a nested column. They are walked first, which notes for each leaf where its values
// lie and at which levels; then each leaf goes the way of a plain column.
func (e *encoder) encodeNested(index int) error {
	root := e.schema.tree.roots[index]
	if err := e.walkColumn(index); err != nil {
		return err
	}
	for _, at := range e.scan.column(index) {
		if at.len < 0 {
			e.nested.nulls[index]++
		}
	}
	for i := root.first; i < root.end; i++ {
		c := &e.columns[i]
		if cap(e.nested.vals) < len(c.cells) {
			e.nested.vals = make([]parquet.Value, len(c.cells))
		}
		vals := e.nested.vals[:len(c.cells)]
		e.scratch = e.scratch[:0]
		if err := e.fill(c, c.cells, vals); err != nil {
			return err
		}
		for k := range vals {
			def := c.def[k]
			if vals[k].IsNull() && c.cells[k].len >= 0 {
				def-- // it had a value, which was rejected
			}
			vals[k].SetRepetitionLevel(int(c.rep[k]))
			vals[k].SetDefinitionLevel(int(def))
		}
		if err := e.write(c, vals); err != nil {
			return err
		}
		c.reset()
	}
	if cap(e.nested.vals) > keepEntries {
		e.nested.vals = nil
	}
	return nil
}

// walkColumn notes the entries of the batch's values of a column.
func (e *encoder) walkColumn(index int) error {
	root := e.schema.tree.roots[index]
	for i := root.first; i < root.end; i++ {
		e.columns[i].reset()
	}
	e.nested.index = index
	for row, at := range e.scan.column(index) {
		e.nested.row = row
		if err := e.walk(root, at, 0, 0); err != nil {
			return err
		}
	}
	return nil
}

// walk notes the entries of one value. def is the level at which n's parent is there.
func (e *encoder) walk(n *node, at cell, rep, def uint8) error {
	if at.len < 0 {
		return e.absent(n, rep, def)
	}
	switch n.kind {
	case kindList:
		return e.walkList(n, at, rep)
	case kindGroup:
		return e.walkGroup(n, at, rep)
	case kindMap:
		return e.walkMap(n, at, rep)
	}
	c := &e.columns[n.first]
	c.add(at, rep, n.def)
	return e.bounded(c)
}

// absent notes that all leaves of n end at a level above theirs.
func (e *encoder) absent(n *node, rep, def uint8) error {
	for i := n.first; i < n.end; i++ {
		c := &e.columns[i]
		c.add(cell{len: -1}, rep, def)
		if err := e.bounded(c); err != nil {
			return err
		}
	}
	return nil
}

func (e *encoder) bounded(c *columnEncoder) error {
	if len(c.cells) <= maxEntries {
		return nil
	}
	return e.unrepresentable(c.index, c.node, e.nested.row,
		fmt.Sprintf("more than %d elements in one value: flush the column as text, by the option as_text", maxEntries))
}

// walkList takes array_send's form: dimensions, flags, the elements' type, then size and lower bound of each dimension, then
// the elements.
func (e *encoder) walkList(n *node, at cell, rep uint8) error {
	r := fields{buf: e.scan.buf[:at.off+at.len], pos: at.off}
	dims := r.int32()
	r.int32() // whether there are NULLs
	typ := uint32(r.int32())
	if r.bad || dims < 0 {
		return e.malformed(e.nested.index, e.nested.row, at, "malformed array")
	}
	if elem := n.parts[0].typ; typ != elem.TypeOID && typ != elem.base() {
		return e.malformed(e.nested.index, e.nested.row, at, fmt.Sprintf("an array of type %d, expected %d", typ, elem.TypeOID))
	}
	if dims > 1 {
		return e.misshapen(n, fmt.Sprintf("an array of %d dimensions", dims))
	}
	size, lower := int32(0), int32(1)
	if dims == 1 {
		size, lower = r.int32(), r.int32()
	}
	switch {
	case r.bad || size < 0:
		return e.malformed(e.nested.index, e.nested.row, at, "malformed array")
	case size == 0:
		if err := e.finished(&r, at, "array"); err != nil {
			return err
		}
		return e.absent(n, rep, n.def)
	case lower != 1:
		return e.misshapen(n, fmt.Sprintf("an array whose lower bound is %d", lower))
	}
	for i := range size {
		if i > 0 {
			rep = n.rep
		}
		if err := e.walkField(n.parts[0], &r, at, rep, n.def+1); err != nil {
			return err
		}
	}
	return e.finished(&r, at, "array")
}

// misshapen is the error for an array that a Parquet LIST cannot tell from another one. It is not subject to the policy about
// single values: as text, nothing of it is lost.
func (e *encoder) misshapen(n *node, what string) error {
	return e.unrepresentable(e.nested.index, n, e.nested.row, what+" has no LIST: flush the column as text, by the option as_text")
}

// walkGroup takes record_send's form: the number of attributes, then type and value of each.
func (e *encoder) walkGroup(n *node, at cell, rep uint8) error {
	r := fields{buf: e.scan.buf[:at.off+at.len], pos: at.off}
	count := r.int32()
	if r.bad {
		return e.malformed(e.nested.index, e.nested.row, at, "malformed composite")
	}
	if int(count) != len(n.parts) {
		return e.changed(n)
	}
	for _, p := range n.parts {
		if typ := uint32(r.int32()); !r.bad && typ != p.typ.TypeOID {
			return e.changed(n)
		}
		if err := e.walkField(p, &r, at, rep, n.def); err != nil {
			return err
		}
	}
	return e.finished(&r, at, "composite")
}

func (e *encoder) changed(n *node) error {
	return fmt.Errorf("column %q: type %s: %w", e.schema.columns[e.nested.index].Name, n.typ.Declared, ErrTypeChanged)
}

// walkMap takes hstore_send's form: the number of pairs, then key and value of each.
func (e *encoder) walkMap(n *node, at cell, rep uint8) error {
	r := fields{buf: e.scan.buf[:at.off+at.len], pos: at.off}
	count := r.int32()
	if r.bad || count < 0 {
		return e.malformed(e.nested.index, e.nested.row, at, "malformed hstore")
	}
	if count == 0 {
		if err := e.finished(&r, at, "hstore"); err != nil {
			return err
		}
		return e.absent(n, rep, n.def)
	}
	for i := range count {
		if i > 0 {
			rep = n.rep
		}
		if key := r.peek(); key < 0 {
			return e.malformed(e.nested.index, e.nested.row, at, "an hstore with a NULL key")
		}
		for _, p := range n.parts {
			if err := e.walkField(p, &r, at, rep, n.def+1); err != nil {
				return err
			}
		}
	}
	return e.finished(&r, at, "hstore")
}

// walkField walks a value that stands behind its length.
func (e *encoder) walkField(n *node, r *fields, at cell, rep, def uint8) error {
	size := r.int32()
	if r.bad || size < -1 || int64(r.pos)+int64(size) > int64(len(r.buf)) {
		return e.malformed(e.nested.index, e.nested.row, at, "a part of the value reaches beyond its end")
	}
	part := cell{off: r.pos, len: size}
	if size > 0 {
		r.pos += size
	}
	return e.walk(n, part, rep, def)
}

func (e *encoder) finished(r *fields, at cell, what string) error {
	if r.bad || int(r.pos) != len(r.buf) {
		return e.malformed(e.nested.index, e.nested.row, at, "malformed "+what)
	}
	return nil
}

// fields reads 32-bit words of a value. Beyond the end they are 0, and bad is set.
type fields struct {
	buf []byte
	pos int32
	bad bool
}

func (r *fields) int32() int32 {
	v := r.peek()
	if !r.bad {
		r.pos += 4
	}
	return v
}

func (r *fields) peek() int32 {
	if len(r.buf)-int(r.pos) < 4 {
		r.bad = true
		return 0
	}
	return int32(binary.BigEndian.Uint32(r.buf[r.pos:]))
}
