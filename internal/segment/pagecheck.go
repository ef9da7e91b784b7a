package segment

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	pageHeaderGuess = 512      // most page headers are shorter
	pageHeaderMost  = 64 << 10 // ours never reach this
)

// checkPages looks at the page headers of a row group before the library does: what they state about sizes and counts has to
// agree with the footer and the file.
func checkPages(r io.ReaderAt, size int64, f *parquet.File, group int, t *tree) error {
	g := &f.Metadata().RowGroups[group]
	for i := range g.Columns {
		repeated := t.leaves[i].repeated
		if err := checkChunk(r, size, &g.Columns[i].MetaData, g.NumRows, repeated); err != nil {
			return fmt.Errorf("row group %d, column %d: %w", group, i+1, err)
		}
	}
	return nil
}

// checkChunk checks one column. A repeated one has at least a value for each row, any other exactly one.
func checkChunk(r io.ReaderAt, size int64, m *format.ColumnMetaData, rows int64, repeated bool) error {
	start := m.DataPageOffset
	if m.DictionaryPageOffset > 0 {
		start = min(start, m.DictionaryPageOffset)
	}
	length := m.TotalCompressedSize
	if start < int64(len(parquetMagic)) || length < 0 || start > size || length > size-start || m.NumValues < rows || m.NumValues > rows && !repeated {
		return fmt.Errorf("%w: %d bytes at %d and %d values, in a file of %d bytes, for %d rows",
			ErrCorrupt, length, start, m.NumValues, size, rows)
	}
	if m.Codec != format.Zstd && m.Codec != format.Snappy && m.Codec != format.Uncompressed {
		return fmt.Errorf("%w: compressed by %v", ErrCorrupt, m.Codec)
	}
	var values, seen int64
	for at, end := start, start+length; at < end; {
		header, n, err := readPageHeader(r, at, end)
		if err != nil {
			return err
		}
		k, err := checkPageHeader(header, m, end-at-n, m.NumValues-values, rows-seen, repeated)
		if err != nil {
			return fmt.Errorf("page at %d: %w", at, err)
		}
		values += k
		if header.Type == format.DataPageV2 {
			seen += int64(header.DataPageHeaderV2.V.NumRows)
		}
		at += n + int64(header.CompressedPageSize)
	}
	if values != m.NumValues || seen != rows {
		return fmt.Errorf("%w: pages of %d values in %d rows, for %d in %d", ErrCorrupt, values, seen, m.NumValues, rows)
	}
	return nil
}

// readPageHeader decodes the header at a position and returns its length.
func readPageHeader(r io.ReaderAt, at, end int64) (*format.PageHeader, int64, error) {
	for want := int64(pageHeaderGuess); ; want *= 4 {
		buf := make([]byte, min(want, end-at))
		if err := readFull(r, buf, at); err != nil {
			return nil, 0, fmt.Errorf("read page header: %w", err)
		}
		n, ok := thriftStructLen(buf)
		if !ok {
			if int64(len(buf)) == end-at || want >= pageHeaderMost {
				return nil, 0, fmt.Errorf("%w: no page header at %d", ErrCorrupt, at)
			}
			continue
		}
		header := new(format.PageHeader)
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), buf[:n], header); err != nil {
			return nil, 0, corrupt("page header", err)
		}
		return header, int64(n), nil
	}
}

// checkPageHeader returns how many values of the column a page says it has. Bytes are left in the chunk for the page, values
// and rows for its content.
func checkPageHeader(h *format.PageHeader, m *format.ColumnMetaData, bytes, values, rows int64, repeated bool) (int64, error) {
	if c, u := int64(h.CompressedPageSize), int64(h.UncompressedPageSize); c < 0 || c > bytes || u < 0 || u > m.TotalUncompressedSize {
		return 0, fmt.Errorf("%w: %d bytes, %d uncompressed, of %d and %d", ErrCorrupt, c, u, bytes, m.TotalUncompressedSize)
	}
	switch h.Type {
	case format.DictionaryPage:
		if n := int64(h.DictionaryPageHeader.V.NumValues); n < 0 || n > m.NumValues {
			return 0, fmt.Errorf("%w: a dictionary of %d values for %d", ErrCorrupt, n, m.NumValues)
		}
		return 0, nil
	case format.DataPageV2:
		v2 := &h.DataPageHeaderV2.V
		n, k := int64(v2.NumValues), int64(v2.NumRows)
		if !encodingFits(v2.Encoding, m.Type) {
			return 0, fmt.Errorf("%w: values of type %v encoded as %v", ErrCorrupt, m.Type, v2.Encoding)
		}
		if k < 0 || k > rows || n < k || n > values || n > k && !repeated || v2.NumNulls < 0 || int64(v2.NumNulls) > n {
			return 0, fmt.Errorf("%w: %d values in %d rows, %d null, with %d values in %d rows left", ErrCorrupt, n, k, v2.NumNulls, values, rows)
		}
		return n, nil
	}
	return 0, fmt.Errorf("%w: a page of type %v", ErrCorrupt, h.Type)
}

// encodingFits reports whether a Writer uses an encoding for a physical type. Another one would read chance lengths out of
// bytes whose checksum is right.
func encodingFits(e format.Encoding, t format.Type) bool {
	switch t {
	case format.Int32, format.Int64:
		return e == format.DeltaBinaryPacked
	case format.ByteArray:
		return e == format.DeltaLengthByteArray || e == format.RLEDictionary || e == format.Plain
	}
	return e == format.Plain
}
