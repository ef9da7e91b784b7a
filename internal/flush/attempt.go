package flush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/segment"
)

// commitPatience is how long an answer to COMMIT is still waited for after the job was told to stop. Then the outcome
// counts as unknown and is found out by condemning the attempt.
const commitPatience = 2 * time.Second

// attempt is one try at one chunk: one backend, one transaction, at most one object. Its id is used once.
type attempt struct {
	f           *Flusher
	in          ChunkInput
	work        func(context.Context) (ChunkResult, error) // T1 up to its COMMIT
	dir         string                                     // of its object
	about       string                                     // the table, for people
	lockTimeout time.Duration

	plan       *loadedPlan // nil if it puts rows back
	store      objstore.Store
	storeName  string
	rep        *reporter
	skipLocked bool

	id      uuid.UUID
	prefix  string
	session *hot.Session // nil once it serves somebody else
	object  objstore.Writer
	copying bool // the COPY was sent: a lock timeout from then on is about rows
}

// run opens the backend, records the attempt (T0) and moves the chunk (T1). On any failure it settles what it left.
func (a *attempt) run(ctx context.Context) (ChunkResult, error) {
	job, err := jobUUID(a.in.JobID)
	if err != nil {
		return ChunkResult{}, classified(ClassInvalid, err)
	}
	if a.id, err = uuid.NewV7(); err != nil {
		return ChunkResult{}, fmt.Errorf("make attempt id: %w", err)
	}
	a.prefix = objectPrefix(a.dir, time.Now(), job, a.in.Chunk, a.id)
	a.session, err = a.f.hot.Session(ctx, a.sessionName(job), &hot.SessionOptions{LockTimeout: a.lockTimeout})
	if err != nil {
		return ChunkResult{}, err
	}
	defer a.closeSession()
	calm := a.endBackendWhen(ctx)
	defer calm()

	a.rep.report(StepClaiming, a.id)
	err = a.f.ledger.OpenAttempt(ctx, a.session, ledger.Attempt{ID: a.id, JobID: a.in.JobID, Chunk: a.in.Chunk, Storage: a.storeName, ObjectPrefix: a.prefix})
	if err != nil {
		return ChunkResult{}, a.settle(ctx, err)
	}
	res, err := a.work(ctx)
	if err != nil {
		return ChunkResult{}, a.settle(ctx, err)
	}
	return a.commit(ctx, calm, res)
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
		ctx, cancel := settleContext(ctx)
		defer cancel()
		if err := s.Terminate(ctx); err != nil {
			a.f.log.Warn("could not end the backend of a stopped chunk", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyErr, err)
		}
	})
}

// move is T1 up to its COMMIT.
func (a *attempt) move(ctx context.Context) (ChunkResult, error) {
	m := a.plan.move(a.skipLocked)
	if err := a.begin(ctx, m); err != nil {
		return ChunkResult{}, err
	}
	sum, err := a.copy(ctx, m)
	if err != nil {
		return ChunkResult{}, err
	}
	res := ChunkResult{Rows: sum.Rows, Bytes: sum.Bytes}
	if a.skipLocked {
		if res.Skipped, err = a.session.CountLeft(ctx, m); err != nil {
			return ChunkResult{}, err
		}
	}
	a.rep.report(StepRegistering, a.id)
	if sum.Rows > 0 {
		res.Segments = 1
		if err := a.register(ctx, sum); err != nil {
			return ChunkResult{}, err
		}
	}
	return res, a.f.ledger.UpdateChunk(ctx, a.session, a.in.JobID, a.in.Chunk, res.Rows, res.Bytes, res.Skipped)
}

// begin takes the attempt, locks the table, looks at it, and raises the fence: in this order, for what is looked at before
// the lock may be gone after it.
func (a *attempt) begin(ctx context.Context, m *hot.Move) error {
	if err := a.session.Begin(ctx, m); err != nil {
		return err
	}
	if err := a.take(ctx); err != nil {
		return err
	}
	if err := a.session.LockTable(ctx, m.Schema, m.Table); err != nil {
		return err
	}
	now, err := a.f.hot.Inspect(ctx, a.session, m.Schema, m.Table)
	if err != nil {
		return err
	}
	if diff, same := hot.SameShape(&a.plan.part.Table, now); !same {
		return classified(ClassReplan, fmt.Errorf("table %s.%s changed since it was planned: %s", m.Schema, m.Table, diff))
	}
	if err := a.f.ledger.InsertChunk(ctx, a.session, a.in.JobID, a.in.Chunk, a.id, a.in.Attempt); err != nil {
		return err
	}
	return a.session.ConstraintsNow(ctx)
}

// take makes this transaction the only one that can commit the attempt.
func (a *attempt) take(ctx context.Context) error {
	ours, err := a.f.ledger.TakeAttempt(ctx, a.session, a.id)
	if err == nil && !ours {
		err = classified(ClassLock, errors.New("this attempt was condemned before it could begin"))
	}
	return err
}

// copy streams the deleted rows into one object, makes it durable and looks at it. A chunk without rows writes no object.
func (a *attempt) copy(ctx context.Context, m *hot.Move) (segment.Summary, error) {
	a.rep.report(StepCopying, a.id)
	var err error
	if a.object, err = a.store.Create(ctx, objectKey(a.prefix)); err != nil {
		return segment.Summary{}, err
	}
	w, err := segment.NewWriter(a.object, a.plan.schema, a.meta(), nil)
	if err != nil {
		return segment.Summary{}, err
	}
	defer w.Abort()
	a.rep.count(func() (int64, int64) { return w.Rows(), w.Bytes() })
	defer a.rep.count(nil)

	a.copying = true
	deleted, err := a.session.CopyOut(ctx, m, w)
	a.copying = err != nil
	if err != nil {
		return segment.Summary{}, a.nameRow(err)
	}
	if deleted == 0 && w.Rows() == 0 {
		return segment.Summary{}, a.object.Abort()
	}
	a.rep.report(StepUploading, a.id)
	sum, err := w.Close()
	if err != nil {
		return segment.Summary{}, a.nameRow(err)
	}
	if sum.Rows != deleted {
		return segment.Summary{}, classified(ClassInternal, fmt.Errorf("PostgreSQL deleted %d rows but %d were written", deleted, sum.Rows))
	}
	if _, err := a.object.Commit(ctx); err != nil {
		return segment.Summary{}, err
	}
	return sum, a.check(ctx, sum, a.plan.doc.Options.VerifyFull)
}

// nameRow adds the table to an error about a value.
func (a *attempt) nameRow(err error) error {
	var ue *segment.UnrepresentableError
	if errors.As(err, &ue) {
		return fmt.Errorf("table %s.%s: %w", a.plan.part.Table.Schema, a.plan.part.Table.Name, err)
	}
	return err
}

// check reads the object back from its store, before COMMIT makes it the only copy: its footer, or all of it.
func (a *attempt) check(ctx context.Context, sum segment.Summary, full bool) error {
	obj, err := a.store.Open(ctx, objectKey(a.prefix))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer obj.Close()
	if obj.Size() != sum.Bytes {
		return classified(ClassStorage, fmt.Errorf("read back: object has %d bytes, %d were written", obj.Size(), sum.Bytes))
	}
	read := segment.ReadFooter
	if full {
		read = segment.Verify
	}
	footer, err := read(obj, obj.Size())
	if err != nil {
		return classified(ClassStorage, fmt.Errorf("read back: %w", err))
	}
	if footer.Rows != sum.Rows {
		return classified(ClassStorage, fmt.Errorf("read back: footer counts %d rows, %d were written", footer.Rows, sum.Rows))
	}
	return nil
}

// commit ends T1 and finds out whether it did.
func (a *attempt) commit(ctx context.Context, calm func() bool, res ChunkResult) (ChunkResult, error) {
	a.rep.report(StepCommitting, a.id)
	if !calm() { // too late: the backend is being ended
		return ChunkResult{}, a.settle(ctx, context.Cause(ctx))
	}
	commitCtx, cancel := patient(ctx)
	outcome, err := a.session.Commit(commitCtx)
	cancel()
	switch outcome {
	case hot.OutcomeCommitted:
		a.releaseSession()
		a.rep.report(StepDone, a.id)
		return res, nil
	case hot.OutcomeRolledBack:
		return ChunkResult{}, a.settle(ctx, fmt.Errorf("commit: %w", err))
	}
	a.f.log.Warn("no answer to a commit, finding out what became of it", obs.KeyJob, a.in.JobID, obs.KeyChunk, a.in.Chunk, obs.KeyAttempt, a.id, obs.KeyErr, err)
	return a.resolve(ctx, res, classified(ClassConnection, fmt.Errorf("commit: no answer: %w", err)))
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
func (a *attempt) resolve(ctx context.Context, res ChunkResult, cause error) (ChunkResult, error) {
	verdict, err := a.condemn(ctx)
	if err != nil {
		return ChunkResult{}, errors.Join(cause, err) // the next attempt finds out
	}
	if verdict == ledger.VerdictCommitted {
		return res, nil
	}
	a.discard(ctx, verdict)
	return ChunkResult{}, cause
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
		if err := a.object.Abort(); err != nil {
			a.f.log.Warn("could not discard an unfinished object", obs.KeyJob, a.in.JobID, obs.KeyObject, objectKey(a.prefix), obs.KeyErr, err)
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
	ctx, cancel := settleContext(ctx)
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
// nothing more can appear and its row may go too.
func (a *attempt) discard(ctx context.Context, verdict ledger.Verdict) {
	if verdict != ledger.VerdictCondemned {
		return
	}
	ctx, cancel := settleContext(ctx)
	defer cancel()
	if _, err := a.store.DeletePrefix(ctx, a.prefix); err != nil {
		a.f.log.Warn("could not delete the object of a failed attempt; the sweep will", obs.KeyJob, a.in.JobID, obs.KeyObject, objectKey(a.prefix), obs.KeyErr, err)
		return
	}
	if err := a.f.ledger.DropAttempt(ctx, a.id); err != nil {
		a.f.log.Warn("could not drop the row of a failed attempt", obs.KeyJob, a.in.JobID, obs.KeyAttempt, a.id, obs.KeyErr, err)
	}
}
