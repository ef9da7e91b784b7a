package segment

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/parquet-go/parquet-go"
)

// FormatVersion is the version of the footer's keys. A reader refuses a later one.
const FormatVersion = 1

// Keys of the footer's key-value pairs.
const (
	keyFormat        = "spillway.format"
	keySegment       = "spillway.segment"
	keyJob           = "spillway.job"
	keyChunk         = "spillway.chunk"
	keyTableSchema   = "spillway.table_schema"
	keyTableName     = "spillway.table_name"
	keyLeaf          = "spillway.leaf"
	keyColumns       = "spillway.columns"
	keySchemaVersion = "spillway.schema_version"
	keyRows          = "spillway.rows"
	keyPGVersion     = "spillway.postgresql_version"
)

// Meta says where a segment's rows come from.
type Meta struct {
	JobID         string
	Chunk         int
	TableSchema   string
	TableName     string // the flushed table
	Leaf          string // the partition that the rows lay in, or the table itself
	SchemaVersion int
	PGVersion     string // server_version, for example "15.4"
	SegmentID     string
}

// Footer is what a segment says about itself.
type Footer struct {
	Meta
	Rows    int64
	Columns []Column
}

// pairs lists the key-value pairs that are known before the first row.
func (m Meta) pairs(columns []byte) [][2]string {
	return [][2]string{
		{keyFormat, strconv.Itoa(FormatVersion)},
		{keySegment, m.SegmentID},
		{keyJob, m.JobID},
		{keyChunk, strconv.Itoa(m.Chunk)},
		{keyTableSchema, m.TableSchema},
		{keyTableName, m.TableName},
		{keyLeaf, m.Leaf},
		{keyColumns, string(columns)},
		{keySchemaVersion, strconv.Itoa(m.SchemaVersion)},
		{keyPGVersion, m.PGVersion},
	}
}

// footerOf reads the key-value pairs of an open file and checks them against its row groups.
func footerOf(f *parquet.File) (Footer, error) {
	var ft Footer
	version, ok := f.Lookup(keyFormat)
	if !ok {
		return ft, fmt.Errorf("%w: a Parquet file without %s", ErrNotSegment, keyFormat)
	}
	if v, err := strconv.Atoi(version); err != nil || v < 1 {
		return ft, fmt.Errorf("%w: %s is %q", ErrCorrupt, keyFormat, version)
	} else if v > FormatVersion {
		return ft, fmt.Errorf("%w: %d, this program knows %d", ErrVersion, v, FormatVersion)
	}
	for _, p := range []struct {
		key string
		to  *string
	}{
		{keySegment, &ft.SegmentID}, {keyJob, &ft.JobID}, {keyTableSchema, &ft.TableSchema},
		{keyTableName, &ft.TableName}, {keyLeaf, &ft.Leaf}, {keyPGVersion, &ft.PGVersion},
	} {
		if *p.to, ok = f.Lookup(p.key); !ok {
			return ft, fmt.Errorf("%w: no %s in the footer", ErrCorrupt, p.key)
		}
	}
	for _, p := range []struct {
		key string
		to  *int
	}{{keyChunk, &ft.Chunk}, {keySchemaVersion, &ft.SchemaVersion}} {
		v, _ := f.Lookup(p.key)
		n, err := strconv.Atoi(v)
		if err != nil {
			return ft, fmt.Errorf("%w: %s is %q", ErrCorrupt, p.key, v)
		}
		*p.to = n
	}
	columns, _ := f.Lookup(keyColumns)
	if err := json.Unmarshal([]byte(columns), &ft.Columns); err != nil {
		return ft, fmt.Errorf("%w: %s: %v", ErrCorrupt, keyColumns, err)
	}
	rows, _ := f.Lookup(keyRows)
	n, err := strconv.ParseInt(rows, 10, 64)
	if err != nil {
		return ft, fmt.Errorf("%w: %s is %q", ErrCorrupt, keyRows, rows)
	}
	ft.Rows = n
	return ft, checkRows(f, n)
}

// checkRows compares the row counts that a file holds.
func checkRows(f *parquet.File, rows int64) error {
	sum := int64(0)
	for _, g := range f.Metadata().RowGroups {
		if g.NumRows < 0 {
			return fmt.Errorf("%w: a row group of %d rows", ErrCorrupt, g.NumRows)
		}
		sum += g.NumRows
	}
	if sum != rows || f.Metadata().NumRows != rows {
		return fmt.Errorf("%w: %s is %d, the file has %d rows and its row groups %d",
			ErrCorrupt, keyRows, rows, f.Metadata().NumRows, sum)
	}
	return nil
}
