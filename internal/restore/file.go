package restore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// DamagedError is a segment whose object is not what the ledger says: it is gone, cut or changed. Nothing of it is trusted.
type DamagedError struct {
	Segment  string
	Location string
	Reason   string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("segment %s is damaged: %s: %s", e.Segment, e.Location, e.Reason)
}

// Damaged is an error of the class damaged about a segment; it wraps *DamagedError.
func Damaged(seg ledger.Segment, format string, args ...any) error {
	return jobstep.Classified(jobstep.ClassDamaged, &DamagedError{Segment: seg.ID.String(), Location: seg.Location, Reason: fmt.Sprintf(format, args...)})
}

// File is a segment's object, open, and found to be what the ledger says.
type File struct {
	seg    ledger.Segment
	Object objstore.Object
	Footer segment.Footer
	Rest   []segment.Column // those of the footer, as PostgreSQL sends them now
}

// Open opens a segment and reads it once to see that it is whole: size, sha-256, footer. Error: one that wraps *DamagedError, or
// the storage's own.
func Open(ctx context.Context, store objstore.Store, seg ledger.Segment) (*File, error) {
	key, err := KeyOf(store, seg.Location)
	if err != nil {
		return nil, err
	}
	object, err := store.Open(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, Damaged(seg, "there is no such object")
	}
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", seg.ID, err)
	}
	c := &File{seg: seg, Object: object}
	if err := c.check(ctx); err != nil {
		object.Close()
		return nil, err
	}
	return c, nil
}

func (c *File) check(ctx context.Context) error {
	if c.Object.Size() != c.seg.Bytes {
		return Damaged(c.seg, "it has %d bytes, the ledger says %d", c.Object.Size(), c.seg.Bytes)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &stoppable{ctx, io.NewSectionReader(c.Object, 0, c.seg.Bytes)}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read segment %s: %w", c.seg.ID, err))
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != c.seg.SHA256 {
		return Damaged(c.seg, "its sha-256 is %s, the ledger says %s", sum, c.seg.SHA256)
	}
	footer, err := segment.ReadFooter(c.Object, c.seg.Bytes)
	if err != nil {
		return c.Unreadable(err)
	}
	if footer.Rows != c.seg.Rows || footer.SegmentID != c.seg.ID.String() {
		return Damaged(c.seg, "its footer is that of segment %s with %d rows, the ledger says %d rows", footer.SegmentID, footer.Rows, c.seg.Rows)
	}
	c.Footer = footer
	return nil
}

// Unreadable says whose fault an error of the reader is: that of the file, or that of its storage.
func (c *File) Unreadable(err error) error {
	switch {
	case errors.Is(err, segment.ErrCorrupt), errors.Is(err, segment.ErrNotSegment):
		return Damaged(c.seg, "%v", err)
	case errors.Is(err, segment.ErrVersion):
		return jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("segment %s: %w", c.seg.ID, err))
	}
	return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read segment %s: %w", c.seg.ID, err))
}

// Close closes the object.
func (c *File) Close() error { return c.Object.Close() }

// stoppable stops a long read when its context ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// KeyOf finds the key of an object from its URL.
func KeyOf(store objstore.Store, location string) (string, error) {
	key, ok := objstore.KeyOf(store, location)
	if !ok {
		return "", jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("%s is not in the storage %s, where the ledger says it is", location, store.URL("")))
	}
	return key, nil
}

// CopyText turns the rows of a segment into a stream in COPY's text format. It is read by one goroutine.
type CopyText struct {
	Rows   *segment.Reader
	Fields []int // which value of a row each field is
	File   *File
	buf    []byte
	at     int
	Count  atomic.Int64
	Err    error // why it ended early; COPY's own error only says that it was told so
}

// copyTextBytes is how much is made ready at once.
const copyTextBytes = 64 << 10

// Read implements io.Reader.
func (c *CopyText) Read(p []byte) (int, error) {
	if c.at == len(c.buf) {
		c.buf, c.at = c.buf[:0], 0
		for len(c.buf) < copyTextBytes && c.Rows.Next() {
			c.appendRow()
			c.Count.Add(1)
		}
		if err := c.Rows.Err(); err != nil {
			c.Err = c.File.Unreadable(err)
			return 0, c.Err
		}
		if len(c.buf) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, c.buf[c.at:])
	c.at += n
	return n, nil
}

func (c *CopyText) appendRow() {
	row := c.Rows.Row()
	for i, f := range c.Fields {
		if i > 0 {
			c.buf = append(c.buf, '\t')
		}
		if row[f].Null {
			c.buf = append(c.buf, `\N`...)
			continue
		}
		c.buf = appendEscaped(c.buf, row[f].Text)
	}
	c.buf = append(c.buf, '\n')
}

// appendEscaped escapes what COPY would read as something else.
func appendEscaped(dst, text []byte) []byte {
	from := 0
	for i, b := range text {
		var as byte
		switch b {
		case '\\':
			as = '\\'
		case '\n':
			as = 'n'
		case '\r':
			as = 'r'
		case '\t':
			as = 't'
		default:
			continue
		}
		dst = append(append(dst, text[from:i]...), '\\', as)
		from = i + 1
	}
	return append(dst, text[from:]...)
}
