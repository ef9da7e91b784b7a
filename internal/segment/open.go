package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/parquet-go/parquet-go"
)

const (
	parquetMagic  = "PAR1"
	trailerBytes  = 8 // the footer's length, and the magic
	maxFooterSize = 1 << 30
)

// openFile opens a Parquet file after the checks that the library leaves out.
func openFile(r io.ReaderAt, size int64) (f *parquet.File, t *tree, ft Footer, err error) {
	defer guard(&err)
	if err := checkTrailer(r, size); err != nil {
		return nil, nil, Footer{}, err
	}
	f, err = parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, nil, Footer{}, corrupt("open", err)
	}
	if ft, err = footerOf(f); err != nil {
		return nil, nil, Footer{}, err
	}
	if t, err = checkSchema(f, ft); err != nil {
		return nil, nil, Footer{}, err
	}
	return f, t, ft, nil
}

// checkTrailer looks at both ends of the file and at the footer's lengths, before the library believes them.
func checkTrailer(r io.ReaderAt, size int64) error {
	if size < int64(len(parquetMagic))+trailerBytes {
		return fmt.Errorf("%w: %d bytes", ErrNotSegment, size)
	}
	var head [len(parquetMagic)]byte
	var tail [trailerBytes]byte
	if err := readFull(r, head[:], 0); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if err := readFull(r, tail[:], size-trailerBytes); err != nil {
		return fmt.Errorf("read trailer: %w", err)
	}
	if string(head[:]) != parquetMagic || string(tail[4:]) != parquetMagic {
		return fmt.Errorf("%w: no Parquet magic", ErrNotSegment)
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > size-trailerBytes-int64(len(parquetMagic)) || n > maxFooterSize {
		return fmt.Errorf("%w: a footer of %d bytes in a file of %d", ErrCorrupt, n, size)
	}
	footer := make([]byte, n)
	if err := readFull(r, footer, size-trailerBytes-n); err != nil {
		return fmt.Errorf("read footer: %w", err)
	}
	if k, ok := thriftStructLen(footer); !ok || int64(k) != n {
		return fmt.Errorf("%w: the footer's lengths contradict each other", ErrCorrupt)
	}
	return nil
}

func readFull(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// checkSchema compares the file's columns with those that the footer declares, and returns the tree of their types.
func checkSchema(f *parquet.File, ft Footer) (*tree, error) {
	columns := f.Root().Columns()
	if len(columns) != len(ft.Columns) {
		return nil, fmt.Errorf("%w: %d columns, the footer declares %d", ErrCorrupt, len(columns), len(ft.Columns))
	}
	t, err := newTree(ft.Columns, FieldIDs(ft.Columns))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	for i, c := range columns {
		if c.Name() != ft.Columns[i].Name {
			return nil, fmt.Errorf("%w: column %d is %q, the footer declares %q", ErrCorrupt, i+1, c.Name(), ft.Columns[i].Name)
		}
		if err := checkNode(c, t.roots[i]); err != nil {
			return nil, fmt.Errorf("%w: column %q: %v", ErrCorrupt, c.Name(), err)
		}
	}
	for i, g := range f.RowGroups() {
		if n := len(g.ColumnChunks()); n != len(t.leaves) {
			return nil, fmt.Errorf("%w: row group %d has %d columns", ErrCorrupt, i, n)
		}
	}
	return t, nil
}

// checkNode compares one place of the file's schema, and what lies below, with what it should be.
func checkNode(c *parquet.Column, n *node) error {
	if c.Repeated() || c.Required() != n.required || c.Leaf() == n.nested() {
		return fmt.Errorf("%s: another shape than declared", c.Name())
	}
	if !n.nested() {
		want := n.mapping.node().Type()
		if c.Type().Kind() != want.Kind() || c.Type().Length() != want.Length() {
			return fmt.Errorf("%s is %s, expected %s", c.Name(), c.Type(), want)
		}
		return nil
	}
	below := c.Columns()
	if n.kind != kindGroup {
		if len(below) != 1 || !below[0].Repeated() || below[0].Leaf() {
			return fmt.Errorf("%s is no list or map", c.Name())
		}
		below = below[0].Columns()
	}
	if len(below) != len(n.parts) {
		return fmt.Errorf("%s has %d parts, expected %d", c.Name(), len(below), len(n.parts))
	}
	for i, p := range n.parts {
		if p.name != "" && below[i].Name() != p.name {
			return fmt.Errorf("attribute %d is %q, the footer declares %q", i+1, below[i].Name(), p.name)
		}
		if err := checkNode(below[i], p); err != nil {
			return err
		}
	}
	return nil
}

// corrupt marks an error of the Parquet library. An error of the storage below stays what it is beside the mark.
func corrupt(step string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, step, err)
}

// ReadFooter reads what a segment says about itself, and checks its row counts and column types. It reads no rows.
func ReadFooter(r io.ReaderAt, size int64) (Footer, error) {
	_, _, ft, err := openFile(r, size)
	return ft, err
}

// Verify reads every page of a segment, checksums included, and counts the rows.
func Verify(r io.ReaderAt, size int64) (Footer, error) {
	f, t, ft, err := openFile(r, size)
	if err != nil {
		return Footer{}, err
	}
	buf := make([]parquet.Value, readerBatch)
	for g, group := range f.RowGroups() {
		if err := checkPages(r, size, f, g, t); err != nil {
			return Footer{}, err
		}
		for c, chunk := range group.ColumnChunks() {
			n, err := countRows(chunk, buf)
			if err == nil && n != group.NumRows() {
				err = fmt.Errorf("%w: values of %d rows for %d rows", ErrCorrupt, n, group.NumRows())
			}
			if err != nil {
				return Footer{}, fmt.Errorf("row group %d, column %q: %w", g, strings.Join(f.Schema().Columns()[c], "."), err)
			}
		}
	}
	return ft, nil
}

// countRows decodes every value of a column chunk and counts those that begin a row.
func countRows(chunk parquet.ColumnChunk, buf []parquet.Value) (n int64, err error) {
	defer guard(&err)
	values := parquet.NewColumnChunkValueReader(chunk)
	defer values.Close()
	for {
		k, err := values.ReadValues(buf)
		for i := range buf[:k] {
			if buf[i].RepetitionLevel() == 0 {
				n++
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, corrupt("read page", err)
		case k == 0:
			return n, fmt.Errorf("%w: a page without end", ErrCorrupt)
		}
	}
}
