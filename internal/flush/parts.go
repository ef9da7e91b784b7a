package flush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Bounds of what an attempt at a chunk of many files holds in memory.
const (
	spillBytes = 1 << 20 // a file that grows beyond this goes to its store while it is written
	batchBytes = 8 << 20 // of finished files that wait to be put
	batchFiles = 256     // that wait to be put, or to be registered
)

// written is what a chunk's rows became.
type written struct {
	rows, bytes int64
	segments    int
	objects     []ledger.Object // that the ledger does not know yet
	staged      int64           // objects that the attempt has recorded
	stagedRows  int64
}

// parter cuts a chunk's rows into files, one open at a time. Small files wait until there is a batch of them, and their keys
// are recorded in the ledger before any of them is written: directories depend on values of rows, so no prefix of keys finds
// them all. A large file's key is recorded alone, and it is written as it grows.
type parter struct {
	a     *attempt
	ctx   context.Context
	opt   *segment.WriterOptions
	place layout.Place

	part   int // number of the open file, from 1
	now    finished
	writer *segment.Writer
	object objstore.Writer // of the open file, once it is large
	buf    []byte          // of the open file, before
	batch  []finished
	held   int // bytes of the batch
	stages int // batches recorded
	out    written

	open        atomic.Pointer[segment.Writer]
	rows, bytes atomic.Int64 // of finished files
}

// finished is a file that waits to be put.
type finished struct {
	object ledger.Object
	sum    segment.Summary
	data   []byte
}

var _ segment.Cutter = (*parter)(nil)

// counts is how far the files have come.
func (p *parter) counts() (rows, bytes int64) {
	rows, bytes = p.rows.Load(), p.bytes.Load()
	if w := p.open.Load(); w != nil {
		rows, bytes = rows+w.Rows(), bytes+w.Bytes()
	}
	return rows, bytes
}

// copyParts streams the deleted rows into many objects, each of which is durable and was looked at when it returns.
func (a *attempt) copyParts(ctx context.Context, m *hot.Move) (written, error) {
	a.rep.Report(jobstep.StepCopying, a.id)
	p := &parter{a: a, ctx: ctx, opt: a.plan.arrangement.WriterOptions(), place: a.place}
	defer p.drop()
	split := segment.NewSplitter(len(m.Keys), p)
	a.rep.Count(p.counts)
	defer a.rep.Count(nil)
	a.copying = true
	deleted, err := a.session.CopyOut(ctx, m, fault.Stream(ctx, split))
	a.copying = err != nil
	if err != nil {
		return written{}, a.nameRow(ctx, a.nameKey(err))
	}
	a.rep.Report(jobstep.StepUploading, a.id)
	if err := split.Close(); err != nil {
		return written{}, a.nameRow(ctx, err)
	}
	if err := p.putBatch(); err != nil {
		return written{}, err
	}
	if p.out.rows != deleted || split.Rows() != deleted {
		return written{}, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("PostgreSQL deleted %d rows but %d were written", deleted, p.out.rows))
	}
	return p.out, nil
}

// nameKey says which item of partition_by has a value that is too long.
func (a *attempt) nameKey(err error) error {
	var long *segment.KeyTooLongError
	if !errors.As(err, &long) {
		return err
	}
	return jobstep.Classified(jobstep.ClassData, fmt.Errorf("a value of %s has %d bytes: values of partition_by have at most %d", a.plan.arrangement.Partition[long.Key].Text, long.Bytes, segment.MaxKeyBytes))
}

// Start implements segment.Cutter.
func (p *parter) Start(keys [][]byte) (io.Writer, error) {
	values := make([]*string, len(keys))
	for i, k := range keys {
		if k != nil {
			text := string(k)
			values[i] = &text
		}
	}
	prefix := p.a.prefix
	if p.a.scatters {
		dir, err := p.a.plan.arrangement.Dir(p.place, values)
		if err != nil {
			return nil, jobstep.Classified(jobstep.ClassInternal, err)
		}
		prefix = dir + "/" + p.a.base
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make segment id: %w", err)
	}
	p.part++
	key := layout.PartKey(prefix, p.part)
	p.now = finished{object: ledger.Object{Key: key, SegmentID: id, Location: p.a.store.URL(key)}}
	if p.now.object.PartitionValues, err = p.a.plan.arrangement.ValuesJSON(values); err != nil {
		return nil, err
	}
	if p.writer, err = segment.NewWriter(box{p}, p.a.plan.schema, p.a.meta(id), p.opt); err != nil {
		return nil, err
	}
	p.open.Store(p.writer)
	return p.writer, nil
}

// Full implements segment.Cutter.
func (p *parter) Full() bool {
	most := p.a.plan.arrangement.Layout.FileBytes
	return most > 0 && p.writer.Size() >= most
}

// Finish implements segment.Cutter.
func (p *parter) Finish() error {
	sum, err := finishFile(p.ctx, p.writer)
	if err != nil {
		return err
	}
	p.open.Store(nil)
	p.rows.Add(sum.Rows)
	p.bytes.Add(sum.Bytes)
	p.out.rows, p.out.bytes, p.out.segments = p.out.rows+sum.Rows, p.out.bytes+sum.Bytes, p.out.segments+1
	p.now.sum = sum
	o := &p.now.object
	o.Rows, o.Bytes, o.SHA256 = sum.Rows, sum.Bytes, sum.SHA256
	if o.ColumnStats, err = json.Marshal(sum.Stats); err != nil {
		return fmt.Errorf("write column statistics: %w", err)
	}
	if p.object != nil {
		return p.finishLarge()
	}
	p.now.data, p.buf = p.buf, nil
	p.batch = append(p.batch, p.now)
	p.held += len(p.now.data)
	if p.held < batchBytes && len(p.batch) < batchFiles {
		return nil
	}
	return p.putBatch()
}

func (p *parter) finishLarge() error {
	object := p.object
	p.object, p.a.object = nil, nil
	if err := p.a.durable(p.ctx, object); err != nil {
		return err
	}
	if err := p.a.check(p.ctx, p.now.object.Key, p.now.sum, p.a.plan.doc.Options.VerifyFull); err != nil {
		return err
	}
	if p.a.scatters { // its key is known; what it holds was not
		return p.stage([]ledger.Object{p.now.object})
	}
	return p.add([]ledger.Object{p.now.object})
}

// box is where the writer of the open file writes.
type box struct{ p *parter }

func (b box) Write(data []byte) (int, error) {
	p := b.p
	if p.object == nil && len(p.buf)+len(data) <= spillBytes {
		p.buf = append(p.buf, data...)
		return len(data), nil
	}
	if p.object == nil {
		if err := p.spill(); err != nil {
			return 0, err
		}
	}
	return p.object.Write(data)
}

// spill begins to write the open file to its store.
func (p *parter) spill() error {
	key := p.now.object.Key
	if p.a.scatters {
		if err := p.record([]ledger.Object{{Key: key, SegmentID: p.now.object.SegmentID}}); err != nil {
			return err
		}
	}
	var err error
	if p.object, err = p.a.store.Create(p.ctx, key); err != nil {
		return err
	}
	p.a.object = p.object
	_, err = p.object.Write(p.buf)
	p.buf = nil
	return err
}

// putBatch writes the finished small files, each of them looked at afterwards.
func (p *parter) putBatch() error {
	batch := p.batch
	p.batch, p.held = nil, 0
	if len(batch) == 0 {
		return nil
	}
	objects := make([]ledger.Object, len(batch))
	for i := range batch {
		objects[i] = batch[i].object
	}
	if p.a.scatters {
		if err := p.stage(objects); err != nil {
			return err
		}
	}
	if err := p.a.uploading(p.ctx, func(ctx context.Context) error { return p.a.putAll(ctx, batch) }); err != nil {
		return err
	}
	if p.a.scatters {
		return nil
	}
	return p.add(objects)
}

// putAll puts files, several at once.
func (a *attempt) putAll(ctx context.Context, batch []finished) error {
	return coldstore.InParallel(ctx, coldstore.Lanes, batch, func(ctx context.Context, f finished) error {
		if err := fault.Do(ctx, fault.Upload, func() error { return a.store.PutIfAbsent(ctx, f.object.Key, f.data) }); err != nil {
			return a.heed(err)
		}
		return a.check(ctx, f.object.Key, f.sum, a.plan.doc.Options.VerifyFull)
	})
}

// stage records objects in the ledger, to be registered from there.
func (p *parter) stage(objects []ledger.Object) error {
	if err := p.record(objects); err != nil {
		return err
	}
	p.out.staged += int64(len(objects))
	for i := range objects {
		p.out.stagedRows += objects[i].Rows
	}
	return nil
}

func (p *parter) record(objects []ledger.Object) error {
	err := fault.Do(p.ctx, fault.StageObjects, func() error { return p.a.f.ledger.StageObjects(p.ctx, p.a.id, p.stages, objects) })
	p.stages++
	if errors.Is(err, ledger.ErrAttemptGone) {
		return jobstep.Classified(jobstep.ClassLock, err)
	}
	return err
}

// add keeps objects in mind, or has the ledger do it when they are many.
func (p *parter) add(objects []ledger.Object) error {
	p.out.objects = append(p.out.objects, objects...)
	if len(p.out.objects) < batchFiles {
		return nil
	}
	all := p.out.objects
	p.out.objects = nil
	return p.stage(all)
}

// drop frees what an attempt that failed left in memory.
func (p *parter) drop() {
	if p.writer != nil {
		p.writer.Abort()
	}
	p.open.Store(nil)
}
