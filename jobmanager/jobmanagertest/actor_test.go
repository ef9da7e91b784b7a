package jobmanagertest_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
)

// actor is a third manager, of another design than the product's two: one goroutine owns all jobs. Messages go in, replies
// come out, and nothing is locked. It keeps all in memory, and cannot pause; the suite says aloud what it skips for that.
type actor struct {
	work  *jobmanagertest.Work
	inbox chan func() // messages; run by the one goroutine

	// What only that goroutine touches.
	jobs []*actorJob // newest last
	turn []*actorJob // live ones; the first that can use a slot gets the next
	free int         // slots
}

var _ jobmanager.JobManager = (*actor)(nil)

type actorJob struct {
	jobmanager.JobInfo
	spec     jobmanager.JobSpec
	ctx      context.Context
	stop     context.CancelFunc
	todo     []try
	inFlight int
	cancel   bool
	failure  string // class of the first failure
}

type try struct{ chunk, attempt int }

func newActor(t *testing.T, w *jobmanagertest.Work) *actor {
	a := &actor{work: w, inbox: make(chan func()), free: jobmanagertest.Slots}
	quit := make(chan struct{})
	go func() {
		for {
			select {
			case message := <-a.inbox:
				message()
				a.deal()
			case <-quit:
				return
			}
		}
	}()
	t.Cleanup(func() { close(quit) })
	return a
}

// tell sends a message and waits until it was acted upon.
func (a *actor) tell(ctx context.Context, message func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	select {
	case a.inbox <- func() { message(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) StartJob(ctx context.Context, spec jobmanager.JobSpec) (s jobmanager.Started, err error) {
	if spec.Type != "flush" || spec.Table.Namespace == "" || spec.Table.Name == "invalid" {
		return s, &jobmanager.SpecError{Msg: "no"}
	}
	lost := a.tell(ctx, func() {
		for _, j := range a.turn {
			if j.ID.Table != spec.Table {
				continue
			}
			if s = (jobmanager.Started{ID: j.ID, Existing: true}); j.spec.Canonical() != spec.Canonical() {
				err = &jobmanager.BusyError{Table: spec.Table, Running: j.ID}
			}
			return
		}
		s.ID = a.begin(spec).ID
	})
	return s, errors.Join(err, lost)
}

func (a *actor) begin(spec jobmanager.JobSpec) *actorJob {
	j := &actorJob{spec: spec, JobInfo: jobmanager.JobInfo{
		ID: jobmanager.JobID{Type: spec.Type, Table: spec.Table, UUID: uuid.New()}, Status: jobmanager.Pending, Phase: "moving", Attempt: 1,
		Statement: spec.Statement, RequestedBy: spec.RequestedBy, Trigger: spec.Trigger, CreatedAt: time.Now(),
	}}
	j.ctx, j.stop = context.WithCancel(context.Background())
	for chunk := range a.work.Table(spec.Table).Plan() {
		j.todo = append(j.todo, try{chunk, 1})
	}
	a.jobs, a.turn = append(a.jobs, j), append(a.turn, j)
	return j
}

// deal gives free slots to jobs in turn, and ends those that have nothing left to do.
func (a *actor) deal() {
	for i := 0; i < len(a.turn); {
		j := a.turn[i]
		over := j.ctx.Err() != nil
		switch {
		case j.inFlight == 0 && (over || len(j.todo) == 0):
			a.turn = append(a.turn[:i:i], a.turn[i+1:]...)
			j.end()
		case over || len(j.todo) == 0 || j.inFlight == jobmanagertest.Parallelism || a.free == 0:
			i++
		default: // it has its turn, and goes to the end of the queue
			a.turn = append(append(a.turn[:i:i], a.turn[i+1:]...), j)
			a.run(j)
			i = 0
		}
	}
}

func (a *actor) run(j *actorJob) {
	next := j.todo[0]
	j.todo = j.todo[1:]
	j.inFlight++
	a.free--
	if now := time.Now(); j.StartedAt == nil {
		j.Status, j.StartedAt = jobmanager.Running, &now
	}
	go func() {
		err := a.work.Table(j.ID.Table).RunChunk(j.ctx, next.chunk, next.attempt)
		_ = a.tell(context.Background(), func() { a.landed(j, next, err) })
	}()
}

func (a *actor) landed(j *actorJob, t try, err error) {
	j.inFlight--
	a.free++
	j.Attempt = max(j.Attempt, t.attempt)
	var bad *jobmanagertest.Failure
	switch {
	case err == nil:
		j.ChunksDone++
		j.Segments++
		j.RowsFlushed += jobmanagertest.RowsPerChunk
	case j.ctx.Err() != nil:
	case errors.As(err, &bad) && bad.Retryable && t.attempt < jobmanagertest.Attempts:
		j.todo = append(j.todo, try{t.chunk, t.attempt + 1})
	default:
		j.failure = "internal"
		if bad != nil {
			j.failure = bad.Class
		}
		j.stop()
	}
}

func (j *actorJob) end() {
	now := time.Now()
	j.Status, j.Phase, j.FinishedAt = jobmanager.Completed, "", &now
	switch {
	case j.failure != "":
		j.Status, j.ErrorClass, j.CancelledAt = jobmanager.Failed, j.failure, nil
	case j.cancel:
		j.Status = jobmanager.Cancelled
	}
	j.stop()
}

// about sends a message about one job.
func (a *actor) about(ctx context.Context, id jobmanager.JobID, message func(*actorJob) error) error {
	err := jobmanager.ErrJobNotFound
	lost := a.tell(ctx, func() {
		for _, j := range a.jobs {
			if j.ID == id {
				err = message(j)
			}
		}
	})
	if lost != nil {
		return lost
	}
	return err
}

func (a *actor) CancelJob(ctx context.Context, id jobmanager.JobID) error {
	return a.about(ctx, id, func(j *actorJob) error {
		if j.Status.Terminal() {
			return &jobmanager.FinishedError{ID: id, Status: j.Status}
		}
		if now := time.Now(); !j.cancel {
			j.cancel, j.Status, j.CancelledAt = true, jobmanager.Cancelling, &now
			j.stop()
		}
		return nil
	})
}

func (a *actor) JobStatus(ctx context.Context, id jobmanager.JobID) (info jobmanager.JobInfo, err error) {
	err = a.about(ctx, id, func(j *actorJob) error { info = j.JobInfo; return nil })
	return info, err
}

func (a *actor) ListJobs(ctx context.Context, f jobmanager.JobFilter) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		var found []jobmanager.JobInfo
		err := a.tell(ctx, func() {
			for i := len(a.jobs) - 1; i >= 0 && (f.Limit == 0 || len(found) < f.Limit); i-- {
				if f.Match(a.jobs[i].JobInfo) {
					found = append(found, a.jobs[i].JobInfo)
				}
			}
		})
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
		}
		for _, info := range found {
			if !yield(info, nil) {
				return
			}
		}
	}
}

type actorHarness struct{ *actor }

func (h actorHarness) Abilities() jobmanagertest.Abilities {
	return jobmanagertest.Abilities{Slots: true}
}
func (h actorHarness) Manager(testing.TB) jobmanager.JobManager { return h.actor }
func (h actorHarness) StopWorker(t testing.TB, _ bool)          { t.Fatal("this manager has no worker") }
func (h actorHarness) StartWorker(t testing.TB)                 { t.Fatal("this manager has no worker") }

// A48: the contract admits a design that shares nothing with the product's managers.
func TestActor(t *testing.T) {
	t.Parallel()
	jobmanagertest.Run(t, func(t *testing.T, w *jobmanagertest.Work) jobmanagertest.Harness { return actorHarness{newActor(t, w)} })
}
