package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

const (
	parquetMagic  = "PAR1"
	trailerBytes  = 8 // the footer's length, and the magic
	maxFooterSize = 1 << 30
)

// openFile opens a Parquet file after the checks that the library leaves out.
func openFile(r io.ReaderAt, size int64) (f *parquet.File, ft Footer, err error) {
	defer guard(&err)
	if err := checkTrailer(r, size); err != nil {
		return nil, Footer{}, err
	}
	f, err = parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(64<<10))
	if err != nil {
		return nil, Footer{}, corrupt("open", err)
	}
	if ft, err = footerOf(f); err != nil {
		return nil, Footer{}, err
	}
	if err := checkSchema(f, ft); err != nil {
		return nil, Footer{}, err
	}
	return f, ft, nil
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

// checkSchema compares the file's columns with those that the footer declares.
func checkSchema(f *parquet.File, ft Footer) error {
	columns := f.Root().Columns()
	if len(columns) != len(ft.Columns) {
		return fmt.Errorf("%w: %d columns, the footer declares %d", ErrCorrupt, len(columns), len(ft.Columns))
	}
	for i, c := range columns {
		want := mappingOf(&ft.Columns[i]).node().Type()
		switch {
		case c.Name() != ft.Columns[i].Name:
			return fmt.Errorf("%w: column %d is %q, the footer declares %q", ErrCorrupt, i+1, c.Name(), ft.Columns[i].Name)
		case !c.Leaf() || c.Repeated():
			return fmt.Errorf("%w: column %q is no plain value", ErrCorrupt, c.Name())
		case c.Type().Kind() != want.Kind() || c.Type().Length() != want.Length():
			return fmt.Errorf("%w: column %q is %s, expected %s", ErrCorrupt, c.Name(), c.Type(), want)
		}
	}
	for i, g := range f.RowGroups() {
		if n := len(g.ColumnChunks()); n != len(columns) {
			return fmt.Errorf("%w: row group %d has %d columns", ErrCorrupt, i, n)
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
	_, ft, err := openFile(r, size)
	return ft, err
}

// Verify reads every page of a segment, checksums included, and counts the values.
func Verify(r io.ReaderAt, size int64) (Footer, error) {
	f, ft, err := openFile(r, size)
	if err != nil {
		return Footer{}, err
	}
	buf := make([]parquet.Value, readerBatch)
	for g, group := range f.RowGroups() {
		if err := checkPages(r, size, f, g); err != nil {
			return Footer{}, err
		}
		for c, chunk := range group.ColumnChunks() {
			n, err := countValues(chunk, buf)
			if err == nil && n != group.NumRows() {
				err = fmt.Errorf("%w: %d values for %d rows", ErrCorrupt, n, group.NumRows())
			}
			if err != nil {
				return Footer{}, fmt.Errorf("row group %d, column %q: %w", g, ft.Columns[c].Name, err)
			}
		}
	}
	return ft, nil
}

// countValues decodes every value of a column chunk.
func countValues(chunk parquet.ColumnChunk, buf []parquet.Value) (n int64, err error) {
	defer guard(&err)
	values := parquet.NewColumnChunkValueReader(chunk)
	defer values.Close()
	for {
		k, err := values.ReadValues(buf)
		n += int64(k)
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
