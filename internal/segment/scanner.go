package segment

import (
	"encoding/binary"
	"fmt"
)

// A cell is where a value lies in the scanner's buffer. A negative length is NULL.
type cell struct {
	off int32
	len int32
}

const (
	copySignature = "PGCOPY\n\xff\r\n\x00"

	batchRows  = 256       // a batch ends after so many rows
	batchBytes = 128 << 10 // or so many bytes, whichever comes first
	batchSlack = 8 << 10   // read beyond a batch's end, to finish most tuples

	maxValueBytes  = 1 << 30 // PostgreSQL's own limit
	maxHeaderBytes = 1 << 20 // of the header's extension area, which PostgreSQL leaves empty
	maxBufferBytes = 1<<31 - 1<<20
	keepBytes      = 4 * batchBytes // a buffer grown larger is given back after its batch
	cellPadding    = 8              // keeps columns of the cell table from sharing cache sets
	cellStride     = batchRows + cellPadding
)

type scanState uint8

const (
	scanSignature scanState = iota
	scanExtension
	scanTupleStart
	scanFields
	scanDone
)

// scanner finds the tuples of a binary COPY stream. It keeps a batch of whole rows and notes where their values lie. Where a
// batch ends depends on the rows alone, never on how the stream was cut.
type scanner struct {
	columns []Column
	fields  int // of each tuple

	state scanState
	buf   []byte
	pos   int // the next byte of buf to look at
	need  int // so many bytes of buf are needed to go on
	field int // the next field of the tuple being read
	skip  int // bytes of the header's extension area still to come

	rows  int // whole rows in the batch
	start int // where the batch's first row begins
	cells []cell

	base    int64 // offset in the stream of buf[0]
	rowBase int64 // rows of earlier batches
}

func newScanner(s *Schema) *scanner {
	fields := s.streamFields()
	return &scanner{
		columns: s.columns,
		fields:  fields,
		buf:     make([]byte, 0, batchBytes+batchSlack),
		cells:   make([]cell, fields*cellStride),
	}
}

// column returns the cells of one field, a row each.
func (s *scanner) column(i int) []cell { return s.cells[i*cellStride : i*cellStride+s.rows] }

// bytes returns a cell's value, nil for NULL.
func (s *scanner) bytes(c cell) []byte {
	if c.len < 0 {
		return nil
	}
	return s.buf[c.off : c.off+c.len : c.off+c.len]
}

// full reports whether the batch has to be taken before the scanner goes on.
func (s *scanner) full() bool {
	return s.rows == batchRows || s.rows > 0 && s.batchSize() >= batchBytes
}

// batchSize is the size of the batch's rows in the stream.
func (s *scanner) batchSize() int {
	if s.state == scanFields {
		return 0 // in the middle of a row, hence not full
	}
	return s.pos - s.start
}

// feed takes some of p and returns how many bytes it took. It stops early when the batch is full.
func (s *scanner) feed(p []byte) (int, error) {
	target := max(batchBytes+batchSlack, s.need)
	if len(s.buf) >= target {
		target = len(s.buf) + batchSlack
	}
	if target > cap(s.buf) {
		// The length of a value is only what the stream says, so the buffer grows with the bytes that really came.
		target = min(target, 2*cap(s.buf))
		if target > maxBufferBytes {
			return 0, s.fail("", "a row exceeds 2 GB")
		}
		grown := make([]byte, len(s.buf), target)
		copy(grown, s.buf)
		s.buf = grown
	}
	n := min(target-len(s.buf), len(p))
	s.buf = append(s.buf, p[:n]...)
	return n, s.advance()
}

// release drops the batch's rows and moves what follows them to the front.
func (s *scanner) release() {
	tail := s.buf[s.pos:]
	s.base += int64(s.pos)
	s.rowBase += int64(s.rows)
	if cap(s.buf) > keepBytes && len(tail) <= batchBytes {
		s.buf = append(make([]byte, 0, batchBytes+batchSlack), tail...)
	} else {
		s.buf = s.buf[:copy(s.buf, tail)]
	}
	s.pos, s.start, s.rows, s.need = 0, 0, 0, 0
}

// advance goes on through the bytes at hand.
func (s *scanner) advance() error {
	for !s.full() && len(s.buf) >= s.need {
		switch s.state {
		case scanSignature:
			if !s.has(len(copySignature) + 8) {
				return s.checkSignature()
			}
			if err := s.readHeader(); err != nil {
				return err
			}
		case scanExtension:
			n := min(s.skip, len(s.buf)-s.pos)
			s.skip -= n
			s.pos += n
			if s.skip > 0 {
				s.need = len(s.buf) + 1
				return nil
			}
			s.state, s.start = scanTupleStart, s.pos
		case scanTupleStart:
			if !s.has(2) {
				return nil
			}
			if err := s.startTuple(); err != nil {
				return err
			}
		case scanFields:
			if err := s.readFields(); err != nil {
				return err
			}
		case scanDone:
			if s.pos < len(s.buf) {
				return s.fail("", "data after the trailer")
			}
			return nil
		}
	}
	return nil
}

// has reports whether n more bytes are at hand, and else notes that they are needed.
func (s *scanner) has(n int) bool {
	s.need = s.pos + n
	return len(s.buf) >= s.need
}

// checkSignature refuses a stream of another kind as early as possible.
func (s *scanner) checkSignature() error {
	n := min(len(s.buf), len(copySignature))
	if string(s.buf[:n]) != copySignature[:n] {
		return s.fail("", "no binary COPY signature")
	}
	return nil
}

func (s *scanner) readHeader() error {
	if err := s.checkSignature(); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(s.buf[len(copySignature):])
	if flags&(1<<16) != 0 {
		return s.fail("", "the stream carries oids")
	}
	if flags>>16 != 0 {
		return s.fail("", fmt.Sprintf("unknown critical flags %#x", flags))
	}
	ext := binary.BigEndian.Uint32(s.buf[len(copySignature)+4:])
	if ext > maxHeaderBytes {
		return s.fail("", fmt.Sprintf("the header's extension area has %d bytes", ext))
	}
	s.pos += len(copySignature) + 8
	s.skip, s.state = int(ext), scanExtension
	return nil
}

func (s *scanner) startTuple() error {
	n := int16(binary.BigEndian.Uint16(s.buf[s.pos:]))
	switch {
	case n == -1:
		s.state = scanDone
	case int(n) != s.fields:
		return s.fail("", fmt.Sprintf("a row has %d columns, expected %d", n, s.fields))
	default:
		s.state, s.field = scanFields, 0
	}
	s.pos += 2
	return nil
}

// readFields notes the cells of the tuple being read. It is the stream's inner loop.
func (s *scanner) readFields() error {
	buf, pos, at := s.buf, s.pos, s.field*cellStride+s.rows
	for s.field < s.fields {
		if len(buf)-pos < 4 {
			s.pos, s.need = pos, pos+4
			return nil
		}
		n := int32(binary.BigEndian.Uint32(buf[pos:]))
		switch {
		case n < 0:
			if n != -1 {
				return s.fail(s.columnName(), fmt.Sprintf("a value's length is %d", n))
			}
			s.cells[at] = cell{len: -1}
			pos += 4
		case len(buf)-pos-4 < int(n):
			if n > maxValueBytes {
				return s.fail(s.columnName(), fmt.Sprintf("a value's length is %d", n))
			}
			s.pos, s.need = pos, pos+4+int(n)
			return nil
		default:
			s.cells[at] = cell{off: int32(pos + 4), len: n}
			pos += 4 + int(n)
		}
		s.field++
		at += cellStride
	}
	s.pos, s.need, s.state = pos, pos, scanTupleStart
	s.rows++
	return nil
}

func (s *scanner) columnName() string {
	if s.field < len(s.columns) {
		return s.columns[s.field].Name
	}
	return "ctid"
}

func (s *scanner) fail(column, reason string) error {
	e := &FormatError{Offset: s.base + int64(s.pos), Column: column, Reason: reason}
	if s.state == scanTupleStart || s.state == scanFields {
		e.Row = s.rowBase + int64(s.rows) + 1
	}
	return e
}
