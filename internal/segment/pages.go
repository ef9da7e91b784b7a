package segment

import (
	"errors"
	"io"
)

// pagePool holds the encoded pages of one file's row group until they are written. Parquet-go's own pools are shared and give
// memory back when the collector says so, which keeps a second row group's worth alive; this one reuses every chunk at once.
// A file is written by one goroutine, so nothing is locked.
type pagePool struct {
	chunkBytes int
	free       [][]byte
}

// GetBuffer is called for each column of a row group.
func (p *pagePool) GetBuffer() io.ReadWriteSeeker { return &pageBuffer{pool: p} }

// PutBuffer takes the chunks back.
func (p *pagePool) PutBuffer(b io.ReadWriteSeeker) {
	if b, ok := b.(*pageBuffer); ok {
		p.free = append(p.free, b.chunks...)
		b.chunks, b.size, b.pos = nil, 0, 0
	}
}

func (p *pagePool) chunk() []byte {
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		return c
	}
	return make([]byte, p.chunkBytes)
}

// pageBuffer holds the pages of one column. It is written from start to end, then read from start to end.
type pageBuffer struct {
	pool   *pagePool
	chunks [][]byte
	size   int64
	pos    int64 // of reads; writes append
}

func (b *pageBuffer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		at := int(b.size % int64(b.pool.chunkBytes))
		if at == 0 {
			b.chunks = append(b.chunks, b.pool.chunk())
		}
		k := copy(b.chunks[len(b.chunks)-1][at:], p)
		b.size += int64(k)
		p = p[k:]
	}
	return n, nil
}

// next returns the unread bytes of the chunk at the position.
func (b *pageBuffer) next() []byte {
	if b.pos >= b.size {
		return nil
	}
	size := int64(b.pool.chunkBytes)
	at := b.pos % size
	return b.chunks[b.pos/size][at:min(size, at+b.size-b.pos)]
}

func (b *pageBuffer) Read(p []byte) (int, error) {
	c := b.next()
	if c == nil {
		return 0, io.EOF
	}
	n := copy(p, c)
	b.pos += int64(n)
	return n, nil
}

// WriteTo spares io.Copy its buffer.
func (b *pageBuffer) WriteTo(w io.Writer) (int64, error) {
	total := int64(0)
	for c := b.next(); c != nil; c = b.next() {
		n, err := w.Write(c)
		b.pos += int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

var errSeek = errors.New("page buffers seek to positions within them only")

func (b *pageBuffer) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.size
	}
	if offset < 0 || offset > b.size {
		return 0, errSeek
	}
	b.pos = offset
	return offset, nil
}
