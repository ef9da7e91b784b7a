package objstore

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// Reads of a bucket's object go through blocks, so that a footer costs one request and a scan in small steps few.
const (
	blockSize = 256 << 10
	tailSize  = 256 << 10
	// A read whose block before is held goes on forward: this many blocks come by one request.
	readAhead = 8
	// An open object holds at most 16 MiB.
	maxBlocks = 64
	// A larger read goes past the blocks.
	directSize = 1 << 20
	// Answers that end too early, and bring nothing, are repeated this often, with a growing pause.
	maxReadTries  = 5
	readPause     = 100 * time.Millisecond
	maxReadsPause = 2 * time.Second
)

// bucketObject reads one version of an object. That of a moment: if it is replaced meanwhile, reads fail with ErrChanged.
type bucketObject struct {
	b     *bucket
	key   string
	attrs attrs
	life  context.Context // the one that Open was given, or until Close
	end   context.CancelFunc

	tail    []byte // the last bytes
	tailOff int64

	mu     sync.Mutex
	blocks map[int64]*block
	recent []int64 // numbers of blocks, the one used last at the end
}

type block struct {
	ready chan struct{} // closed when data or err is set
	data  []byte
	err   error
}

func (b *bucket) Open(ctx context.Context, key string) (Object, error) {
	if err := b.check(ctx, "open", key); err != nil {
		return nil, err
	}
	// The end comes with the description, in one request and of one version. It is all that most footers need, and all of a
	// small object.
	tail, a, err := b.driver.tail(ctx, b.name(key), tailSize)
	if err != nil {
		return nil, b.fail(ctx, "open", key, err)
	}
	o := &bucketObject{b: b, key: key, attrs: a, tail: tail, tailOff: a.size - int64(len(tail)), blocks: map[int64]*block{}}
	o.life, o.end = context.WithCancel(ctx)
	return o, nil
}

func (o *bucketObject) Size() int64 { return o.attrs.size }

func (o *bucketObject) Close() error {
	o.end()
	return nil
}

func (o *bucketObject) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, o.b.fail(o.life, "read", o.key, errors.New("negative offset"))
	}
	want := int(max(0, min(int64(len(p)), o.attrs.size-off)))
	n, err := o.readAt(p[:want], off)
	if err != nil {
		return n, o.b.fail(o.life, "read", o.key, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *bucketObject) readAt(p []byte, off int64) (int, error) {
	if err := o.life.Err(); err != nil {
		return 0, err
	}
	n := 0
	if before := o.tailOff - off; before >= directSize && len(p) >= directSize {
		var err error
		if n, err = o.fetch(p[:min(int64(len(p)), before)], off); err != nil {
			return n, err
		}
	}
	for n < len(p) {
		at := off + int64(n)
		if at >= o.tailOff {
			n += copy(p[n:], o.tail[at-o.tailOff:])
			continue
		}
		data, err := o.block(at / blockSize)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[at%blockSize:])
	}
	return n, nil
}

// block returns a block, from memory if it is there.
func (o *bucketObject) block(n int64) ([]byte, error) {
	o.mu.Lock()
	bl, ok := o.blocks[n]
	if ok {
		o.use(n)
		o.mu.Unlock()
		select {
		case <-bl.ready:
			return bl.data, bl.err
		case <-o.life.Done():
			return nil, o.life.Err()
		}
	}
	run := o.reserve(n)
	o.mu.Unlock()
	o.fill(n, run)
	return run[0].data, run[0].err
}

// reserve enters the blocks that one request will bring, so that nobody else asks for them. o.mu is held.
func (o *bucketObject) reserve(n int64) []*block {
	count := 1
	if _, forward := o.blocks[n-1]; forward {
		count = readAhead
	}
	var run []*block
	for i := n; i < n+int64(count) && i*blockSize < o.attrs.size; i++ {
		if _, there := o.blocks[i]; there {
			break
		}
		bl := &block{ready: make(chan struct{})}
		o.blocks[i] = bl
		run = append(run, bl)
		o.use(i)
	}
	for len(o.recent) > maxBlocks { // whoever waits for one has a pointer to it
		delete(o.blocks, o.recent[0])
		o.recent = o.recent[1:]
	}
	return run
}

// use moves a block to the end of recent. o.mu is held.
func (o *bucketObject) use(n int64) {
	for i := len(o.recent) - 1; i >= 0; i-- {
		if o.recent[i] == n {
			o.recent = append(o.recent[:i], o.recent[i+1:]...)
			break
		}
	}
	o.recent = append(o.recent, n)
}

// fill brings the blocks from n on. Failed ones are forgotten, so that a later read tries again.
func (o *bucketObject) fill(n int64, run []*block) {
	off := n * blockSize
	data := make([]byte, min(int64(len(run))*blockSize, o.attrs.size-off))
	got, err := o.fetch(data, off)
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, bl := range run {
		from, to := i*blockSize, min((i+1)*blockSize, len(data))
		if got >= to {
			bl.data = data[from:to:to]
		} else {
			bl.err = err
			if o.blocks[n+int64(i)] == bl {
				delete(o.blocks, n+int64(i))
				o.forget(n + int64(i))
			}
		}
		close(bl.ready)
	}
}

func (o *bucketObject) forget(n int64) {
	for i, r := range o.recent {
		if r == n {
			o.recent = append(o.recent[:i], o.recent[i+1:]...)
			return
		}
	}
}

// errTorn is the driver's word for an answer that began well and ended too early. Other errors the cloud's client has tried
// to cure itself.
var errTorn = errors.New("the answer was cut short")

// fetch reads from the bucket. An answer that ends too early is taken up where it ended.
func (o *bucketObject) fetch(p []byte, off int64) (int, error) {
	n, tries := 0, 0
	for pause := readPause; n < len(p); pause = min(2*pause, maxReadsPause) {
		got, err := o.b.driver.read(o.life, o.b.name(o.key), o.attrs, p[n:], off+int64(n))
		n += got
		if err == nil {
			continue
		}
		if got > 0 {
			tries, pause = 0, readPause
		}
		if tries++; tries == maxReadTries || !errors.Is(err, errTorn) || o.life.Err() != nil {
			return n, err
		}
		select {
		case <-o.life.Done():
			return n, o.life.Err()
		case <-time.After(pause):
		}
	}
	return n, nil
}
