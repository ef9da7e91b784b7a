package segment

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

// WriterOptions bound a file's row groups and pages. Zero values mean the defaults.
type WriterOptions struct {
	// RowGroupRows is how many rows a row group may have, to the nearest batch of the stream. Default 256 Ki.
	RowGroupRows int64
	// RowGroupBytes is how many bytes of a row group may be in memory, compressed pages and open ones. Default 12 MiB.
	RowGroupBytes int64
	// PageBytes is how large a column's page may grow before it is encoded. Default 256 KiB, less for wide tables.
	PageBytes int
	// Codec compresses pages. Default CodecZstd.
	Codec string
	// Bloom names the columns whose row groups get a bloom filter: see Schema.CanBloom.
	Bloom []string
	// Sorted says in which order the rows come. It is recorded as far as readers can rely on it, and not checked.
	Sorted []SortedBy
}

const (
	defaultRowGroupRows  = 256 << 10
	defaultRowGroupBytes = 12 << 20
	maxPageBytes         = 256 << 10
	minPageBytes         = 8 << 10
	openPagesBytes       = 4 << 20 // all columns' open pages together, roughly
	maxDictBytes         = 64 << 10
	minDictBytes         = 4 << 10
	openDictBytes        = 2 << 20 // all columns' dictionaries together
	outputBufferBytes    = 64 << 10
	maxChunkBytes        = 32 << 10 // unit of memory for encoded pages
	minChunkBytes        = 4 << 10
	openChunkBytes       = 4 << 20 // what all columns' last units together may waste
)

func (o *WriterOptions) withDefaults(columns int) WriterOptions {
	var r WriterOptions
	if o != nil {
		r = *o
	}
	if r.RowGroupRows <= 0 {
		r.RowGroupRows = defaultRowGroupRows
	}
	if r.RowGroupBytes <= 0 {
		r.RowGroupBytes = defaultRowGroupBytes
	}
	if r.PageBytes <= 0 {
		r.PageBytes = min(maxPageBytes, max(minPageBytes, openPagesBytes/columns))
	}
	return r
}

// Summary describes a finished file.
type Summary struct {
	Rows   int64
	Bytes  int64
	SHA256 string // of the whole file, in hex
	Stats  []ColumnStats
}

type writerState uint8

const (
	writerOpen writerState = iota
	writerFailed
	writerClosed
	writerAborted
)

// Writer turns a binary COPY stream into a segment. It is used by one goroutine; Rows and Bytes may be asked by others.
type Writer struct {
	schema *Schema
	meta   Meta
	opt    WriterOptions
	out    *hashingWriter
	scan   *scanner
	enc    *encoder

	codec     compress.Codec              // from the first batch on
	layout    *layout                     // from the first batch on
	parquet   *parquet.GenericWriter[any] // from the first batch on; columns are written, never rows
	groupRows int64                       // rows in the row group being built
	groupBase int64                       // size of the file before it

	state   writerState
	err     error // why it failed
	summary Summary
	rows    atomic.Int64
	size    atomic.Int64
}

// NewWriter starts a segment. Nothing is written to w before the first rows.
func NewWriter(w io.Writer, s *Schema, meta Meta, opt *WriterOptions) (*Writer, error) {
	o := opt.withDefaults(len(s.tree.leaves))
	if err := s.checkWriterOptions(o); err != nil {
		return nil, err
	}
	scan := newScanner(s)
	return &Writer{
		schema: s,
		meta:   meta,
		opt:    o,
		out:    &hashingWriter{w: w, hash: sha256.New()},
		scan:   scan,
		enc:    newEncoder(s, scan),
	}, nil
}

// Rows is how many rows were encoded.
func (w *Writer) Rows() int64 { return w.rows.Load() }

// Bytes is how many bytes of the file were written.
func (w *Writer) Bytes() int64 { return w.out.n.Load() }

// Size is about how large the file would be if it ended now: what was written, and what waits to be.
func (w *Writer) Size() int64 { return w.size.Load() }

// Write takes bytes of the stream, cut anywhere. After an error, every call returns that error.
func (w *Writer) Write(p []byte) (n int, err error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	defer w.remember(&err)
	defer guardWrite(&err)
	for n < len(p) {
		took, err := w.scan.feed(p[n:])
		n += took
		if err != nil {
			return n, err
		}
		for w.scan.full() {
			if err := w.takeBatch(); err != nil {
				return n, err
			}
			if err := w.scan.advance(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// Close writes what is left and the footer. It fails unless the stream ended with its trailer. A second Close returns what the
// first one did.
func (w *Writer) Close() (sum Summary, err error) {
	if w.state == writerClosed {
		return w.summary, nil
	}
	if err := w.usable(); err != nil {
		return Summary{}, err
	}
	defer w.remember(&err)
	defer guardWrite(&err)
	if w.scan.state != scanDone {
		return Summary{}, fmt.Errorf("%w: %d rows were read", ErrIncomplete, w.scan.rowBase+int64(w.scan.rows))
	}
	if err := w.takeBatch(); err != nil {
		return Summary{}, err
	}
	if err := w.parquet.Flush(); err != nil {
		return Summary{}, fmt.Errorf("write row group: %w", err)
	}
	w.parquet.SetKeyValueMetadata(keyRows, strconv.FormatInt(w.Rows(), 10))
	if err := w.parquet.Close(); err != nil {
		return Summary{}, fmt.Errorf("write footer: %w", err)
	}
	w.summary = Summary{
		Rows:   w.Rows(),
		Bytes:  w.Bytes(),
		SHA256: hex.EncodeToString(w.out.hash.Sum(nil)),
		Stats:  w.columnStats(w.parquet.File().Metadata()),
	}
	w.state = writerClosed
	w.free()
	return w.summary, nil
}

// Abort frees the writer's memory. What was written is no segment, unless Close came first.
func (w *Writer) Abort() {
	if w.state == writerOpen {
		w.state = writerAborted
	}
	w.free()
}

func (w *Writer) usable() error {
	switch w.state {
	case writerFailed:
		return w.err
	case writerClosed, writerAborted:
		return ErrClosed
	}
	return nil
}

// remember makes an error final.
func (w *Writer) remember(err *error) {
	if *err != nil {
		w.state, w.err = writerFailed, *err
		w.free()
	}
}

func (w *Writer) free() {
	if w.codec != nil {
		freeCodec(w.codec)
	}
	w.scan, w.enc, w.layout, w.parquet, w.codec = nil, nil, nil, nil, nil
}

// takeBatch encodes the scanner's rows, and ends the row group if it has grown enough.
func (w *Writer) takeBatch() error {
	if w.parquet == nil {
		if err := w.start(); err != nil {
			return err
		}
	}
	if w.scan.rows == 0 {
		return nil
	}
	if err := w.enc.encodeBatch(); err != nil {
		return err
	}
	w.groupRows += int64(w.scan.rows)
	w.rows.Add(int64(w.scan.rows))
	w.scan.release()
	w.size.Store(w.parquet.Size())
	if w.groupRows < w.opt.RowGroupRows && w.parquet.Size()-w.groupBase < w.opt.RowGroupBytes {
		return nil
	}
	if err := w.parquet.Flush(); err != nil {
		return fmt.Errorf("write row group: %w", err)
	}
	w.groupRows, w.groupBase = 0, w.parquet.Size()
	return nil
}

// start opens the Parquet file. It waits for the first batch, which decides about dictionaries.
func (w *Writer) start() error {
	columns, err := w.schema.ColumnsJSON()
	if err != nil {
		return err
	}
	w.layout = newLayout(w.schema, w.enc.sampleDictionaries())
	if w.codec, err = newCodec(w.opt.Codec); err != nil {
		return err
	}
	n := len(w.schema.tree.leaves)
	dictBytes := int64(min(maxDictBytes, max(minDictBytes, openDictBytes/n)))
	chunkBytes := min(maxChunkBytes, max(minChunkBytes, openChunkBytes/n))
	options := []parquet.WriterOption{
		w.layout.schema,
		parquet.CreatedBy("spillway", strconv.Itoa(FormatVersion), ""),
		parquet.Compression(w.codec),
		parquet.PageBufferSize(w.opt.PageBytes),
		parquet.WriteBufferSize(outputBufferBytes),
		parquet.ColumnPageBuffers(&pagePool{chunkBytes: chunkBytes}),
		parquet.DataPageStatistics(true),
		parquet.DictionaryMaxBytes(dictBytes),
	}
	for i, leaf := range w.layout.leaves {
		if leaf != nil && leaf.bounds.kind != boundsOfFloats { // their bounds are in the page index; a second copy in each page header is waste
			options = append(options, parquet.SkipPageStatistics(w.layout.paths[i]...))
		}
	}
	options = append(options, w.schema.arrangement(w.opt)...)
	config, err := parquet.NewWriterConfig(options...)
	if err != nil {
		return fmt.Errorf("configure parquet: %w", err)
	}
	w.parquet = parquet.NewGenericWriter[any](w.out, config)
	for _, kv := range w.meta.pairs(columns) {
		w.parquet.SetKeyValueMetadata(kv[0], kv[1])
	}
	for i, out := range w.parquet.ColumnWriters() {
		c := &w.enc.columns[i]
		c.out, c.leaf, c.maxDict = out, w.layout.leaves[i], dictBytes
	}
	w.groupBase = w.parquet.Size()
	return nil
}

// guardWrite turns a panic of the Parquet library, which passes some limits that way, into an error.
func guardWrite(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("parquet: %v", r)
	}
}

// hashingWriter hashes and counts what it writes.
type hashingWriter struct {
	w    io.Writer
	hash hash.Hash
	n    atomic.Int64
}

func (h *hashingWriter) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	h.hash.Write(p[:n])
	h.n.Add(int64(n))
	return n, err
}
