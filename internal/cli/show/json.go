package show

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/spillwaydb/spillway/internal/segment"
)

// JSON prints one JSON object per row, with the columns in their order.
type JSON struct {
	W      io.Writer
	Nested map[string]*segment.Type // by name, those of cold columns that are made of others

	cols []Column
}

// Begin implements Sink.
func (j *JSON) Begin(cols []Column) error {
	j.cols = cols
	return nil
}

// Row implements Sink.
func (j *JSON) Row(values [][]byte) error {
	b := []byte{'{'}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, jsonString(j.cols[i].Name)...), ':')
		if t := j.Nested[j.cols[i].Name]; t != nil {
			b = append(b, nestedJSON(v, t)...)
		} else {
			b = append(b, jsonValue(v, j.cols[i].OID)...)
		}
	}
	_, err := j.W.Write(append(b, '}', '\n'))
	return err
}

// End implements Sink.
func (j *JSON) End(string) error { return nil }

// jsonValue renders PostgreSQL's text form of a value.
func jsonValue(v []byte, oid uint32) []byte {
	switch {
	case v == nil:
		return []byte("null")
	case oid == pgtype.BoolOID:
		return []byte(map[bool]string{true: "true", false: "false"}[string(v) == "t"])
	case Numeric(oid) && json.Valid(v): // NaN and infinities are not
		return v
	case oid == pgtype.JSONOID || oid == pgtype.JSONBOID:
		var line bytes.Buffer
		if json.Compact(&line, v) == nil {
			return line.Bytes()
		}
	}
	return jsonString(string(v))
}

// jsonString leaves <, > and & alone: this is no web page.
func jsonString(s string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}
