package flush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/restore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// RestoreSegment puts the rows of one segment back into their table, exactly once however often it is called for it, in one
// transaction: rows in, the segment made history, and what is to stay cold of it written to a segment of its own. It keeps the promises
// of RunChunk: after an error nothing has changed, or the outcome is left to the next call. The object is read whole and compared
// with the ledger first: a damaged one is refused. A segment that is no longer cold counts as done, with no rows.
func (f *Flusher) RestoreSegment(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.once(ctx, in, progress, f.restoreSegment)
}

func (f *Flusher) restoreSegment(ctx context.Context, in jobstep.ChunkInput, rep *jobstep.Reporter) (jobstep.ChunkResult, error) {
	doc, first, err := f.generation(ctx, in.JobID, in.Chunk)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	n := in.Chunk - first
	if doc.Restore == nil || n < 0 || n >= len(doc.Restore.Segments) {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("chunk %d is not in the plan of %s", in.Chunk, in.JobID))
	}
	seg, err := f.ledger.SegmentByID(ctx, doc.Restore.Segments[n])
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	store, storeName, err := f.stores.Store(ctx, seg.Storage)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	key, err := restore.KeyOf(store, seg.Location)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	r := &restoring{
		attempt: &attempt{
			f: f, in: in, dir: path.Dir(key), about: seg.Leaf, lockTimeout: doc.Restore.Options.LockTimeout, store: store, storeName: storeName, rep: rep,
		},
		doc: doc, seg: seg,
	}
	if seg.Live() { // or the transaction finds that there is nothing to do
		if r.file, err = restore.Open(ctx, store, seg); err != nil {
			return jobstep.ChunkResult{}, err
		}
		defer r.file.Close()
	}
	r.work = r.restore
	res, err := r.run(ctx)
	return f.fenced(ctx, in, res, r.explained(err))
}

// restoring is an attempt that puts a segment back.
type restoring struct {
	*attempt
	doc  *planDoc
	seg  ledger.Segment
	file *restore.File // nil: it was history already
}

// restore is T1 up to its COMMIT. The order is that of a flush: attempt, table, look, fence; then the segment's own lock.
func (r *restoring) restore(ctx context.Context) (jobstep.ChunkResult, error) {
	target, err := r.begin(ctx)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	live, err := r.f.ledger.LockSegment(ctx, r.session, r.seg.ID)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	if !live || r.file == nil {
		return jobstep.ChunkResult{}, r.completeChunk(ctx, jobstep.ChunkResult{})
	}
	asItWas, err := r.f.leafAsItWas(ctx, r.session, r.doc, r.seg)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	refill, values, err := restore.RefillOf(r.file, target, asItWas, r.doc.Restore.Options)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	if len(restore.WithoutValue(target, refill)) > 0 || len(refill.StageTypes()) > 0 {
		if err := refuseRestore(ctx, r.f.hot, r.session, target, r.doc.Restore.Options, refill); err != nil {
			return jobstep.ChunkResult{}, err
		}
	}
	var res jobstep.ChunkResult
	if r.doc.Restore.Options.Staged() {
		res, err = r.fillByStage(ctx, refill, values)
	} else {
		res, err = r.fill(ctx, refill, values)
	}
	if err == nil {
		err = r.sameTypes(ctx, target)
	}
	if err == nil && restore.Changeable(target) {
		err = refuseRestore(ctx, r.f.hot, r.session, target, r.doc.Restore.Options, refill)
	}
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	return res, r.completeChunk(ctx, res)
}

// begin takes the attempt, locks the table, looks at it, and raises the fence.
func (r *restoring) begin(ctx context.Context) (*hot.Table, error) {
	if err := fault.Do(ctx, fault.Begin, func() error { return r.session.BeginRefill(ctx) }); err != nil {
		return nil, err
	}
	if err := r.take(ctx); err != nil {
		return nil, err
	}
	target, err := restoreTarget(ctx, r.f.hot, r.session, r.doc, r.seg.Leaf)
	if err != nil {
		return nil, err
	}
	err = fault.Do(ctx, fault.Lock, func() error { return r.session.LockTree(ctx, target.Schema, target.Name, target.RelKind == "p") })
	if err != nil {
		return nil, err
	}
	// What was seen before the lock may be gone.
	if target, err = restoreTarget(ctx, r.f.hot, r.session, r.doc, r.seg.Leaf); err != nil {
		return nil, err
	}
	if err := refuseRestore(ctx, r.f.hot, r.session, target, r.doc.Restore.Options, nil); err != nil {
		return nil, err
	}
	if err := r.raiseFence(ctx); err != nil {
		return nil, err
	}
	return target, r.session.ConstraintsNow(ctx)
}

// send streams the segment's rows to PostgreSQL and compares the counts of both sides.
func (r *restoring) send(ctx context.Context, refill *hot.Refill, values []int,
	to func(context.Context, *hot.Refill, *restore.CopyText) (int64, error)) (int64, error) {
	rows, err := segment.OpenReader(r.file.Object, r.seg.Bytes)
	if err != nil {
		return 0, r.file.Unreadable(err)
	}
	defer rows.Close()
	r.rep.Report(jobstep.StepCopying, r.id)
	src := &restore.CopyText{Rows: rows, Fields: values, File: r.file}
	r.rep.Count(func() (int64, int64) { return src.Count.Load(), 0 })
	taken := int64(0)
	err = fault.Do(ctx, fault.RestoreInsert, func() (err error) { taken, err = to(ctx, refill, src); return err })
	r.rep.Count(nil)
	switch {
	case src.Err != nil:
		return 0, src.Err
	case err != nil:
		return 0, err
	case src.Count.Load() != r.seg.Rows:
		return 0, restore.Damaged(r.seg, "%d rows could be read, the ledger says %d", src.Count.Load(), r.seg.Rows)
	case taken != r.seg.Rows:
		return 0, jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("PostgreSQL took %d of %d rows: a trigger of the table kept the others out; WITH (on_conflict = skip) leaves such rows cold", taken, r.seg.Rows))
	}
	return taken, nil
}

// fill puts all rows straight into the table.
func (r *restoring) fill(ctx context.Context, refill *hot.Refill, values []int) (jobstep.ChunkResult, error) {
	n, err := r.send(ctx, refill, values, func(ctx context.Context, refill *hot.Refill, src *restore.CopyText) (int64, error) {
		return r.session.CopyInto(ctx, refill, src)
	})
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	r.rep.Report(jobstep.StepRegistering, r.id)
	return jobstep.ChunkResult{Rows: n}, r.toHistory(ctx)
}

// fillByStage puts all rows into a temporary table, and from there those into the table that belong there. The others go into a
// segment of their own, unless they are all of them.
func (r *restoring) fillByStage(ctx context.Context, refill *hot.Refill, values []int) (jobstep.ChunkResult, error) {
	staged, err := r.send(ctx, refill, values, func(ctx context.Context, refill *hot.Refill, src *restore.CopyText) (int64, error) {
		return r.session.CopyToStage(ctx, refill, src)
	})
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	var inserted, left int64
	err = fault.Do(ctx, fault.RestoreUnstage, func() (err error) { inserted, left, err = r.session.Unstage(ctx, refill); return err })
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	if !refill.SkipConflicts && inserted+left != staged {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("PostgreSQL took %d of %d rows: a trigger of the table kept the others out; WITH (on_conflict = skip) leaves such rows cold", inserted, staged-left))
	}
	switch left {
	case staged: // it stays as it is
		return jobstep.ChunkResult{}, nil
	case 0:
		r.rep.Report(jobstep.StepRegistering, r.id)
		return jobstep.ChunkResult{Rows: staged}, r.toHistory(ctx)
	}
	sum, err := r.writeRest(ctx, refill, values, left)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	r.rep.Report(jobstep.StepRegistering, r.id)
	if err := fault.Do(ctx, fault.LedgerInsert, func() error { return r.registerRest(ctx, sum) }); err != nil {
		return jobstep.ChunkResult{}, err
	}
	err = fault.Do(ctx, fault.SegmentHistory, func() error { return r.f.ledger.MarkReplaced(ctx, r.session, r.seg.ID, r.id) })
	return jobstep.ChunkResult{Rows: staged - left, Bytes: sum.Bytes, Segments: 1}, err
}

// toHistory says that nothing of the segment is cold any more.
func (r *restoring) toHistory(ctx context.Context) error {
	return fault.Do(ctx, fault.SegmentHistory, func() error { return r.f.ledger.MarkRestored(ctx, r.session, r.seg.ID, r.in.JobID) })
}

// writeRest writes the rows that stay cold, under the columns that they have in their file, makes the object durable and looks at it.
func (r *restoring) writeRest(ctx context.Context, refill *hot.Refill, values []int, rows int64) (segment.Summary, error) {
	footer := r.file.Footer
	schema, err := segment.NewSchema(r.file.Rest, &segment.SchemaOptions{CheckUTF8: r.f.hot.Encoding() == "SQL_ASCII"})
	if err != nil {
		return segment.Summary{}, jobstep.Classified(jobstep.ClassInternal, err)
	}
	if r.object, err = r.store.Create(ctx, layout.ObjectKey(r.prefix)); err != nil {
		return segment.Summary{}, err
	}
	meta := footer.Meta
	meta.SegmentID, meta.JobID, meta.Chunk, meta.PGVersion = r.id.String(), r.in.JobID, r.in.Chunk, r.f.hot.ServerVersion()
	w, err := segment.NewWriter(r.object, schema, meta, &segment.WriterOptions{Codec: r.seg.Codec})
	if err != nil {
		return segment.Summary{}, err
	}
	defer w.Abort()
	if _, err := r.session.CopyStaged(ctx, restore.Staying(refill, values, schema), w); err != nil {
		return segment.Summary{}, err
	}
	r.rep.Report(jobstep.StepUploading, r.id)
	sum, err := finishFile(ctx, w)
	if err != nil {
		return segment.Summary{}, err
	}
	if sum.Rows != rows {
		return segment.Summary{}, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("%d rows stay cold but %d were written", rows, sum.Rows))
	}
	if err := r.durable(ctx, r.object); err != nil {
		return segment.Summary{}, err
	}
	return sum, r.check(ctx, layout.ObjectKey(r.prefix), sum, false)
}

// registerRest enters the segment of what stays cold, in the transaction that makes the one before it history.
func (r *restoring) registerRest(ctx context.Context, sum segment.Summary) error {
	stats, err := json.Marshal(sum.Stats)
	if err != nil {
		return fmt.Errorf("write column statistics: %w", err)
	}
	rest := r.seg
	rest.ID, rest.JobID, rest.Chunk, rest.AttemptID = r.id, r.in.JobID, r.in.Chunk, r.id
	rest.Location = r.store.URL(layout.ObjectKey(r.prefix))
	rest.Rows, rest.Bytes, rest.SHA256, rest.ColumnStats = sum.Rows, sum.Bytes, sum.SHA256, stats
	return r.f.ledger.RegisterSegment(ctx, r.session, rest)
}

// sameTypes looks at the types of the table once more when the rows are in: nothing keeps the attributes of a composite as they were
// found. Attribute numbers are never used twice, so equal looks mean that all rows came under the same ones.
func (r *restoring) sameTypes(ctx context.Context, target *hot.Table) error {
	if !target.HasComposite() {
		return nil
	}
	now, err := r.f.hot.Inspect(ctx, r.session, target.Schema, target.Name)
	if err != nil {
		return err
	}
	if diff, same := hot.SameShape(target, now); !same {
		return jobstep.Classified(jobstep.ClassLock, fmt.Errorf("table %s.%s changed while rows were put into it: %s", target.Schema, target.Name, diff))
	}
	return nil
}

// explained names the segment in errors of PostgreSQL's, and says what can be done about them.
func (r *restoring) explained(err error) error {
	state := hot.SQLState(err)
	var ce *jobstep.ClassifiedError
	if state == "" || errors.As(err, &ce) {
		return err
	}
	err = fmt.Errorf("segment %s: %w", r.seg.ID, err)
	switch state {
	case "23505", "23P01":
		return jobstep.Classified(jobstep.ClassData, fmt.Errorf("%w; WITH (on_conflict = skip) leaves such rows cold", err))
	case "23503": // no matter of time, as it is for a flush
		return jobstep.Classified(jobstep.ClassData, err)
	case "42703":
		if r.doc.Restore.Options.Where != "" {
			return jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("%w; the rows of this segment have no such column: restore it without WHERE, by FROM JOB '%s'", err, r.seg.JobID))
		}
	}
	return err
}
