package segment

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// zstdWindow is how far back a page looks for repetitions. An encoder keeps twice as much, and parquet-go's codec would keep
// 8 MB for the sake of pages that are hardly ever longer than this.
const zstdWindow = 512 << 10

// The codecs of a file's pages.
const (
	CodecZstd   = "zstd" // at its fastest level
	CodecSnappy = "snappy"
	CodecNone   = "none"
)

// zstdCodec compresses the pages of one file at a time.
type zstdCodec struct {
	compress.Codec // reads, and names itself
	encoder        *zstd.Encoder
}

// encoders keeps encoders of finished files for the next ones: they are large, and files may be small and many. The garbage
// collector empties it.
var encoders sync.Pool

// newCodec returns the codec of a name; "" is CodecZstd.
func newCodec(name string) (compress.Codec, error) {
	switch name {
	case CodecSnappy:
		return &parquet.Snappy, nil
	case CodecNone:
		return &parquet.Uncompressed, nil
	case "", CodecZstd:
	default:
		return nil, fmt.Errorf("unknown codec %q: expected zstd, snappy or none", name)
	}
	if c, ok := encoders.Get().(*zstdCodec); ok {
		return c, nil
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithZeroFrames(true),
		zstd.WithEncoderCRC(false), // each page has a checksum
	)
	if err != nil {
		return nil, fmt.Errorf("configure zstd: %w", err)
	}
	return &zstdCodec{Codec: &parquetzstd.Codec{}, encoder: e}, nil
}

// freeCodec gives a codec back.
func freeCodec(c compress.Codec) {
	if z, ok := c.(*zstdCodec); ok {
		encoders.Put(z)
	}
}

func (c *zstdCodec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}
