package show

import (
	"encoding/csv"
	"slices"
)

// CSV prints RFC 4180.
type CSV struct {
	W    *csv.Writer
	Null string // stands for NULL

	head []string
	rec  []string
}

// Begin implements Sink.
func (s *CSV) Begin(cols []Column) error {
	if len(cols) == 0 {
		return nil
	}
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = c.Name
	}
	if slices.Equal(names, s.head) {
		return nil // one file of rows has one line of names
	}
	s.head = names
	return s.W.Write(names)
}

// Row implements Sink.
func (s *CSV) Row(values [][]byte) error {
	s.rec = s.rec[:0]
	for _, v := range values {
		if v == nil {
			s.rec = append(s.rec, s.Null)
			continue
		}
		s.rec = append(s.rec, string(v))
	}
	return s.W.Write(s.rec)
}

// End implements Sink.
func (s *CSV) End(string) error {
	s.W.Flush()
	return s.W.Error()
}
