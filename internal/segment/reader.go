package segment

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// readerBatch is how many values of a column a Reader holds.
const readerBatch = 128

// Value is a value as PostgreSQL prints it. Text is valid until the next call of Next.
type Value struct {
	Null bool
	Text []byte
}

// Reader gives a segment's rows back as PostgreSQL would print them with DateStyle ISO, TimeZone UTC, extra_float_digits 1 and
// bytea_output hex. It is used by one goroutine.
type Reader struct {
	file    *parquet.File
	source  io.ReaderAt
	size    int64
	footer  Footer
	groups  []parquet.RowGroup
	group   int // the next one
	tree    *tree
	columns []columnReader // the file's leaves
	octal   bool           // "char" prints high bytes in octal

	left int64 // rows of the row group still to come
	row  []Value
	text []byte
	part []byte // scratch: a part of a value before it is quoted
	err  error
}

// columnReader holds the next values of one leaf.
type columnReader struct {
	mapping
	values parquet.ColumnChunkValueReader
	buf    []parquet.Value
	at, n  int
	left   int64 // values of the row group that were not yet read into buf
}

// OpenReader opens a segment. The Reader reads r until Close.
func OpenReader(r io.ReaderAt, size int64) (*Reader, error) {
	f, t, ft, err := openFile(r, size)
	if err != nil {
		return nil, err
	}
	rd := &Reader{
		file:    f,
		source:  r,
		size:    size,
		footer:  ft,
		groups:  f.RowGroups(),
		tree:    t,
		columns: make([]columnReader, len(t.leaves)),
		row:     make([]Value, len(ft.Columns)),
		octal:   majorVersion(ft.PGVersion) >= 15,
	}
	for i := range rd.columns {
		rd.columns[i] = columnReader{mapping: t.leaves[i].mapping, buf: make([]parquet.Value, readerBatch)}
	}
	return rd, nil
}

// majorVersion reads "15.4 (Debian …)" as 15; 0 if it cannot.
func majorVersion(version string) int {
	digits := version[:len(version)-len(strings.TrimLeft(version, "0123456789"))]
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

// Footer returns what the segment says about itself.
func (r *Reader) Footer() Footer { return r.footer }

// Columns returns the columns in the order of a row's values.
func (r *Reader) Columns() []Column { return r.footer.Columns }

// Next reads the next row and reports whether there was one. After false, Err says whether that was the end.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	for r.left == 0 {
		if r.group == len(r.groups) || !r.nextGroup() {
			return false
		}
	}
	r.left--
	r.text = r.text[:0]
	for i, root := range r.tree.roots {
		if err := r.readValue(i, root); err != nil {
			r.err = fmt.Errorf("column %q: %w", r.footer.Columns[i].Name, err)
			return false
		}
	}
	return true
}

// Row returns the current row, a value for each column. It is valid until the next call of Next.
func (r *Reader) Row() []Value { return r.row }

// Err is the error that ended Next, or nil.
func (r *Reader) Err() error { return r.err }

// Close frees the reader's memory. It does not close the file.
func (r *Reader) Close() error {
	for i := range r.columns {
		r.columns[i].close()
	}
	r.groups, r.group, r.left = nil, 0, 0
	return nil
}

func (r *Reader) nextGroup() bool {
	if r.err = checkPages(r.source, r.size, r.file, r.group, r.tree); r.err != nil {
		return false
	}
	group := r.groups[r.group]
	r.group++
	r.left = group.NumRows()
	for i, chunk := range group.ColumnChunks() {
		c := &r.columns[i]
		c.close()
		if r.err = c.open(chunk); r.err != nil {
			return false
		}
		c.left = chunk.NumValues()
	}
	return true
}

func (c *columnReader) open(chunk parquet.ColumnChunk) (err error) {
	defer guard(&err)
	c.values, c.at, c.n = parquet.NewColumnChunkValueReader(chunk), 0, 0
	return nil
}

func (c *columnReader) close() {
	if c.values != nil {
		var ignored error // nothing was written, and a corrupt file was reported by a read
		defer guard(&ignored)
		_ = c.values.Close()
		c.values = nil
	}
}

// fill reads the next values.
func (c *columnReader) fill() (err error) {
	defer guard(&err)
	n, err := c.values.ReadValues(c.buf)
	if n == 0 {
		switch {
		case err == nil:
			return fmt.Errorf("%w: a page without end", ErrCorrupt)
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: fewer values than rows", ErrCorrupt)
		}
		return corrupt("read page", err)
	}
	c.at, c.n = 0, n
	c.left -= int64(n)
	return nil
}

// peek returns the leaf's next value without taking it.
func (c *columnReader) peek() (parquet.Value, error) {
	if c.at == c.n {
		if err := c.fill(); err != nil {
			return parquet.Value{}, err
		}
	}
	return c.buf[c.at], nil
}

// ended reports whether the row group has no more values.
func (c *columnReader) ended() bool { return c.at == c.n && c.left <= 0 }

// readValue prints the next value of column i.
func (r *Reader) readValue(i int, root *node) error {
	if root.nested() {
		return r.readNested(i, root)
	}
	c := &r.columns[root.first]
	v, err := c.peek()
	if err != nil {
		return err
	}
	c.at++
	if v.IsNull() {
		r.row[i] = Value{Null: true}
		return nil
	}
	from := len(r.text)
	text, err := c.appendValue(r.text, v, r.octal)
	if err != nil {
		return err
	}
	r.text = text // when it moved, earlier values of the row keep the old array
	r.row[i] = Value{Text: text[from:len(text):len(text)]}
	return nil
}

// appendValue prints a value of the file.
func (m mapping) appendValue(dst []byte, v parquet.Value, octal bool) ([]byte, error) {
	switch v.Kind() {
	case parquet.Boolean:
		return appendBool(dst, v.Boolean()), nil
	case parquet.Int32:
		return m.appendInteger(dst, int64(v.Int32())), nil
	case parquet.Int64:
		return m.appendInteger(dst, v.Int64()), nil
	case parquet.Float:
		return appendFloat(dst, float64(v.Float()), 32), nil
	case parquet.Double:
		return appendFloat(dst, v.Double(), 64), nil
	case parquet.FixedLenByteArray:
		if len(v.ByteArray()) != 16 {
			return dst, fmt.Errorf("%w: a value of %d bytes", ErrCorrupt, len(v.ByteArray()))
		}
	}
	return m.appendBytes(dst, v.ByteArray(), octal), nil
}
