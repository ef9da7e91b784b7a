package command

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/internal/segment"
)

// digest is the content of a set of rows, whatever their order: their number and the sum of their hashes. Two digests add
// up to that of both sets together, so that hot + cold can be compared with all.
type digest struct {
	rows int64
	sum  [2]uint64
	buf  []byte
}

// add counts one row. nil stands for NULL.
func (d *digest) add(values [][]byte) {
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
	d.rows++
	d.sum[0] += binary.LittleEndian.Uint64(h[:])
	d.sum[1] += binary.LittleEndian.Uint64(h[8:])
}

func (d *digest) plus(e digest) digest {
	return digest{rows: d.rows + e.rows, sum: [2]uint64{d.sum[0] + e.sum[0], d.sum[1] + e.sum[1]}}
}

func (d *digest) equal(e digest) bool { return d.rows == e.rows && d.sum == e.sum }

func (d *digest) String() string { return fmt.Sprintf("%016x%016x", d.sum[0], d.sum[1]) }

// A digest is a sink, for rows that come over the wire.
var _ show.Sink = (*digest)(nil)

func (d *digest) Begin([]show.Column) error { return nil }
func (d *digest) Row(values [][]byte) error { d.add(values); return nil }
func (d *digest) End(string) error          { return nil }

// addFile counts the rows of a segment.
func (d *digest) addFile(ctx context.Context, path string) error {
	var values [][]byte
	return readSegment(ctx, segmentFile{name: path}, nil, func(row []segment.Value) error {
		values = values[:0]
		for _, v := range row {
			if v.Null {
				values = append(values, nil)
				continue
			}
			values = append(values, v.Text[:len(v.Text):len(v.Text)])
		}
		d.add(values)
		return nil
	})
}

// withFooter hands the columns of a segment to use.
func withFooter(ctx context.Context, file segmentFile, use func([]segment.Column)) error {
	return file.open(ctx, func(f io.ReaderAt, size int64) error {
		footer, err := segment.ReadFooter(f, size)
		if err == nil {
			use(footer.Columns)
		}
		return err
	})
}

// readSegment hands the columns of a segment to head, if it is not nil, and then each row to each.
func readSegment(ctx context.Context, file segmentFile, head func([]segment.Column) error, each func([]segment.Value) error) error {
	return file.open(ctx, func(f io.ReaderAt, size int64) error {
		r, err := segment.OpenReader(f, size)
		if err != nil {
			return err
		}
		defer r.Close()
		if head != nil {
			if err := head(r.Columns()); err != nil {
				return err
			}
		}
		for n := 0; r.Next(); n++ {
			if n%1000 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := each(r.Row()); err != nil {
				return err
			}
		}
		return r.Err()
	})
}
