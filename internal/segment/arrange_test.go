package segment

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

func TestCodecsAndBloomFilters(t *testing.T) {
	t.Parallel()
	stream := newCopyStream()
	for i := range 5000 {
		stream.row(be64(int64(i)), []byte(fmt.Sprintf("value %d", i)), []byte("few"+fmt.Sprint(i%3)), []byte{byte(i % 2)})
	}
	b := stream.end()
	cols := []Column{column("id", oidInt8), column("a.b", oidText), column("dict", oidText), column("flag", oidBool)}
	s := mustSchema(t, cols, nil)
	for codec, want := range map[string]string{"": "ZSTD", CodecZstd: "ZSTD", CodecSnappy: "SNAPPY", CodecNone: "UNCOMPRESSED"} {
		file, sum, err := encode(t, s, b, 0, &WriterOptions{Codec: codec, Bloom: []string{"id", "a.b", "dict"}, RowGroupRows: 2000})
		if err != nil {
			t.Fatal(err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Metadata().RowGroups[0].Columns[0].MetaData.Codec.String(); got != want {
			t.Errorf("codec %q: pages are %s", codec, got)
		}
		found, passed := 0, 0
		for _, g := range f.RowGroups() {
			chunks := g.ColumnChunks()
			if chunks[3].BloomFilter() != nil {
				t.Errorf("a filter that nobody asked for")
			}
			for i := range 5000 {
				for col, v := range []parquet.Value{parquet.Int64Value(int64(i)), parquet.ByteArrayValue([]byte(fmt.Sprintf("value %d", i)))} {
					ok, err := chunks[col].BloomFilter().Check(v)
					if err != nil {
						t.Fatal(err)
					}
					if ok {
						found++
					}
				}
			}
			if ok, err := chunks[2].BloomFilter().Check(parquet.ByteArrayValue([]byte("few1"))); err != nil || !ok {
				t.Errorf("a value of a dictionary is not in the filter: %v", err)
			}
			for i := range 1000 {
				if ok, _ := chunks[1].BloomFilter().Check(parquet.ByteArrayValue([]byte(fmt.Sprintf("absent %d", i)))); ok {
					passed++
				}
			}
		}
		if found < 10_000 || found > 11_000 { // each value is in one row group; some pass elsewhere
			t.Errorf("%d of 10000 values pass the filters of %d row groups", found, len(f.RowGroups()))
		}
		if passed > 200 {
			t.Errorf("%d of %d absent values pass", passed, 1000*len(f.RowGroups()))
		}
		if ft, err := Verify(bytes.NewReader(file), sum.Bytes); err != nil || ft.Rows != 5000 {
			t.Errorf("codec %q: verify: %+v, %v", codec, ft, err)
		}
		if got := rows(t, file); len(got) != 5000 || got[4999][1] != "value 4999" {
			t.Errorf("codec %q: %d rows", codec, len(got))
		}
	}
}

func TestWriterOptionsAreChecked(t *testing.T) {
	t.Parallel()
	s := mustSchema(t, []Column{column("id", oidInt8), column("flag", oidBool)}, nil)
	for want, o := range map[string]WriterOptions{
		"unknown codec":    {Codec: "gzip"},
		"no such column":   {Bloom: []string{"x"}},
		"exclude nothing":  {Bloom: []string{"flag"}},
		"cannot be sorted": {Sorted: []SortedBy{{Column: "x"}}},
	} {
		if _, err := NewWriter(&bytes.Buffer{}, s, testMeta, &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestOrderIsRecordedWhereItHolds: a reader must be able to rely on it.
func TestOrderIsRecordedWhereItHolds(t *testing.T) {
	t.Parallel()
	cols := []Column{column("id", oidInt8), column("name", oidText), column("score", oidFloat8), column("bytes", oidText)}
	cols[3].Collation = `pg_catalog."C"`
	stream := newCopyStream().row(be64(1), []byte("a"), f64(1), []byte("b")).end()
	desc := SortedBy{Column: "id", Descending: true, NullsFirst: true}
	for _, c := range []struct {
		order []SortedBy
		null  bool
		want  string
	}{
		{[]SortedBy{desc, {Column: "bytes"}}, false, "0 desc nulls first;3;"},
		{[]SortedBy{{Column: "bytes"}, {Column: "name"}, desc}, false, "3;"},
		{[]SortedBy{{Column: "score"}, desc}, false, ""},
		{[]SortedBy{desc}, true, ""},
	} {
		opt := &SchemaOptions{}
		if c.null {
			opt.OnUnrepresentable = UnrepresentableNull
		}
		file, _, err := encode(t, mustSchema(t, cols, opt), stream, 0, &WriterOptions{Sorted: c.order})
		if err != nil {
			t.Fatal(err)
		}
		f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, by := range f.Metadata().RowGroups[0].SortingColumns {
			got += fmt.Sprint(by.ColumnIdx)
			if by.Descending {
				got += " desc"
			}
			if by.NullsFirst {
				got += " nulls first"
			}
			got += ";"
		}
		if got != c.want {
			t.Errorf("%+v: recorded %q, want %q", c.order, got, c.want)
		}
	}
}
