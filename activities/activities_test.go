package activities

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// fake answers every step with err, or runs chunk.
type fake struct {
	err   error
	chunk func(context.Context, jobstep.ChunkInput, func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
}

func (f *fake) Plan(context.Context, jobstep.PlanInput) (jobstep.PlanResult, error) {
	return jobstep.PlanResult{Chunks: 3}, f.err
}

func (f *fake) PlanRestore(context.Context, jobstep.PlanInput) (jobstep.PlanResult, error) {
	return jobstep.PlanResult{Chunks: 2}, f.err
}

func (f *fake) RestoreSegment(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.RunChunk(ctx, in, progress)
}

func (f *fake) RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	if f.chunk == nil {
		return jobstep.ChunkResult{}, f.err
	}
	return f.chunk(ctx, in, progress)
}

func (f *fake) Residue(context.Context, jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	return jobstep.ResidueResult{RowsLeft: 4}, f.err
}
func (f *fake) Load(context.Context, jobstep.LoadInput) (jobstep.Load, error) {
	return jobstep.Load{LagBytes: 5}, f.err
}
func (f *fake) Publish(context.Context, string) error { return f.err }
func (f *fake) Vacuum(context.Context, string) error  { return f.err }
func (f *fake) Sweep(context.Context, string) (jobstep.SweepResult, error) {
	return jobstep.SweepResult{Deleted: 2}, f.err
}

func (f *fake) Finish(_ context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error) {
	return jobstep.FinishResult{Status: in.Status}, f.err
}

func newEnv(a *Activities) *testsuite.TestActivityEnvironment {
	var s testsuite.WorkflowTestSuite
	env := s.NewTestActivityEnvironment()
	env.RegisterActivity(a)
	return env
}

// TestErrorClasses has one row per class: its type in history, and whether Temporal may try again.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for class, retried := range map[string]bool{
		jobstep.ClassInvalid:         false,
		jobstep.ClassPrivilege:       false,
		jobstep.ClassRefused:         false,
		jobstep.ClassData:            false,
		jobstep.ClassUnrepresentable: false,
		jobstep.ClassMissingTable:    false,
		jobstep.ClassReplan:          false,
		jobstep.ClassConflict:        false,
		jobstep.ClassInternal:        false,
		jobstep.ClassConnection:      true,
		jobstep.ClassLock:            true,
		jobstep.ClassDeadlock:        true,
		jobstep.ClassResources:       true,
		jobstep.ClassStorage:         true,
		jobstep.ClassStorageDenied:   false,
		jobstep.ClassStorageFull:     true,
		jobstep.ClassDamaged:         false,
		jobstep.ClassShutdown:        true,
	} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			a := New(&fake{err: &jobstep.ClassifiedError{Class: class, Err: errors.New("value 4711 of row (1,2)")}}, nil)
			_, err := newEnv(a).ExecuteActivity(a.MoveChunk, ChunkInput{JobID: "job", Chunk: 12})
			var app *temporal.ApplicationError
			if !errors.As(err, &app) {
				t.Fatalf("error %v, want an ApplicationError", err)
			}
			if app.Type() != class || app.NonRetryable() == retried {
				t.Errorf("type %q, non-retryable %v", app.Type(), app.NonRetryable())
			}
			var d ErrorDetails
			if err := app.Details(&d); err != nil || d.Chunk != 12 || d.Stopped || d.SQLState != "" || d.StartedAt.IsZero() {
				t.Errorf("details %+v, %v", d, err)
			}
			if strings.Contains(err.Error(), "4711") {
				t.Errorf("the error's text got out: %v", err)
			}
		})
	}
}

func TestStepsReturnWhatFlushReturns(t *testing.T) {
	t.Parallel()
	a := New(&fake{}, nil)
	env := newEnv(a)
	if v, err := env.ExecuteActivity(a.PlanFlush, PlanInput{}); err != nil || get[PlanResult](t, v).Chunks != 3 {
		t.Errorf("PlanFlush: %v", err)
	}
	if v, err := env.ExecuteActivity(a.PlanRestore, PlanInput{}); err != nil || get[PlanResult](t, v).Chunks != 2 {
		t.Errorf("PlanRestore: %v", err)
	}
	if _, err := env.ExecuteActivity(a.RestoreSegment, ChunkInput{}); err != nil {
		t.Errorf("RestoreSegment: %v", err)
	}
	if v, err := env.ExecuteActivity(a.FindResidue, ResidueInput{}); err != nil || get[ResidueResult](t, v).RowsLeft != 4 {
		t.Errorf("FindResidue: %v", err)
	}
	if _, err := env.ExecuteActivity(a.PublishManifest, "job"); err != nil {
		t.Errorf("PublishManifest: %v", err)
	}
	if _, err := env.ExecuteActivity(a.VacuumTable, "job"); err != nil {
		t.Errorf("VacuumTable: %v", err)
	}
	if v, err := env.ExecuteActivity(a.SweepAttempts, "job"); err != nil || get[SweepResult](t, v).Deleted != 2 {
		t.Errorf("SweepAttempts: %v", err)
	}
	if v, err := env.ExecuteActivity(a.FinishJob, FinishInput{Status: "completed"}); err != nil || get[FinishResult](t, v).Status != "completed" {
		t.Errorf("FinishJob: %v", err)
	}
	if v, err := env.ExecuteLocalActivity(a.FinishJob, FinishInput{Status: "failed"}); err != nil || get[FinishResult](t, v).Status != "failed" {
		t.Errorf("FinishJob, local: %v", err)
	}
}

func TestChunkLearnsOfTheAttemptBeforeIt(t *testing.T) {
	t.Parallel()
	var got jobstep.ChunkInput
	f := &fake{chunk: func(_ context.Context, in jobstep.ChunkInput, _ func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
		got = in
		return jobstep.ChunkResult{Rows: 7, Bytes: 8, Segments: 1, Skipped: 2}, nil
	}}
	a := New(f, nil)
	env := newEnv(a)
	env.SetHeartbeatDetails(Checkpoint{Step: jobstep.StepCommitting, AttemptID: "before"})
	v, err := env.ExecuteActivity(a.MoveChunk, ChunkInput{JobID: "job", Chunk: 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := (jobstep.ChunkInput{JobID: "job", Chunk: 3, Attempt: 1, Previous: "before"}); got != want {
		t.Errorf("ChunkInput %+v, want %+v", got, want)
	}
	if r := get[ChunkResult](t, v); r.Rows != 7 || r.Bytes != 8 || r.Segments != 1 || r.Skipped != 2 || r.Attempt != 1 || r.StartedAt.IsZero() {
		t.Errorf("result %+v", r)
	}
}

// TestForeignHeartbeatDetails: details that do not decode must not keep a chunk from being moved.
func TestForeignHeartbeatDetails(t *testing.T) {
	t.Parallel()
	a := New(&fake{}, nil)
	env := newEnv(a)
	env.SetHeartbeatDetails("42 % done")
	if _, err := env.ExecuteActivity(a.MoveChunk, ChunkInput{}); err != nil {
		t.Fatal(err)
	}
}

// TestHeartbeats waits for what the ticker sends while the work says nothing, then for a new attempt id, which does not
// wait for the ticker.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	beats := make(chan Checkpoint)
	p := newPulse(Checkpoint{AttemptID: "before"}, func(cp Checkpoint) { beats <- cp })
	go p.run(t.Context(), time.Millisecond)
	if cp := <-beats; cp != (Checkpoint{AttemptID: "before"}) {
		t.Errorf("before the first step: %+v", cp)
	}
	p.set(Checkpoint{Step: jobstep.StepClaiming}) // has no id yet; the one before must not be forgotten
	for cp := range beats {
		if cp == (Checkpoint{Step: jobstep.StepClaiming, AttemptID: "before"}) {
			break
		}
	}
	go func() {
		for range beats { // let go of a heartbeat that is on its way
		}
	}()
	p.stop(false)
}

func TestNewAttemptIsToldAtOnce(t *testing.T) {
	t.Parallel()
	beats := make(chan Checkpoint, 1)
	p := newPulse(Checkpoint{}, func(cp Checkpoint) { beats <- cp })
	go p.run(t.Context(), time.Hour)
	want := Checkpoint{Step: jobstep.StepCopying, AttemptID: "mine", Rows: 5}
	p.set(want)
	if cp := <-beats; cp != want {
		t.Errorf("heartbeat %+v, want %+v", cp, want)
	}
	p.stop(true) // nothing new to say
	if len(beats) != 0 {
		t.Errorf("a heartbeat was repeated: %+v", <-beats)
	}
}

// TestLastCheckpointPrecedesAFailure: the next attempt must know the newest attempt id even if no tick came after it.
func TestLastCheckpointPrecedesAFailure(t *testing.T) {
	t.Parallel()
	sent := make(chan Checkpoint, 100)
	f := &fake{chunk: func(_ context.Context, _ jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
		progress(jobstep.Checkpoint{Step: jobstep.StepCommitting, AttemptID: "mine"})
		return jobstep.ChunkResult{}, &jobstep.ClassifiedError{Class: jobstep.ClassConnection, Err: errors.New("gone")}
	}}
	a := New(f, &Options{HeartbeatInterval: time.Hour})
	env := newEnv(a)
	env.SetOnActivityHeartbeatListener(func(_ *activityInfo, details values) {
		var cp Checkpoint
		if details.Get(&cp) == nil {
			sent <- cp
		}
	})
	if _, err := env.ExecuteActivity(a.MoveChunk, ChunkInput{}); err == nil {
		t.Fatal("no error")
	}
	close(sent)
	last := Checkpoint{}
	for cp := range sent {
		last = cp
	}
	if last.AttemptID != "mine" {
		t.Errorf("last checkpoint %+v, want that of the attempt", last)
	}
}

// TestInterrupted: a cancel of the job is a cancel, everything else that ends a context is a reason to try elsewhere.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	work := errors.New("sql: canceling statement due to user request")
	for name, c := range map[string]struct {
		cause     error
		cancelled bool
	}{
		"job cancelled":         {temporal.NewCanceledError(), true},
		"worker stops":          {ErrStopping, false},
		"server out of reach":   {errors.New("deadline exceeded"), false},
		"workflow not found":    {errors.New("not found"), false},
		"plain context.CancelF": {nil, false},
	} {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(c.cause)
		err := report(ctx, work, 1)
		var app *temporal.ApplicationError
		if !errors.As(err, &app) {
			t.Fatalf("%s: error %v", name, err)
		}
		if got := errors.As(err, new(*temporal.CanceledError)); got != c.cancelled {
			t.Errorf("%s: cancelled = %v, want %v", name, got, c.cancelled)
		}
		if c.cancelled {
			continue
		}
		var d ErrorDetails
		if app.Type() != ClassShutdown || app.NonRetryable() || app.Details(&d) != nil || !d.Stopped || app.NextRetryDelay() <= 0 {
			t.Errorf("%s: %v, details %+v", name, err, d)
		}
	}
}

// TestWorkDoneCounts: what is committed is reported, also when the job was cancelled meanwhile.
func TestWorkDoneCounts(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(temporal.NewCanceledError())
	if err := report(ctx, nil, 1); err != nil {
		t.Errorf("error %v for work that was done", err)
	}
}

// A38: what runs is known, with its rows, for as long as it runs.
func TestRunningChunks(t *testing.T) {
	t.Parallel()
	var during []Running
	var a *Activities
	a = New(&fake{chunk: func(_ context.Context, _ jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
		progress(jobstep.Checkpoint{AttemptID: "a", Rows: 42})
		during = RunningChunks(a)
		return jobstep.ChunkResult{}, nil
	}}, nil)
	if _, err := newEnv(a).ExecuteActivity(a.MoveChunk, ChunkInput{JobID: "j", Chunk: 7}); err != nil {
		t.Fatal(err)
	}
	if len(during) != 1 || during[0].JobID != "j" || during[0].Chunk != 7 || during[0].Rows != 42 || during[0].Since.IsZero() {
		t.Errorf("while it runs: %+v", during)
	}
	a.keeper = &reader{chunk: a.flusher.(*fake).chunk}
	for n, step := range []any{a.CheckSegments, a.CleanUp} {
		during = nil
		if _, err := newEnv(a).ExecuteActivity(step, ChunkInput{JobID: "k", Chunk: n}); err != nil {
			t.Fatal(err)
		}
		if len(during) != 1 || during[0].JobID != "k" || during[0].Chunk != n || during[0].Rows != 42 {
			t.Errorf("while a keeper runs: %+v", during)
		}
	}
	if after := RunningChunks(a); len(after) != 0 {
		t.Errorf("after it: %+v", after)
	}
}

// reader is a Keeper with nothing but chunks.
type reader struct {
	Keeper
	chunk func(context.Context, jobstep.ChunkInput, func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
}

func (r *reader) CheckSegments(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return r.chunk(ctx, in, progress)
}

func (r *reader) CleanUp(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return r.chunk(ctx, in, progress)
}
