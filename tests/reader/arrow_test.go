package reader

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// Apache Arrow's reader is the second opinion: another code base than DuckDB's and parquet-go's, and pure Go. DuckDB's own Go
// module brings it along already, so it costs no download and no new licence.

// multiset is the sum of the hashes of rows: equal for equal multisets of rows, in whatever order they come.
type multiset struct {
	rows int
	sum  [4]uint64
}

func (m *multiset) add(row []string) {
	h := sha256.Sum256([]byte(strings.Join(row, "\x1f")))
	for i := range m.sum {
		m.sum[i] += binary.BigEndian.Uint64(h[8*i:])
	}
	m.rows++
}

// arrowRows reads files with Arrow: integers, times and dates as numbers, uuids and decimals as PostgreSQL prints them.
func arrowRows(t *testing.T, files []string) multiset {
	t.Helper()
	var m multiset
	for _, path := range files {
		f, err := file.OpenParquetFile(path, false)
		must(t, err)
		for g := range f.NumRowGroups() {
			group := f.RowGroup(g)
			columns := make([][]string, group.NumColumns())
			for c := range columns {
				chunk, err := group.Column(c)
				must(t, err)
				columns[c] = arrowColumn(t, chunk, int(group.NumRows()))
			}
			for n := range int(group.NumRows()) {
				row := make([]string, len(columns))
				for c := range columns {
					row[c] = columns[c][n]
				}
				m.add(row)
			}
		}
		must(t, f.Close())
	}
	return m
}

// arrowColumn reads a column of a row group as texts.
func arrowColumn(t *testing.T, chunk file.ColumnChunkReader, rows int) []string {
	t.Helper()
	logical := chunk.Descriptor().LogicalType()
	switch r := chunk.(type) {
	case *file.Int64ColumnChunkReader:
		return read(t, rows, r.ReadBatch, func(v int64) string { return number(v, logical) })
	case *file.Int32ColumnChunkReader:
		return read(t, rows, r.ReadBatch, func(v int32) string { return number(int64(v), logical) })
	case *file.ByteArrayColumnChunkReader:
		return read(t, rows, r.ReadBatch, func(v parquet.ByteArray) string { return string(v) })
	case *file.FixedLenByteArrayColumnChunkReader:
		return read(t, rows, r.ReadBatch, func(v parquet.FixedLenByteArray) string {
			h := hex.EncodeToString(v)
			return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
		})
	}
	t.Fatalf("column %s has the type %s", chunk.Descriptor().Name(), chunk.Type())
	return nil
}

// number prints an integer, with the decimal point where the column's type says.
func number(v int64, logical schema.LogicalType) string {
	d, ok := logical.(schema.DecimalLogicalType)
	if !ok {
		return strconv.FormatInt(v, 10)
	}
	text := fmt.Sprintf("%0*s", int(d.Scale())+1, new(big.Int).Abs(big.NewInt(v)).String())
	at := len(text) - int(d.Scale())
	text = text[:at] + "." + text[at:]
	if v < 0 {
		text = "-" + text
	}
	return text
}

// read reads a column whose values may be missing: definition level 0.
func read[T any](t *testing.T, rows int, batch func(int64, []T, []int16, []int16) (int64, int, error), text func(T) string) []string {
	t.Helper()
	values, levels := make([]T, rows), make([]int16, rows)
	out := make([]string, 0, rows)
	for len(out) < rows {
		total, _, err := batch(int64(rows-len(out)), values, levels, nil)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if total == 0 {
			t.Fatalf("%d values, want %d", len(out), rows)
		}
		next := 0
		for _, level := range levels[:total] {
			if level == 0 {
				out = append(out, null)
				continue
			}
			out = append(out, text(values[next]))
			next++
		}
	}
	return out
}

// A25: Arrow reads the same rows.
func checkArrow(t *testing.T, db *pgtest.DB, query string, files []string) {
	t.Helper()
	var want multiset
	conn := db.Connect(t, db.SuperURL)
	rows, err := conn.Query(t.Context(), query)
	must(t, err)
	for rows.Next() {
		raw := make([]*string, len(rows.FieldDescriptions()))
		targets := make([]any, len(raw))
		for i := range raw {
			targets[i] = &raw[i]
		}
		must(t, rows.Scan(targets...))
		row := make([]string, len(raw))
		for i, v := range raw {
			row[i] = null
			if v != nil {
				row[i] = *v
			}
		}
		want.add(row)
	}
	must(t, rows.Err())
	if got := arrowRows(t, files); got != want {
		t.Errorf("Arrow reads %d rows, digest %x; PostgreSQL had %d rows, digest %x", got.rows, got.sum, want.rows, want.sum)
	}
}
