package cold

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Digest is the content of a set of rows, whatever their order: their number and the sum of their hashes. Two digests add
// up to that of both sets together, so that hot + cold can be compared with all.
type Digest struct {
	Rows int64

	sum [2]uint64
	buf []byte
}

// Add counts one row. nil stands for NULL.
func (d *Digest) Add(values [][]byte) {
	d.buf = d.buf[:0]
	for _, v := range values {
		if v == nil {
			d.buf = append(d.buf, 0)
			continue
		}
		d.buf = append(d.buf, 1)
		d.buf = binary.AppendUvarint(d.buf, uint64(len(v)))
		d.buf = append(d.buf, v...)
	}
	h := sha256.Sum256(d.buf)
	d.Rows++
	d.sum[0] += binary.LittleEndian.Uint64(h[:])
	d.sum[1] += binary.LittleEndian.Uint64(h[8:])
}

// Plus returns the digest of both sets together.
func (d *Digest) Plus(e Digest) Digest {
	return Digest{Rows: d.Rows + e.Rows, sum: [2]uint64{d.sum[0] + e.sum[0], d.sum[1] + e.sum[1]}}
}

// Equal reports whether both sets hold the same rows, each as often.
func (d *Digest) Equal(e Digest) bool { return d.Rows == e.Rows && d.sum == e.sum }

// String is the sum, for people to compare.
func (d *Digest) String() string { return fmt.Sprintf("%016x%016x", d.sum[0], d.sum[1]) }

// A digest is a sink, for rows that come over the wire.
var _ show.Sink = (*Digest)(nil)

// Begin implements show.Sink.
func (d *Digest) Begin([]show.Column) error { return nil }

// Row implements show.Sink.
func (d *Digest) Row(values [][]byte) error { d.Add(values); return nil }

// End implements show.Sink.
func (d *Digest) End(string) error { return nil }

// AddFile counts the rows of a segment.
func (d *Digest) AddFile(ctx context.Context, path string) error {
	var values [][]byte
	return readSegment(ctx, Segment{Name: path}, nil, func(row []segment.Value) error {
		values = values[:0]
		for _, v := range row {
			if v.Null {
				values = append(values, nil)
				continue
			}
			values = append(values, v.Text[:len(v.Text):len(v.Text)])
		}
		d.Add(values)
		return nil
	})
}
