package segment

import (
	"bytes"
	"io"
	"testing"
)

func column(name string, oid uint32) Column {
	return Column{Name: name, TypeOID: oid, BaseOID: oid, TypMod: -1, Declared: name + "_type", TypeKind: 'b'}
}

func mustSchema(t testing.TB, cols []Column, opt *SchemaOptions) *Schema {
	t.Helper()
	s, err := NewSchema(cols, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var testMeta = Meta{JobID: "flush:app.events:1", Chunk: 7, TableSchema: "app", TableName: "events", Leaf: "events_p1",
	SchemaVersion: 3, PGVersion: "15.4 (Debian)", SegmentID: "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f"}

// encode writes a whole stream, step bytes at a time; step 0 is all at once.
func encode(t testing.TB, s *Schema, stream []byte, step int, opt *WriterOptions) ([]byte, Summary, error) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, s, testMeta, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if step == 0 {
		step = len(stream)
	}
	for len(stream) > 0 {
		n := min(step, len(stream))
		if _, err := w.Write(stream[:n]); err != nil {
			return nil, Summary{}, err
		}
		stream = stream[n:]
	}
	sum, err := w.Close()
	return out.Bytes(), sum, err
}

func mustEncode(t testing.TB, s *Schema, stream []byte) ([]byte, Summary) {
	t.Helper()
	file, sum, err := encode(t, s, stream, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file, sum
}

// rows reads a whole file; NULL becomes "<null>".
func rows(t testing.TB, file []byte) [][]string {
	t.Helper()
	var all [][]string
	r, err := OpenReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		var row []string
		for _, v := range r.Row() {
			if v.Null {
				row = append(row, "<null>")
			} else {
				row = append(row, string(v.Text))
			}
		}
		all = append(all, row)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return all
}

var _ io.Writer = (*Writer)(nil)
