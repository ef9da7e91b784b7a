package segment

import "encoding/binary"

// Parquet-go believes the lengths that a footer or a page header states, and allocates as much. So the bytes of both are walked
// here first, in Thrift's compact protocol, and a length that the bytes at hand cannot hold is an error.

// Types of the compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12

	thriftMaxDepth = 16
)

// thriftStructLen returns how many bytes the struct at the start of b has; false if b does not hold a whole one.
func thriftStructLen(b []byte) (int, bool) {
	w := thriftWalker{b: b}
	w.structure(0)
	return w.at, !w.bad
}

type thriftWalker struct {
	b   []byte
	at  int
	bad bool
}

func (w *thriftWalker) left() int { return len(w.b) - w.at }

// skip passes n bytes.
func (w *thriftWalker) skip(n uint64) {
	if n > uint64(w.left()) {
		w.bad = true
		return
	}
	w.at += int(n)
}

func (w *thriftWalker) byte() byte {
	if w.left() == 0 {
		w.bad = true
		return 0
	}
	w.at++
	return w.b[w.at-1]
}

func (w *thriftWalker) varint() uint64 {
	v, n := binary.Uvarint(w.b[w.at:])
	if n <= 0 {
		w.bad = true
		return 0
	}
	w.at += n
	return v
}

func (w *thriftWalker) structure(depth int) {
	if depth > thriftMaxDepth {
		w.bad = true
	}
	for !w.bad {
		head := w.byte()
		if w.bad || head == 0 {
			return
		}
		if head>>4 == 0 { // no delta: the field's id follows
			w.varint()
		}
		w.value(head&0xf, depth, false)
	}
}

// value passes one value. In a container, a boolean has a byte; as a field, it lies in the field's type.
func (w *thriftWalker) value(kind byte, depth int, contained bool) {
	switch kind {
	case thriftTrue, thriftFalse:
		if contained {
			w.skip(1)
		}
	case thriftByte:
		w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		w.varint()
	case thriftDouble:
		w.skip(8)
	case thriftBinary:
		w.skip(w.varint())
	case thriftList, thriftSet:
		head := w.byte()
		n := uint64(head >> 4)
		if n == 15 {
			n = w.varint()
		}
		w.elements(n, depth, head&0xf)
	case thriftMap:
		if n := w.varint(); n > 0 {
			kinds := w.byte()
			w.elements(n, depth, kinds>>4, kinds&0xf)
		}
	case thriftStruct:
		w.structure(depth + 1)
	default:
		w.bad = true
	}
}

// elements passes n elements of the given kinds. Each has a byte at least.
func (w *thriftWalker) elements(n uint64, depth int, kinds ...byte) {
	if n > uint64(w.left()) {
		w.bad = true
	}
	for ; n > 0 && !w.bad; n-- {
		for _, k := range kinds {
			w.value(k, depth+1, true)
		}
	}
}
