package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Cutter takes the parts of a stream that a Splitter cuts.
type Cutter interface {
	// Start begins a part for rows with these keys; a nil key is NULL. The keys hold until Start returns. What is then
	// written to the part is a binary COPY stream of its own, with its header and, before Finish, its trailer.
	Start(keys [][]byte) (io.Writer, error)
	// Full reports whether the part should end before the next row, although that row's keys are the same.
	Full() bool
	// Finish ends the part.
	Finish() error
}

// MaxKeyBytes is how long one key of a Splitter may be.
const MaxKeyBytes = 8 << 10

// KeyTooLongError is a key that is longer than MaxKeyBytes.
type KeyTooLongError struct {
	Key   int // from 0
	Bytes int
}

func (e *KeyTooLongError) Error() string {
	return fmt.Sprintf("key %d of a row has %d bytes, at most %d are possible", e.Key+1, e.Bytes, MaxKeyBytes)
}

// Splitter reads a binary COPY stream whose tuples begin with some keys, takes these off, and cuts the stream in parts: a
// new one wherever a key differs from that of the row before. It holds the keys of one row and nothing else, so a row may be of
// any size. It is used by one goroutine.
type Splitter struct {
	keys int
	cut  Cutter
	part io.Writer // nil: no row yet

	state  splitState
	head   [19]byte // a number, or the header, as far as it has come
	have   int
	left   int // bytes still to come: of the header's extension, of a key or of a field
	fields int // of the tuple
	field  int // the next one

	now, last [][]byte // keys of this row and of the part
	rows      int64
	err       error
}

type splitState uint8

const (
	splitHeader splitState = iota
	splitExtension
	splitTuple
	splitKeyLength
	splitKey
	splitFieldLength
	splitField
	splitDone
)

// splitWants is how many bytes a state waits for before it can look at them; 0: it takes what comes.
var splitWants = [...]int{splitHeader: 19, splitTuple: 2, splitKeyLength: 4, splitFieldLength: 4, splitDone: 1}

// copyHeader begins a binary COPY stream: no flags, no extension. copyTrailer ends it.
var (
	copyHeader  = append([]byte(copySignature), make([]byte, 8)...)
	copyTrailer = []byte{0xff, 0xff}
)

// NewSplitter makes a Splitter for tuples that begin with so many keys.
func NewSplitter(keys int, cut Cutter) *Splitter {
	return &Splitter{keys: keys, cut: cut, now: make([][]byte, keys), last: make([][]byte, keys)}
}

// Rows is how many rows were handed on.
func (s *Splitter) Rows() int64 { return s.rows }

// Write takes bytes of the stream, cut anywhere. After an error, every call returns that error.
func (s *Splitter) Write(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.feed(p)
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// Close ends the last part. It fails with ErrIncomplete unless the stream ended with its trailer.
func (s *Splitter) Close() error {
	switch {
	case s.err != nil:
		return s.err
	case s.state != splitDone:
		s.err = fmt.Errorf("%w: %d rows were read", ErrIncomplete, s.rows)
	default:
		s.err = s.finish()
		if s.err == nil {
			s.err = ErrClosed
			return nil
		}
	}
	return s.err
}

func (s *Splitter) feed(p []byte) error {
	from := 0 // of the row's fields in p
	for i := 0; i < len(p); {
		want := splitWants[s.state]
		if want == 0 {
			n := min(s.left, len(p)-i)
			if s.state == splitKey {
				s.now[s.field] = append(s.now[s.field], p[i:i+n]...)
			}
			i += n
			if s.left -= n; s.left > 0 {
				break
			}
		} else {
			n := copy(s.head[s.have:want], p[i:])
			i += n
			if s.have += n; s.have < want {
				break
			}
			s.have = 0
		}
		before := s.state
		if err := s.step(); err != nil {
			return err
		}
		switch {
		case s.inRow() && before != splitField && before != splitFieldLength:
			from = i // the tuple's first field begins here
		case !s.inRow() && (before == splitField || before == splitFieldLength):
			if err := s.hand(p[from:i]); err != nil {
				return err
			}
		}
	}
	if s.inRow() {
		return s.hand(p[from:])
	}
	return nil
}

// inRow reports whether the next byte belongs to what is handed on.
func (s *Splitter) inRow() bool { return s.state == splitField || s.state == splitFieldLength }

func (s *Splitter) hand(p []byte) error {
	_, err := s.part.Write(p)
	return err
}

// step goes on after the bytes that a state waited for.
func (s *Splitter) step() error {
	switch s.state {
	case splitHeader:
		if !bytes.HasPrefix(s.head[:], []byte(copySignature)) {
			return &FormatError{Reason: "no binary COPY signature"}
		}
		n := binary.BigEndian.Uint32(s.head[15:])
		if n > maxHeaderBytes {
			return &FormatError{Reason: fmt.Sprintf("a header extension of %d bytes", n)}
		}
		s.left, s.state = int(n), splitExtension
		if n == 0 {
			s.state = splitTuple
		}
	case splitExtension:
		s.state = splitTuple
	case splitTuple:
		return s.tuple(int(int16(binary.BigEndian.Uint16(s.head[:]))))
	case splitKeyLength:
		return s.keyLength(int(int32(binary.BigEndian.Uint32(s.head[:]))))
	case splitKey:
		return s.endKey()
	case splitFieldLength:
		n := int(int32(binary.BigEndian.Uint32(s.head[:])))
		if n < -1 || n > maxValueBytes {
			return &FormatError{Row: s.rows, Reason: fmt.Sprintf("a field of %d bytes", n)}
		}
		if s.left = n; n > 0 {
			s.state = splitField
			return nil
		}
		s.endField()
	case splitField:
		s.endField()
	case splitDone:
		return &FormatError{Row: s.rows, Reason: "data after the trailer"}
	}
	return nil
}

func (s *Splitter) tuple(fields int) error {
	switch {
	case fields == -1:
		s.state = splitDone
		return nil
	case fields <= s.keys:
		return &FormatError{Row: s.rows + 1, Reason: fmt.Sprintf("%d fields, of which %d are keys", fields, s.keys)}
	}
	s.fields, s.field = fields, 0
	if s.keys == 0 {
		return s.beginRow()
	}
	s.state = splitKeyLength
	return nil
}

func (s *Splitter) keyLength(n int) error {
	switch {
	case n > MaxKeyBytes:
		return &KeyTooLongError{Key: s.field, Bytes: n}
	case n < -1:
		return &FormatError{Row: s.rows + 1, Reason: fmt.Sprintf("a key of %d bytes", n)}
	case n == -1:
		s.now[s.field] = nil
		return s.endKey()
	}
	if s.now[s.field] = s.now[s.field][:0]; s.now[s.field] == nil {
		s.now[s.field] = []byte{}
	}
	if n == 0 {
		return s.endKey()
	}
	s.left, s.state = n, splitKey
	return nil
}

func (s *Splitter) endKey() error {
	if s.field++; s.field < s.keys {
		s.state = splitKeyLength
		return nil
	}
	return s.beginRow()
}

func (s *Splitter) endField() {
	s.state = splitFieldLength
	if s.field++; s.field == s.fields {
		s.state = splitTuple
	}
}

// beginRow hands the row to the part that is open, or to a new one.
func (s *Splitter) beginRow() error {
	if s.part == nil || !s.sameKeys() || s.cut.Full() {
		if err := s.finish(); err != nil {
			return err
		}
		part, err := s.cut.Start(s.now)
		if err != nil {
			return err
		}
		s.part = part
		s.now, s.last = s.last, s.now
		if err := s.hand(copyHeader); err != nil {
			return err
		}
	}
	s.rows++
	s.state = splitFieldLength
	var count [2]byte
	binary.BigEndian.PutUint16(count[:], uint16(s.fields-s.keys))
	return s.hand(count[:])
}

func (s *Splitter) sameKeys() bool {
	for i := range s.now {
		if (s.now[i] == nil) != (s.last[i] == nil) || !bytes.Equal(s.now[i], s.last[i]) {
			return false
		}
	}
	return true
}

func (s *Splitter) finish() error {
	if s.part == nil {
		return nil
	}
	if err := s.hand(copyTrailer); err != nil {
		return err
	}
	s.part = nil
	return s.cut.Finish()
}
