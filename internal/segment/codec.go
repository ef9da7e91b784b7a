package segment

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/compress"
	parquetzstd "github.com/parquet-go/parquet-go/compress/zstd"
)

// zstdWindow is how far back a page looks for repetitions. An encoder keeps twice as much, and parquet-go's codec would keep
// 8 MB for the sake of pages that are hardly ever longer than this.
const zstdWindow = 512 << 10

// codec compresses the pages of one file with one encoder, and gives its memory back with the file.
type codec struct {
	compress.Codec // reads, and names itself
	encoder        *zstd.Encoder
}

func newCodec() (*codec, error) {
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
	return &codec{Codec: &parquetzstd.Codec{}, encoder: e}, nil
}

func (c *codec) Encode(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst[:0]), nil
}
