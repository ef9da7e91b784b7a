package hot

import (
	"encoding/binary"
	"io"
)

// tapBuffer is the size of the buffer in front of a session's socket.
const tapBuffer = 256 << 10

const (
	headerBytes = 5 // of a message: its type, and its length without the type
	copyData    = 'd'
)

// copyTap reads a session's socket for pgx. While a COPY runs, it takes the CopyData messages out of the stream and hands what
// they carry to a sink, many at once: each row comes as a message of its own, and pgx would make a value and a call of each.
// All other messages pass through untouched, so pgx sees the COPY begin, end or fail as ever.
type copyTap struct {
	src  io.Reader
	buf  []byte
	r, w int // what was read and not yet taken is buf[r:w]

	pass int // bytes of the message being passed on to pgx that are still to come
	data int // bytes of the CopyData message being taken that are still to come

	sink io.Writer // nil: no COPY runs
	err  error     // the sink's
}

func newCopyTap(src io.Reader) *copyTap { return &copyTap{src: src, buf: make([]byte, tapBuffer)} }

// open makes CopyData messages go to a sink, until close.
func (t *copyTap) open(sink io.Writer) { t.sink, t.err = sink, nil }

// close ends the COPY and returns the sink's error, if it had one.
func (t *copyTap) close() error {
	err := t.err
	t.sink, t.err = nil, nil
	return err
}

// Read implements io.Reader for pgx.
func (t *copyTap) Read(p []byte) (int, error) {
	for t.pass == 0 {
		if err := t.next(); err != nil {
			return 0, err
		}
	}
	if t.r == t.w {
		if err := t.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.buf[t.r:min(t.w, t.r+t.pass)])
	t.r += n
	t.pass -= n
	return n, nil
}

// next goes on to the next message: one for pgx sets pass, those for the sink are taken as far as they are at hand.
func (t *copyTap) next() error {
	if t.data > 0 {
		if err := t.fill(1); err != nil {
			return err
		}
		return t.take()
	}
	if err := t.fill(headerBytes); err != nil {
		return err
	}
	if t.copying() {
		return t.take()
	}
	t.pass = max(headerBytes, 1+t.length()) // pgx complains about a length that cannot be
	return nil
}

// copying reports whether the header that stands at r is that of a message for the sink.
func (t *copyTap) copying() bool {
	return t.sink != nil && t.buf[t.r] == copyData && t.length() >= headerBytes-1
}

// length is that of the message whose header stands at r; it counts itself.
func (t *copyTap) length() int { return int(int32(binary.BigEndian.Uint32(t.buf[t.r+1:]))) }

// take moves together what the CopyData messages at hand carry, and hands it to the sink.
func (t *copyTap) take() error {
	from, to := t.r, t.r
	for {
		n := min(t.data, t.w-t.r)
		to += copy(t.buf[to:], t.buf[t.r:t.r+n])
		t.r += n
		t.data -= n
		if t.data > 0 || t.w-t.r < headerBytes || !t.copying() {
			break
		}
		t.data = t.length() - (headerBytes - 1)
		t.r += headerBytes
	}
	if from == to {
		return nil
	}
	_, t.err = t.sink.Write(t.buf[from:to])
	return t.err
}

// fill reads until n bytes are at hand.
func (t *copyTap) fill(n int) error {
	if t.w-t.r >= n {
		return nil
	}
	t.w = copy(t.buf, t.buf[t.r:t.w])
	t.r = 0
	for t.w < n {
		m, err := t.src.Read(t.buf[t.w:])
		t.w += m
		if err != nil && t.w < n {
			return err
		}
	}
	return nil
}
