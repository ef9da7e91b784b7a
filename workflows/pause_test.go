package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// ask sends the update and returns a channel that gets its outcome, nil or the refusal.
func ask(env *testsuite.TestWorkflowEnvironment, r PauseRequest) <-chan error {
	out := make(chan error, 1)
	env.UpdateWorkflow(PauseRequestName, "", &testsuite.TestUpdateCallback{
		OnReject:   func(err error) { out <- err },
		OnComplete: func(_ any, err error) { out <- err },
	}, r)
	return out
}

// at calls f when an activity of the given type starts for the n-th time, from 0 on. What f asks is heard before the
// activity ends. The environment takes requests only from its own goroutine, so the activity itself cannot ask.
func at(env *testsuite.TestWorkflowEnvironment, activityType string, n int, f func()) {
	starts := 0
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name != activityType {
			return
		}
		if starts == n {
			f()
		}
		starts++
	})
}

// answer returns what became of a request. Tests call it when the environment had nothing else left to do.
func answer(t *testing.T, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	default:
		t.Fatal("the request was not answered")
		return nil
	}
}

func wantRefused(t *testing.T, err error, kind string) {
	t.Helper()
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != kind {
		t.Errorf("error %v, want a refusal of type %s", err, kind)
	}
}

var (
	pauseIt  = PauseRequest{JobID: testJob, Paused: true}
	resumeIt = PauseRequest{JobID: testJob}
)

// statuses records what a job upserts as its status.
type statuses struct {
	mu  sync.Mutex
	all []string
}

func watchStatuses(env *testsuite.TestWorkflowEnvironment) *statuses {
	s := &statuses{}
	env.OnUpsertTypedSearchAttributes(mock.Anything).Return(nil).Run(func(args mock.Arguments) {
		s.mu.Lock()
		defer s.mu.Unlock()
		attrs := args.Get(0).(temporal.SearchAttributes)
		st, _ := attrs.GetKeyword(AttrStatus)
		if n := len(s.all); n == 0 || s.all[n-1] != st {
			s.all = append(s.all, st)
		}
	})
	return s
}

func (s *statuses) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.all, ", ")
}

// A30
func TestPauseInMidChunk(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(20)}
	env := newEnv(t, f)
	env.SetOnTimerScheduledListener(func(string, time.Duration) { t.Error("a paused job set a timer") })
	seen := watchStatuses(env)
	at(env, chunkActivity, 5, func() { ask(env, pauseIt) })
	env.RegisterDelayedCallback(func() {
		p := query(t, env)
		if n := len(f.chunks()); p.InFlight != 0 || p.ChunksDone != n || n > 8 || n < 6 {
			t.Errorf("paused in chunk 5 with %d chunks begun and %+v", n, p)
		}
		if got := f.said(); got != "plan 1" {
			t.Errorf("steps before the resume: %s", got)
		}
		if got := ask(env, resumeIt); got == nil {
			t.Error("no answer")
		}
	}, time.Hour)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := seen.String(), "pending, running, pausing, paused, running, completed"; got != want {
		t.Errorf("statuses: %s; want: %s", got, want)
	}
	if n := len(f.chunks()); n != 20 {
		t.Errorf("%d chunks, want 20", n)
	}
}

// A30: wherever a pause comes, the next step waits for the resume.
func TestPauseHoldsBeforeEachStep(t *testing.T) {
	t.Parallel()
	for in, held := range map[string]string{
		"start":         "",
		planActivity:    "plan 1",
		chunkActivity:   "plan 1",
		residueActivity: "plan 1, residue 1",
	} {
		f := &fake{plan: chunksOf(1)}
		env := newEnv(t, f)
		at(env, in, 0, func() { ask(env, pauseIt) })
		if in == "start" {
			env.RegisterDelayedCallback(func() { env.SignalWorkflowSkippingWorkflowTask(PauseRequestName, pauseIt) }, 0)
		}
		env.RegisterDelayedCallback(func() {
			if got := f.said(); got != held {
				t.Errorf("paused in %s: steps %q, want %q", in, got, held)
			}
			ask(env, resumeIt)
		}, time.Hour)
		if err := runFlush(t, env, FlushInput{}); err != nil {
			t.Fatalf("paused in %s: %v", in, err)
		}
		if got, want := f.said(), "plan 1, residue 1, publish, finish completed"; got != want {
			t.Errorf("paused in %s: steps: %s; want: %s", in, got, want)
		}
	}
}

// A30
func TestPauseDuringTheLastStepsComesTooLate(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(1)}
	env := newEnv(t, f)
	var late <-chan error
	at(env, publishActivity, 0, func() { late = ask(env, pauseIt) })
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if err := answer(t, late); err != nil {
		t.Errorf("error %v: a pause that comes too late is no error", err)
	}
}

// A30
func TestRefusedPauses(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(3)}
	env := newEnv(t, f)
	var other, early, first, second <-chan error
	at(env, chunkActivity, 0, func() {
		other = ask(env, PauseRequest{JobID: "flush:app.events:another", Paused: true})
		early = ask(env, resumeIt)
		first = ask(env, pauseIt)
		second = ask(env, pauseIt)
	})
	env.RegisterDelayedCallback(func() {
		wantRefused(t, answer(t, other), RefusedOtherJob)
		wantRefused(t, answer(t, early), RefusedNoChange)
		if err := answer(t, first); err != nil {
			t.Error(err)
		}
		wantRefused(t, answer(t, second), RefusedNoChange)
		env.SignalWorkflow(PauseRequestName, PauseRequest{JobID: "flush:app.events:another"}) // resumes nobody
	}, time.Hour)
	env.RegisterDelayedCallback(func() {
		if got := f.said(); got != "plan 1" {
			t.Errorf("steps: %s", got)
		}
		env.SignalWorkflow(PauseRequestName, resumeIt)
	}, 2*time.Hour)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
}

// A26, A30
func TestCancelReachesAPausedJob(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(20)}
	env := newEnv(t, f)
	seen := watchStatuses(env)
	at(env, chunkActivity, 3, func() { ask(env, pauseIt) })
	var late <-chan error
	env.RegisterDelayedCallback(func() { env.CancelWorkflow(); late = ask(env, resumeIt) }, time.Hour)
	if err := runFlush(t, env, FlushInput{}); !temporal.IsCanceledError(err) {
		t.Fatalf("error %v, want a CanceledError", err)
	}
	wantRefused(t, answer(t, late), RefusedNoChange)
	if got, want := seen.String(), "pending, running, pausing, paused, cancelling, cancelled"; got != want {
		t.Errorf("statuses: %s; want: %s", got, want)
	}
	if got, want := f.said(), "plan 1, publish, finish cancelled"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

// A30: a pause and a resume that come together, in the order in which they came.
func TestPauseAndResumeTogether(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{true, false} {
		f := &fake{plan: chunksOf(10)}
		env := newEnv(t, f)
		at(env, chunkActivity, 2, func() {
			env.SignalWorkflowSkippingWorkflowTask(PauseRequestName, PauseRequest{JobID: testJob, Paused: !paused})
			env.SignalWorkflow(PauseRequestName, PauseRequest{JobID: testJob, Paused: paused})
		})
		held := false
		env.RegisterDelayedCallback(func() { held = true; env.SignalWorkflow(PauseRequestName, resumeIt) }, time.Hour)
		if err := runFlush(t, env, FlushInput{}); err != nil {
			t.Fatal(err)
		}
		if held != paused {
			t.Errorf("held: %t, want %t", held, paused)
		}
	}
}

// A30: a paused job that is resumed and paused at once stays paused, and says so.
func TestResumeAndPauseOfAHeldJob(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(3)}
	env := newEnv(t, f)
	seen := watchStatuses(env)
	at(env, planActivity, 0, func() { ask(env, pauseIt) })
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflowSkippingWorkflowTask(PauseRequestName, resumeIt)
		env.SignalWorkflow(PauseRequestName, pauseIt)
	}, time.Hour)
	env.RegisterDelayedCallback(func() {
		if got := seen.String(); !strings.HasSuffix(got, "paused") || len(f.chunks()) != 0 {
			t.Errorf("statuses: %s; chunks: %v", got, f.chunks())
		}
		ask(env, resumeIt)
	}, 2*time.Hour)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
}

// A30, A63
func TestPauseIsHandedOnToTheNextRun(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(8)}
	env := newEnv(t, f)
	at(env, chunkActivity, 3, func() { ask(env, pauseIt) })
	env.RegisterDelayedCallback(func() {
		ask(env, resumeIt)
		env.SignalWorkflow(PauseRequestName, pauseIt) // again, while the run hands over
	}, time.Hour)
	env.RegisterDelayedCallback(func() { ask(env, resumeIt) }, 2*time.Hour)
	next := continued(t, env, FlushInput{Tuning: Tuning{ChunksPerRun: 4}})
	if s := next.State; s.Done != 4 || s.Next != 4 {
		t.Fatalf("state handed on: %+v", s)
	}

	next.State.Paused = true // as when the pause comes with the last look
	env = newEnv(t, f)
	seen := watchStatuses(env)
	env.RegisterDelayedCallback(func() {
		if n := len(f.chunks()); n != 4 {
			t.Errorf("%d chunks, want 4", n)
		}
		ask(env, resumeIt)
	}, time.Hour)
	if err := runFlush(t, env, next); err != nil {
		t.Fatal(err)
	}
	if got := seen.String(); !strings.HasPrefix(got, "paused, running") {
		t.Errorf("statuses: %s", got)
	}
	if n := len(slices.Compact(f.chunks())); n != 8 {
		t.Errorf("%d chunks, want 8", n)
	}
}

// A30: a job that fails does not stay paused.
func TestFailureWhilePausing(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(3)}
	env := newEnv(t, f)
	f.chunk = func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		return jobstep.ChunkResult{}, failing(jobstep.ClassUnrepresentable)
	}
	at(env, chunkActivity, 0, func() { ask(env, pauseIt) })
	wantFailure(t, runFlush(t, env, FlushInput{}), jobstep.ClassUnrepresentable)
}

func TestDetailsOfAPausedJob(t *testing.T) {
	t.Parallel()
	j := &job{id: "flush:app.events:x", table: testTable, status: "paused", phase: PhaseMoving}
	if got, want := j.details(time.Now()), fmt.Sprintf("RESUME JOB '%s'", j.id); !strings.Contains(got, "paused · moving") || !strings.Contains(got, want) {
		t.Errorf("details lack %q:\n%s", want, got)
	}
}
