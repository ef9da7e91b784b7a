package localjobs

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
)

// Why a job's context ends.
var (
	errCancelled       = errors.New("the job was cancelled")
	errStopped         = errors.New("the manager was stopped")
	errLost      error = &jobstep.ClassifiedError{Class: jobstep.ClassInterrupted, Err: ledger.ErrClaimLost}
)

// What is asked of a job in its mailbox.
type request int

const (
	askStatus request = iota
	askCancel
	askPause
	askResume
)

type message struct {
	ask   request
	reply chan view
}

// view is what a job says of itself.
type view struct {
	status    jobmanager.Status
	phase     string
	startedAt *time.Time
	ending    bool // its work is over and its end is being recorded: nothing can be asked of it
}

// job is one job. The fields below the first group belong to its goroutine.
type job struct {
	m      *Manager
	id     jobmanager.JobID
	req    uuid.UUID
	spec   jobmanager.JobSpec
	hold   ledger.Hold
	ctx    context.Context
	cancel context.CancelCauseFunc
	inbox  chan message
	news   chan news // from its chunks
	done   chan struct{}

	phase       string
	paused      bool
	resumed     bool // it is running by somebody's word, chunk or not
	busy        bool // a step runs
	ending      bool
	cancelledAt *time.Time
	startedAt   *time.Time // when the first chunk got a slot

	generation  int
	parallelism int
	next, last  int // chunks of the newest plan that are not begun: next ≤ chunk < last
	inFlight    int
	moved       int // chunks
	segments    int
	pass        int
	replans     int
	rowsLeft    *int64
	toVacuum    bool // there is something to vacuum when the rows have moved
	manners     *jobstep.Manners
	pace        jobstep.Pace
	sizing      jobstep.Sizing
	calmAt      time.Time     // when a look last found the database calm
	lookAgain   time.Time     // not before
	lookWait    time.Duration // before the next look
	resize      int64         // size in which the chunks that have not begun had better be cut; 0: as they are
	rowsLeftAt  int64         // estimate when the newest plan was made
	dirty       bool          // an attempt failed or was given up, so its objects may lie about
}

func newJob(m *Manager, id jobmanager.JobID, req uuid.UUID, spec jobmanager.JobSpec, hold ledger.Hold) *job {
	j := &job{m: m, id: id, req: req, spec: spec, hold: hold, phase: "planning", parallelism: m.opt.Parallelism}
	j.ctx, j.cancel = context.WithCancelCause(m.ctx)
	j.inbox, j.news, j.done = make(chan message), make(chan news), make(chan struct{})
	return j
}

// ask puts a message in the mailbox and returns the answer. It is false if the job's goroutine, or ctx, has ended.
func (j *job) ask(ctx context.Context, what request) (view, bool) {
	msg := message{what, make(chan view, 1)}
	select {
	case j.inbox <- msg:
		return <-msg.reply, true
	case <-j.done:
	case <-ctx.Done():
	}
	return view{}, false
}

// awaitEnd waits until the job's goroutine has ended, or ctx.
func (j *job) awaitEnd(ctx context.Context) {
	select {
	case <-j.done:
	case <-ctx.Done():
	}
}

// main is the job's goroutine. It reads the mailbox wherever it waits, and runs what takes long in other goroutines.
func (j *job) main() {
	defer close(j.done)
	defer j.cancel(nil)
	defer j.m.remove(j)
	j.m.opt.Logger.Info("job started", obs.KeyJob, j.id.String(), obs.KeyTable, j.id.Table.String())
	go func() {
		select {
		case <-j.hold.Lost:
			j.cancel(errLost)
		case <-j.done:
		}
	}()
	if cause := j.run(); !errors.Is(cause, errStopped) {
		j.end(cause)
	}
	j.wait(j.hold.Release)
}

// run does the work of the job. It returns nil when the job is done, why the context ended, or what failed.
func (j *job) run() error {
	if err := j.plan(1); err != nil {
		return err
	}
	if j.next == j.last { // nothing to move: nothing to look for, nothing to publish
		j.rowsLeft = new(int64)
		return nil
	}
	for {
		if err := j.move(); err != nil {
			return err
		}
		more, err := j.residue()
		if err != nil {
			return err
		}
		if !more {
			if err := j.publish(); err != nil {
				return err
			}
			return j.vacuum()
		}
	}
}

// step runs a step of the flush, again if need be. A paused job waits before it.
func (j *job) step(phase string, run func(ctx context.Context) error) error {
	for j.paused && j.ctx.Err() == nil {
		j.listen(nil)
	}
	j.phase = phase
	var err error
	j.wait(func() { err = j.m.retry(j.ctx, j.m.opt.Attempts, func(int) error { return run(j.ctx) }) })
	if err != nil && j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	return err
}

func (j *job) plan(generation int) error { return j.planFrom(generation, 0, 0) }

// planFrom asks for a generation whose chunks have chunkBytes, and which leaves out what was moved before the chunk next; zeros:
// as asked for, and all.
func (j *job) planFrom(generation int, chunkBytes int64, next int) error {
	var plan jobstep.PlanResult
	err := j.step("planning", func(ctx context.Context) (err error) {
		plan, err = j.m.steps.Plan(ctx, jobstep.PlanInput{JobID: j.id.String(), RequestID: j.req.String(), Generation: generation,
			ChunkBytes: chunkBytes, Next: next, Claimed: true})
		return err
	})
	if err == nil {
		j.sizing.Reset()
		j.adopt(plan)
	}
	return err
}

// adopt makes a generation of the plan the current one.
func (j *job) adopt(p jobstep.PlanResult) {
	j.generation, j.next, j.last = p.Generation, p.FirstChunk, p.FirstChunk+p.Chunks
	j.toVacuum = j.toVacuum || p.Vacuum
	j.resize, j.rowsLeftAt = 0, p.RowsEstimate
	if p.Manners != nil {
		j.manners = p.Manners
	}
	if p.Parallelism > 0 {
		j.parallelism = p.Parallelism
	}
}

// residue looks for rows that are left, and reports whether there is a plan to move them.
func (j *job) residue() (more bool, err error) {
	j.pass++
	var res jobstep.ResidueResult
	err = j.step("residue", func(ctx context.Context) (err error) {
		res, err = j.m.steps.Residue(ctx, jobstep.ResidueInput{JobID: j.id.String(), Pass: j.pass})
		return err
	})
	if err != nil {
		return false, err
	}
	j.rowsLeft = &res.RowsLeft
	if res.Plan == nil || res.Plan.Chunks == 0 {
		return false, nil
	}
	j.adopt(*res.Plan)
	return true, nil
}

// publish brings the manifest up to date; a job that wrote no segment has nothing to say there.
func (j *job) publish() error {
	if j.segments == 0 {
		return nil
	}
	return j.step("publishing", func(ctx context.Context) error { return j.m.steps.Publish(ctx, j.id.String()) })
}

// vacuum gives the space of moved rows back, where the plan says so.
func (j *job) vacuum() error {
	if !j.toVacuum || j.segments == 0 {
		return nil
	}
	return j.step("vacuuming", func(ctx context.Context) error { return j.m.steps.Vacuum(ctx, j.id.String()) })
}

// end cleans up after a job that did not complete, and records how it ended. What is asked of the job now comes too late.
func (j *job) end(cause error) {
	published := j.phase == "publishing" || j.phase == "vacuuming"
	j.phase, j.ending = "finishing", true
	in := jobstep.FinishInput{JobID: j.id.String(), RequestID: j.req.String(), Status: string(jobmanager.Completed), RowsLeft: j.rowsLeft,
		CreatedAt: j.hold.Since, StartedAt: j.startedAt}
	switch {
	case errors.Is(cause, errCancelled):
		in.Status, in.CancelledAt = string(jobmanager.Cancelled), j.cancelledAt
	case cause != nil:
		in.Status, in.Class = string(jobmanager.Failed), jobstep.ClassOf(cause).Name
	}
	j.wait(func() {
		j.clean(cause != nil && !published)
		err := j.m.retry(j.m.ctx, 0, func(int) error { _, err := j.m.steps.Finish(j.m.ctx, in); return err })
		if err != nil {
			j.m.opt.Logger.Error("could not record the end of a job; the next start on its table closes it", obs.KeyJob, j.id.String(), obs.KeyErr, err)
		}
	})
}

// clean sweeps what attempts left behind, and publishes what a job that did not complete has moved. Neither keeps a job
// from its end: the ledger knows what is left to sweep, and the next flush publishes again.
func (j *job) clean(publish bool) {
	ctx, cancel := context.WithTimeout(j.m.ctx, time.Minute)
	defer cancel()
	log := j.m.opt.Logger.With(obs.KeyJob, j.id.String())
	if j.dirty {
		err := j.m.retry(ctx, 3, func(int) error { _, err := j.m.steps.Sweep(ctx, j.id.String()); return err })
		if err != nil {
			log.Warn("could not sweep all attempts", obs.KeyErr, err)
		}
	}
	if publish && j.segments > 0 {
		err := j.m.retry(ctx, 3, func(int) error { return j.m.steps.Publish(ctx, j.id.String()) })
		if err != nil {
			log.Warn("could not publish the manifest", obs.KeyErr, err)
		}
	}
}

// wait runs f in another goroutine and reads the mailbox until it is done.
func (j *job) wait(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	j.busy = true
	defer func() { j.busy = false }()
	for {
		select {
		case msg := <-j.inbox:
			j.answer(msg)
		case <-done:
			return
		}
	}
}

// answer does what a message asks and says how the job stands after it. The cancel wins over the pause.
func (j *job) answer(msg message) {
	open := !j.ending && j.cancelledAt == nil
	switch msg.ask {
	case askCancel:
		if open {
			now := time.Now()
			j.cancelledAt = &now
			j.cancel(errCancelled)
		}
	case askPause:
		j.paused = j.paused || open
	case askResume:
		j.resumed, j.paused = j.resumed || j.paused, false
	}
	msg.reply <- view{status: j.status(), phase: j.phase, startedAt: j.startedAt, ending: j.ending}
}

func (j *job) status() jobmanager.Status {
	switch {
	case j.cancelledAt != nil:
		return jobmanager.Cancelling
	case j.paused && (j.busy || j.inFlight > 0):
		return jobmanager.Pausing
	case j.paused:
		return jobmanager.Paused
	case j.startedAt != nil, j.resumed:
		return jobmanager.Running
	}
	return jobmanager.Pending
}
