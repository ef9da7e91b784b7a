package flush

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/segment"
)

// commitPatience is how long an answer to COMMIT is still waited for after the job was told to stop. Then the outcome
// counts as unknown and is found out by condemning the attempt.
const commitPatience = 2 * time.Second

// findRowTime bounds the look for a row that an error names.
const findRowTime = 2 * time.Second

// attempt is one try at one chunk: one backend, one transaction. Its id is used once.
type attempt struct {
	f           *Flusher
	in          jobstep.ChunkInput
	work        func(context.Context) (jobstep.ChunkResult, error) // T1 up to its COMMIT
	dir         string                                             // of the object of what stays cold, if it puts rows back
	about       string                                             // the table, for people
	lockTimeout time.Duration

	plan       *loadedPlan // nil if it puts rows back
	store      objstore.Store
	storeName  string
	rep        *jobstep.Reporter
	skipLocked bool

	id       uuid.UUID
	place    layout.Place
	base     string          // what the names of its objects begin with
	prefix   string          // what their keys begin with, unless it scatters: then nothing lies there
	scatters bool            // its objects lie in many directories, and are recorded before they are written
	session  *hot.Session    // nil once it serves somebody else
	object   objstore.Writer // being written
	copying  bool            // the COPY was sent: a lock timeout from then on is about rows

	unanswered atomic.Bool // an object of its may appear after it was deleted
}

// run opens the backend, records the attempt (T0) and moves the chunk (T1). On any failure it settles what it left.
func (a *attempt) run(ctx context.Context) (jobstep.ChunkResult, error) {
	job, err := jobUUID(a.in.JobID)
	if err != nil {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	if a.id, err = uuid.NewV7(); err != nil {
		return jobstep.ChunkResult{}, fmt.Errorf("make attempt id: %w", err)
	}
	origin, err := a.f.sweeper.Origin(ctx)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	if err := a.settlePlace(job); err != nil {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassInternal, err)
	}
	a.session, err = a.f.hot.Session(ctx, a.sessionName(job), &hot.SessionOptions{LockTimeout: a.lockTimeout})
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	defer a.closeSession()
	calm := a.endBackendWhen(ctx)
	defer calm()

	a.rep.Report(jobstep.StepClaiming, a.id)
	err = fault.Do(ctx, fault.AttemptRow, func() error {
		return a.f.ledger.OpenAttempt(ctx, a.session, ledger.Attempt{
			ID: a.id, JobID: a.in.JobID, Chunk: a.in.Chunk, Storage: a.storeName, ObjectPrefix: a.prefix, Origin: origin,
		})
	})
	if err != nil {
		return jobstep.ChunkResult{}, a.settle(ctx, err)
	}
	return a.transaction(ctx, calm)
}

// transaction is T1, with its COMMIT.
func (a *attempt) transaction(ctx context.Context, calm func() bool) (res jobstep.ChunkResult, err error) {
	ctx, end := a.span(ctx, obs.SpanMove)
	defer func() { end(err) }()
	began := time.Now()
	if res, err = a.work(ctx); err != nil {
		return jobstep.ChunkResult{}, a.settle(ctx, err)
	}
	if res, err = a.commit(ctx, calm, res); err == nil {
		res.Took = time.Since(began)
	}
	return res, err
}

// settlePlace finds out where the attempt's objects will lie.
func (a *attempt) settlePlace(job uuid.UUID) (err error) {
	a.base = layout.BaseName(time.Now(), job, a.in.Chunk, a.id)
	if a.plan == nil {
		a.prefix = path.Join(a.dir, a.base)
		return nil
	}
	arr := a.plan.arrangement
	a.place = a.plan.doc.place(a.plan.part, job.String())
	a.scatters = arr.Scatters()
	dir := ""
	if a.scatters {
		dir, err = layout.TableDir(a.plan.doc.Schema, a.plan.doc.Name)
	} else {
		dir, err = arr.Dir(a.place, nil)
	}
	a.prefix = dir + "/" + a.base
	return err
}

// releaseSession leaves the backend of a committed chunk to the next one.
func (a *attempt) releaseSession() {
	a.session.Release()
	a.session = nil
}

func (a *attempt) closeSession() {
	if a.session != nil {
		a.session.Close()
	}
}

// sessionName is what a DBA sees in pg_stat_activity. PostgreSQL cuts it at 63 bytes, so the table, which may be long, comes
// last.
func (a *attempt) sessionName(job uuid.UUID) string {
	return fmt.Sprintf("spillway:%s:%d %s", job, a.in.Chunk, a.about)
}

// endBackendWhen ends the backend from outside as soon as ctx ends: a cancel request alone may come too early or too late,
// and a killed job must give its rows back at once. The returned function calls this off and reports whether it was in time.
func (a *attempt) endBackendWhen(ctx context.Context) func() bool {
	s := a.session
	return context.AfterFunc(ctx, func() {
		ctx, cancel := jobstep.SettleContext(ctx)
		defer cancel()
		if err := s.Terminate(ctx); err != nil {
			a.f.log.Warn("could not end the backend of a stopped chunk", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyErr, err)
		}
	})
}

// move is T1 up to its COMMIT.
func (a *attempt) move(ctx context.Context) (jobstep.ChunkResult, error) {
	m, err := a.plan.move(a.skipLocked)
	if err != nil {
		return jobstep.ChunkResult{}, jobstep.Classified(jobstep.ClassInternal, err)
	}
	if err := a.begin(ctx, m); err != nil {
		return jobstep.ChunkResult{}, err
	}
	if err := a.covered(ctx, m); err != nil {
		return jobstep.ChunkResult{}, err
	}
	copyRows := a.copy
	if a.plan.arrangement.Cuts() {
		copyRows = a.copyParts
	}
	w, err := copyRows(ctx, m)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	if a.plan.part.Table.HasComposite() {
		// The lock on the table does not keep attributes from being added to a composite type or dropped from it in the middle of
		// the COPY. Attribute numbers are never used twice: if they are what they were, all rows had the same ones.
		if err := a.look(ctx, m); err != nil {
			return jobstep.ChunkResult{}, err
		}
	}
	res := jobstep.ChunkResult{Rows: w.rows, Bytes: w.bytes, Segments: w.segments}
	if a.skipLocked {
		if res.Skipped, err = a.session.CountLeft(ctx, m); err != nil {
			return jobstep.ChunkResult{}, err
		}
	}
	a.rep.Report(jobstep.StepRegistering, a.id)
	if err := fault.Do(ctx, fault.LedgerInsert, func() error { return a.register(ctx, w) }); err != nil {
		return jobstep.ChunkResult{}, err
	}
	if err := a.completeChunk(ctx, res); err != nil || m.Whole == nil {
		return res, err
	}
	return res, a.session.Empty(ctx, m)
}

// begin takes the attempt, locks the table, looks at it, and raises the fence: in this order, for what is looked at before
// the lock may be gone after it.
func (a *attempt) begin(ctx context.Context, m *hot.Move) error {
	if err := fault.Do(ctx, fault.Begin, func() error { return a.session.Begin(ctx, m) }); err != nil {
		return err
	}
	if err := a.take(ctx); err != nil {
		return err
	}
	if err := fault.Do(ctx, fault.Lock, func() error { return a.lock(ctx, m) }); err != nil {
		return a.gone(err)
	}
	if err := a.look(ctx, m); err != nil {
		return err
	}
	if err := a.raiseFence(ctx); err != nil {
		return err
	}
	return a.session.ConstraintsNow(ctx)
}

// raiseFence lets no other attempt commit the chunk.
func (a *attempt) raiseFence(ctx context.Context) error {
	return fault.Do(ctx, fault.Fence, func() error {
		return a.f.ledger.InsertChunk(ctx, a.session, a.in.JobID, a.in.Chunk, a.id, a.in.Attempt)
	})
}

// completeChunk says in the row of the chunk what became of it.
func (a *attempt) completeChunk(ctx context.Context, res jobstep.ChunkResult) error {
	return fault.Do(ctx, fault.ChunkRow, func() error {
		return a.f.ledger.UpdateChunk(ctx, a.session, a.in.JobID, a.in.Chunk, res.Rows, res.Bytes, res.Skipped, res.Segments)
	})
}

// take makes this transaction the only one that can commit the attempt.
func (a *attempt) take(ctx context.Context) error {
	ours := false
	err := fault.Do(ctx, fault.Take, func() (err error) { ours, err = a.f.ledger.TakeAttempt(ctx, a.session, a.id); return err })
	if err == nil && !ours {
		err = jobstep.Classified(jobstep.ClassLock, errors.New("this attempt was condemned before it could begin"))
	}
	return err
}

// look compares the table with its plan.
func (a *attempt) look(ctx context.Context, m *hot.Move) error {
	now, err := a.f.hot.Inspect(ctx, a.session, m.Schema, m.Table)
	if err != nil {
		return a.gone(err)
	}
	if diff, same := hot.SameShape(&a.plan.part.Table, now); !same {
		return jobstep.Classified(jobstep.ClassReplan, fmt.Errorf("table %s.%s changed since it was planned: %s", m.Schema, m.Table, diff))
	}
	if no := a.plan.part.refuseWhole(now); len(no) > 0 {
		return jobstep.Classified(jobstep.ClassReplan, fmt.Errorf("partition %s.%s cannot be taken whole any more: %s", m.Schema, m.Table, no[0].Msg))
	}
	return nil
}

// lock takes the lock that the move needs, at once and for good.
func (a *attempt) lock(ctx context.Context, m *hot.Move) error {
	if m.Whole != nil {
		return a.session.LockWhole(ctx, m)
	}
	return a.session.LockTable(ctx, m.Schema, m.Table)
}

// covered checks that a partition which is taken whole has no row to leave: the bounds say nothing of NULL.
func (a *attempt) covered(ctx context.Context, m *hot.Move) error {
	if m.Whole == nil {
		return nil
	}
	if left, err := a.session.Uncovered(ctx, m); err != nil || !left {
		return err
	}
	return jobstep.Classified(jobstep.ClassReplan, fmt.Errorf("partition %s.%s has rows that do not match, and is not taken whole", m.Schema, m.Table))
}

// gone tells a partition that was dropped, without which the job goes on, from the table itself.
func (a *attempt) gone(err error) error {
	t := &a.plan.part.Table
	if jobstep.ClassOf(err).Name != jobstep.ClassMissingTable || t.Schema == a.plan.doc.Schema && t.Name == a.plan.doc.Name {
		return err
	}
	return jobstep.Classified(jobstep.ClassReplan, fmt.Errorf("partition %s.%s: %w", t.Schema, t.Name, err))
}

// copy streams the deleted rows into one object, makes it durable and looks at it. A chunk without rows writes no object.
func (a *attempt) copy(ctx context.Context, m *hot.Move) (written, error) {
	a.rep.Report(jobstep.StepCopying, a.id)
	var err error
	if a.object, err = a.store.Create(ctx, layout.ObjectKey(a.prefix)); err != nil {
		return written{}, err
	}
	w, err := segment.NewWriter(a.object, a.plan.schema, a.meta(a.id), a.plan.arrangement.WriterOptions())
	if err != nil {
		return written{}, err
	}
	defer w.Abort()
	a.rep.Count(func() (int64, int64) { return w.Rows(), w.Bytes() })
	defer a.rep.Count(nil)

	a.copying = true
	deleted, err := a.session.CopyOut(ctx, m, fault.Stream(ctx, w))
	a.copying = err != nil
	if err != nil {
		return written{}, a.nameRow(ctx, err)
	}
	if deleted == 0 && w.Rows() == 0 {
		return written{}, a.object.Abort()
	}
	a.rep.Report(jobstep.StepUploading, a.id)
	sum, err := finishFile(ctx, w)
	if err != nil {
		return written{}, a.nameRow(ctx, err)
	}
	if sum.Rows != deleted {
		return written{}, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("PostgreSQL deleted %d rows but %d were written", deleted, sum.Rows))
	}
	if err := a.durable(ctx, a.object); err != nil {
		return written{}, err
	}
	object, err := a.objectOf(sum)
	if err != nil {
		return written{}, err
	}
	return written{rows: sum.Rows, bytes: sum.Bytes, segments: 1, objects: []ledger.Object{object}}, a.check(ctx, object.Key, sum, a.plan.doc.Options.VerifyFull)
}

// nameRow adds the table to an error about a value, and where its row lies if only its key is known: rows of tables with a key
// bring no ctid, which would cost each of them something.
func (a *attempt) nameRow(ctx context.Context, err error) error {
	var ue *segment.UnrepresentableError
	if errors.As(err, &ue) {
		if ue.RowID == "" {
			ue.RowID = a.findRow(ctx, ue)
		}
		return fmt.Errorf("table %s.%s: %w", a.plan.part.Table.Schema, a.plan.part.Table.Name, err)
	}
	return err
}

// findRow looks for the row that an error names by its key. The key alone names it too, so what keeps the look from being had is
// only logged.
func (a *attempt) findRow(ctx context.Context, ue *segment.UnrepresentableError) string {
	ctx, cancel := context.WithTimeout(ctx, findRowTime)
	defer cancel()
	key := make([]string, 0, len(ue.Key))
	for _, name := range a.plan.part.Table.PrimaryKey { // in the order of the key, not of the table
		for _, kv := range ue.Key {
			if kv.Column == name {
				key = append(key, kv.Value)
			}
		}
	}
	ctid, err := a.f.hot.FindRow(ctx, &a.plan.part.Table, key)
	if err != nil {
		a.f.log.Debug("could not look for a row by its key", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyClass, jobstep.ClassOf(err).Name)
	}
	return ctid
}

// finishFile writes what a file ends with.
func finishFile(ctx context.Context, w *segment.Writer) (sum segment.Summary, err error) {
	err = fault.Do(ctx, fault.FileWritten, func() (err error) { sum, err = w.Close(); return err })
	return sum, err
}

// upload makes an object durable.
func upload(ctx context.Context, object objstore.Writer) error {
	return fault.Do(ctx, fault.Upload, func() error { _, err := object.Commit(ctx); return err })
}

// heed notes of an upload's error that the object may still appear.
func (a *attempt) heed(err error) error {
	if errors.Is(err, objstore.ErrUnanswered) {
		a.unanswered.Store(true)
	}
	return err
}

// check reads an object back from its store, before COMMIT makes it the only copy: its footer, or all of it.
func (a *attempt) check(ctx context.Context, key string, sum segment.Summary, full bool) error {
	return fault.Do(ctx, fault.FooterCheck, func() error { return a.readBack(ctx, key, sum, full) })
}

func (a *attempt) readBack(ctx context.Context, key string, sum segment.Summary, full bool) error {
	obj, err := a.store.Open(ctx, key)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer obj.Close()
	if obj.Size() != sum.Bytes {
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read back: object has %d bytes, %d were written", obj.Size(), sum.Bytes))
	}
	read := segment.ReadFooter
	if full {
		read = segment.Verify
	}
	footer, err := read(obj, obj.Size())
	if err != nil {
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read back: %w", err))
	}
	if footer.Rows != sum.Rows {
		return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read back: footer counts %d rows, %d were written", footer.Rows, sum.Rows))
	}
	return nil
}

// commit ends T1 and finds out whether it did.
func (a *attempt) commit(ctx context.Context, calm func() bool, res jobstep.ChunkResult) (jobstep.ChunkResult, error) {
	a.rep.Report(jobstep.StepCommitting, a.id)
	if !calm() { // too late: the backend is being ended
		return jobstep.ChunkResult{}, a.settle(ctx, context.Cause(ctx))
	}
	outcome, err := a.sendCommit(ctx)
	switch outcome {
	case hot.OutcomeCommitted:
		a.releaseSession()
		a.rep.Report(jobstep.StepDone, a.id)
		return res, nil
	case hot.OutcomeRolledBack:
		return jobstep.ChunkResult{}, a.settle(ctx, fmt.Errorf("commit: %w", err))
	}
	a.f.log.Warn("no answer to a commit, finding out what became of it", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyAttempt, a.id, obs.KeyErr, err)
	return a.resolve(ctx, res, jobstep.Classified(jobstep.ClassConnection, fmt.Errorf("commit: no answer: %w", err)))
}

// sendCommit sends COMMIT and measures how long the answer takes.
func (a *attempt) sendCommit(ctx context.Context) (hot.Outcome, error) {
	ctx, cancel := patient(ctx)
	defer cancel()
	ctx, end := a.span(ctx, obs.SpanCommit)
	began := time.Now()
	outcome, err := a.session.Commit(ctx)
	end(err)
	if outcome == hot.OutcomeCommitted {
		a.f.meter.Committed(jobType(a.in.JobID), time.Since(began))
	}
	return outcome, err
}

// patient is a context for the COMMIT: it ends CommitTimeout from now, or commitPatience after ctx ends.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), hot.CommitTimeout)
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(commitPatience, cancel)
		context.AfterFunc(out, func() { t.Stop() })
	})
	return out, func() { stop(); cancel() }
}

// resolve asks the ledger what became of an unanswered COMMIT.
func (a *attempt) resolve(ctx context.Context, res jobstep.ChunkResult, cause error) (jobstep.ChunkResult, error) {
	verdict, err := a.condemn(ctx)
	if err != nil {
		return jobstep.ChunkResult{}, errors.Join(cause, err) // the next attempt finds out
	}
	if verdict == ledger.VerdictCommitted {
		return res, nil
	}
	a.discard(ctx, verdict)
	return jobstep.ChunkResult{}, cause
}

// settle cleans up after an attempt for which no COMMIT was sent, or whose rollback was acknowledged, and returns cause.
// Its objects are deleted only once the attempt is condemned.
func (a *attempt) settle(ctx context.Context, cause error) error {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	if ctx.Err() == nil && !a.session.Closed() {
		_, _ = a.session.Rollback(short) // what it proves is not needed: the condemnation proves more
	}
	cancel()
	a.session.Close()
	if a.object != nil {
		if err := a.heed(a.object.Abort()); err != nil {
			a.f.log.Warn("could not discard an unfinished object", obs.KeyJob, a.in.JobID, obs.KeyAttempt, a.id, obs.KeyErr, err)
		}
	}
	verdict, err := a.condemn(ctx)
	if err != nil {
		a.f.log.Warn("could not condemn a failed attempt; the next one will", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyAttempt, a.id, obs.KeyErr, err)
		return cause
	}
	a.discard(ctx, verdict)
	return cause
}

// condemn tries for as long as settling may take: PostgreSQL may be restarting.
func (a *attempt) condemn(ctx context.Context) (ledger.Verdict, error) {
	ctx, cancel := jobstep.SettleContext(ctx)
	defer cancel()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		verdict, err := a.f.ledger.Condemn(ctx, a.id)
		if err == nil || ctx.Err() != nil {
			return verdict, err
		}
		select {
		case <-ctx.Done():
			return verdict, err
		case <-time.After(wait):
		}
	}
}

// discard deletes what a condemned attempt of this process wrote. Its writer is closed and its transaction is over, so
// nothing more can appear and its row may go too; unless a bucket left an upload unanswered, which may appear yet. Then the row stays
// for the sweeps to come.
func (a *attempt) discard(ctx context.Context, verdict ledger.Verdict) {
	if verdict != ledger.VerdictCondemned {
		return
	}
	ctx, cancel := jobstep.SettleContext(ctx)
	defer cancel()
	if _, err := a.f.sweeper.DeleteObjects(ctx, a.store, a.id, a.prefix); err != nil {
		a.f.log.Warn("could not delete the objects of a failed attempt; the sweep will", obs.KeyJob, a.in.JobID, obs.KeyAttempt, a.id, obs.KeyErr, err)
		return
	}
	if a.unanswered.Load() {
		if err := a.f.sweeper.MarkSwept(ctx, a.id); err != nil {
			a.f.log.Warn("could not mark a failed attempt as swept", obs.KeyJob, a.in.JobID, obs.KeyAttempt, a.id, obs.KeyErr, err)
		}
		return
	}
	if err := fault.Do(ctx, fault.DropAttempt, func() error { return a.f.ledger.DropAttempt(ctx, a.id) }); err != nil {
		a.f.log.Warn("could not drop the row of a failed attempt", obs.KeyJob, a.in.JobID, obs.KeyAttempt, a.id, obs.KeyErr, err)
	}
}
