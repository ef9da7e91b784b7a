package flush

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

func damaged(seg ledger.Segment, format string, args ...any) error {
	return jobstep.Classified(jobstep.ClassDamaged, &DamagedError{Segment: seg.ID.String(), Location: seg.Location, Reason: fmt.Sprintf(format, args...)})
}

// coldFile is a segment's object, open, and found to be what the ledger says.
type coldFile struct {
	seg    ledger.Segment
	object objstore.Object
	footer segment.Footer
	rest   []segment.Column // those of the footer, as PostgreSQL sends them now
}

// openCold opens a segment and reads it once to see that it is whole: size, sha-256, footer. Error: one that wraps *DamagedError, or
// the storage's own.
func openCold(ctx context.Context, store objstore.Store, seg ledger.Segment) (*coldFile, error) {
	key, err := keyOf(store, seg.Location)
	if err != nil {
		return nil, err
	}
	object, err := store.Open(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return nil, damaged(seg, "there is no such object")
	}
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", seg.ID, err)
	}
	c := &coldFile{seg: seg, object: object}
	if err := c.check(ctx); err != nil {
		object.Close()
		return nil, err
	}
	return c, nil
}

func (c *coldFile) check(ctx context.Context) error {
	if c.object.Size() != c.seg.Bytes {
		return damaged(c.seg, "it has %d bytes, the ledger says %d", c.object.Size(), c.seg.Bytes)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, &stoppable{ctx, io.NewSectionReader(c.object, 0, c.seg.Bytes)}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read segment %s: %w", c.seg.ID, err))
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); sum != c.seg.SHA256 {
		return damaged(c.seg, "its sha-256 is %s, the ledger says %s", sum, c.seg.SHA256)
	}
	footer, err := segment.ReadFooter(c.object, c.seg.Bytes)
	if err != nil {
		return c.unreadable(err)
	}
	if footer.Rows != c.seg.Rows || footer.SegmentID != c.seg.ID.String() {
		return damaged(c.seg, "its footer is that of segment %s with %d rows, the ledger says %d rows", footer.SegmentID, footer.Rows, c.seg.Rows)
	}
	c.footer = footer
	return nil
}

// unreadable says whose fault an error of the reader is: that of the file, or that of its storage.
func (c *coldFile) unreadable(err error) error {
	switch {
	case errors.Is(err, segment.ErrCorrupt), errors.Is(err, segment.ErrNotSegment):
		return damaged(c.seg, "%v", err)
	case errors.Is(err, segment.ErrVersion):
		return jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("segment %s: %w", c.seg.ID, err))
	}
	return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read segment %s: %w", c.seg.ID, err))
}

func (c *coldFile) Close() error { return c.object.Close() }

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

// keyOf finds the key of an object from its URL.
func keyOf(store objstore.Store, location string) (string, error) {
	key, ok := objstore.KeyOf(store, location)
	if !ok {
		return "", jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("%s is not in the storage %s, where the ledger says it is", location, store.URL("")))
	}
	return key, nil
}

// copyText turns the rows of a segment into a stream in COPY's text format. It is read by one goroutine.
type copyText struct {
	rows   *segment.Reader
	fields []int // which value of a row each field is
	file   *coldFile
	buf    []byte
	at     int
	count  atomic.Int64
	err    error // why it ended early; COPY's own error only says that it was told so
}

// copyTextBytes is how much is made ready at once.
const copyTextBytes = 64 << 10

// Read implements io.Reader.
func (c *copyText) Read(p []byte) (int, error) {
	if c.at == len(c.buf) {
		c.buf, c.at = c.buf[:0], 0
		for len(c.buf) < copyTextBytes && c.rows.Next() {
			c.appendRow()
			c.count.Add(1)
		}
		if err := c.rows.Err(); err != nil {
			c.err = c.file.unreadable(err)
			return 0, c.err
		}
		if len(c.buf) == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, c.buf[c.at:])
	c.at += n
	return n, nil
}

func (c *copyText) appendRow() {
	row := c.rows.Row()
	for i, f := range c.fields {
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
