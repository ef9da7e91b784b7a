package workflows

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// A4
func TestEmptyFlushPlansAndFinishes(t *testing.T) {
	t.Parallel()
	f := &fake{}
	env := newEnv(t, f)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	in := f.finished[0]
	if in.JobID != testJob || in.RequestID != "request" || in.RowsLeft == nil || *in.RowsLeft != 0 || in.CreatedAt.IsZero() {
		t.Errorf("FinishInput = %+v", in)
	}
}

func TestFlushMovesAllChunks(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int32
	f := &fake{plan: chunksOf(7)}
	f.chunk = func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		return jobstep.ChunkResult{Rows: 10, Bytes: 100, Segments: 1}, nil
	}
	env := newEnv(t, f)
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, residue 1, publish, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	if got, want := f.chunks(), []string{"0", "1", "2", "3", "4", "5", "6"}; !slices.Equal(got, want) {
		t.Errorf("chunks: %v; want: %v", got, want)
	}
	if most.Load() > 2 {
		t.Errorf("%d chunks at once, want at most 2", most.Load())
	}
	if f.finished[0].StartedAt == nil {
		t.Error("a job that moved chunks has no start time")
	}
}

// A8
func TestFlushThatWritesNothingPublishesNothing(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(2)}
	f.chunk = func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		return jobstep.ChunkResult{}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, residue 1, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

func TestResidueIsMovedToo(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(2)}
	f.residue = func(in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
		if in.Pass == 1 {
			return jobstep.ResidueResult{RowsLeft: 5, Plan: &jobstep.PlanResult{Generation: 2, FirstChunk: 2, Chunks: 1}}, nil
		}
		return jobstep.ResidueResult{RowsLeft: 3}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, residue 1, residue 2, publish, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	if got, want := f.chunks(), []string{"0", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("chunks: %v; want: %v", got, want)
	}
	if left := f.finished[0].RowsLeft; left == nil || *left != 3 {
		t.Errorf("rows left: %v, want 3", left)
	}
}

// A32
func TestErrorThatNoRetryCuresIsTriedOnce(t *testing.T) {
	t.Parallel()
	f := &fake{plan: func(jobstep.PlanInput) (jobstep.PlanResult, error) {
		return jobstep.PlanResult{Generation: 1, Chunks: 5, Parallelism: 1}, nil
	}}
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Chunk == 1 {
			return jobstep.ChunkResult{}, failing(jobstep.ClassUnrepresentable)
		}
		return jobstep.ChunkResult{Rows: 10, Segments: 1}, nil
	}
	err := runFlush(t, newEnv(t, f), FlushInput{})
	wantFailure(t, err, jobstep.ClassUnrepresentable)
	if got := f.said(); !strings.HasSuffix(got, "sweep, publish, finish failed unrepresentable") {
		t.Errorf("steps: %s", got)
	}
	if n := count(f.chunks(), "1"); n != 1 {
		t.Errorf("chunk 1 was tried %d times, want once", n)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the text of an error reached history: %v", err)
	}
}

// A31, A32
func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(1)}
	f.chunk = func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		return jobstep.ChunkResult{}, failing(jobstep.ClassStorageFull)
	}
	err := runFlush(t, newEnv(t, f), FlushInput{Tuning: Tuning{Attempts: 4}})
	wantFailure(t, err, jobstep.ClassStorageFull)
	if n := len(f.chunks()); n != 4 {
		t.Errorf("%d tries, want 4", n)
	}
	if got, want := f.said(), "plan 1, sweep, finish failed storage_full"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

func TestRetriedChunkIsSweptAfter(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(1)}
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Attempt == 1 {
			return jobstep.ChunkResult{}, failing(jobstep.ClassConnection)
		}
		return jobstep.ChunkResult{Rows: 1, Segments: 1}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, residue 1, publish, sweep, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

func TestPlanThatFailsEndsTheJob(t *testing.T) {
	t.Parallel()
	f := &fake{plan: func(jobstep.PlanInput) (jobstep.PlanResult, error) {
		return jobstep.PlanResult{}, failing(jobstep.ClassMissingTable)
	}}
	wantFailure(t, runFlush(t, newEnv(t, f), FlushInput{}), jobstep.ClassMissingTable)
	if got, want := f.said(), "plan 1, finish failed missing_table"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

func TestPublishThatFailsFailsTheJob(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(1), publish: func() error { return failing(jobstep.ClassStorage) }}
	wantFailure(t, runFlush(t, newEnv(t, f), FlushInput{Tuning: Tuning{Attempts: 2}}), jobstep.ClassStorage)
	if got, want := f.said(), "plan 1, residue 1, publish, publish, finish failed storage"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

func TestCleanUpThatFailsDoesNotKeepTheJobFromItsEnd(t *testing.T) {
	t.Parallel()
	f := &fake{
		plan:  chunksOf(1),
		sweep: func() error { return failing(jobstep.ClassPrivilege) },
		residue: func(jobstep.ResidueInput) (jobstep.ResidueResult, error) {
			return jobstep.ResidueResult{}, failing(jobstep.ClassData)
		},
		publish: func() error { return failing(jobstep.ClassPrivilege) },
	}
	wantFailure(t, runFlush(t, newEnv(t, f), FlushInput{}), jobstep.ClassData)
	if got, want := f.said(), "plan 1, residue 1, publish, finish failed data"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

// A60
func TestChangedTableIsPlannedAgain(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.plan = func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		if in.Generation == 1 {
			return jobstep.PlanResult{Generation: 1, Chunks: 10, Parallelism: 1}, nil
		}
		return jobstep.PlanResult{Generation: 2, FirstChunk: 10, Chunks: 2}, nil
	}
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Chunk == 3 {
			return jobstep.ChunkResult{}, failing(jobstep.ClassReplan)
		}
		return jobstep.ChunkResult{Rows: 1}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, plan 2, residue 1, sweep, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	if got, want := f.chunks(), []string{"0", "1", "10", "11", "2", "3"}; !slices.Equal(got, want) {
		t.Errorf("chunks: %v; want: %v", got, want)
	}
}

// A60
func TestTableThatKeepsChangingIsAConflict(t *testing.T) {
	t.Parallel()
	f := &fake{plan: func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		return jobstep.PlanResult{Generation: in.Generation, FirstChunk: in.Generation - 1, Chunks: 1}, nil
	}}
	f.chunk = func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		return jobstep.ChunkResult{}, failing(jobstep.ClassReplan)
	}
	wantFailure(t, runFlush(t, newEnv(t, f), FlushInput{Tuning: Tuning{Replans: 2}}), jobstep.ClassConflict)
	if got, want := f.said(), "plan 1, plan 2, plan 3, sweep, finish failed conflict"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

// A26
func TestCancelWhileChunksRun(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(100)}
	env := newEnv(t, f)
	f.chunk = func(ctx context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Chunk == 3 {
			env.CancelWorkflow()
		}
		return jobstep.ChunkResult{Rows: 1, Segments: 1}, nil
	}
	err := runFlush(t, env, FlushInput{})
	if !temporal.IsCanceledError(err) {
		t.Fatalf("error %v, want a CanceledError", err)
	}
	if got := f.said(); !strings.HasSuffix(got, "publish, finish cancelled") || strings.Contains(got, "residue") {
		t.Errorf("steps: %s", got)
	}
	if f.finished[0].CancelledAt == nil {
		t.Error("a cancelled job has no cancelled_at")
	}
	if n := len(f.chunks()); n > 8 {
		t.Errorf("%d chunks were begun after a cancel in chunk 3", n)
	}
}

func TestCancelBeforeTheFirstStep(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(3)}
	env := newEnv(t, f)
	env.RegisterDelayedCallback(env.CancelWorkflow, 0)
	if err := runFlush(t, env, FlushInput{}); !temporal.IsCanceledError(err) {
		t.Fatalf("error %v, want a CanceledError", err)
	}
	if got := f.said(); !strings.HasSuffix(got, "finish cancelled") || len(f.chunks()) != 0 {
		t.Errorf("steps: %s, chunks: %v", got, f.chunks())
	}
	if f.finished[0].CancelledAt == nil {
		t.Error("a cancelled job has no cancelled_at")
	}
}

// A33
func TestCancelDuringTheLastStepComesTooLate(t *testing.T) {
	t.Parallel()
	f := &fake{}
	env := newEnv(t, f)
	f.finish = func(in jobstep.FinishInput) (jobstep.FinishResult, error) {
		env.CancelWorkflow()
		return jobstep.FinishResult{Status: in.Status}, nil
	}
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatalf("error %v, want none", err)
	}
}

// A33
func TestTheRecordedEndDecides(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stored string
		ok     func(error) bool
	}{
		{"completed", func(err error) bool { return err == nil }},
		{"cancelled", temporal.IsCanceledError},
		{"failed", func(err error) bool { return classOf(err) == jobstep.ClassInternal }},
	} {
		f := &fake{finish: func(jobstep.FinishInput) (jobstep.FinishResult, error) {
			return jobstep.FinishResult{Status: c.stored}, nil
		}}
		if err := runFlush(t, newEnv(t, f), FlushInput{}); !c.ok(err) {
			t.Errorf("stored %s: workflow error %v", c.stored, err)
		}
	}
}

func TestTheEndIsRecordedHoweverLongItTakes(t *testing.T) {
	t.Parallel()
	f := &fake{}
	tries := 0
	f.finish = func(in jobstep.FinishInput) (jobstep.FinishResult, error) {
		if tries++; tries < 8 {
			return jobstep.FinishResult{}, failing(jobstep.ClassConnection)
		}
		return jobstep.FinishResult{Status: in.Status}, nil
	}
	if err := runFlush(t, newEnv(t, f), FlushInput{Tuning: Tuning{Attempts: 2}}); err != nil {
		t.Fatal(err)
	}
	if tries != 8 {
		t.Errorf("%d tries, want 8", tries)
	}
}

func TestAnEndThatCannotBeRecordedFailsTheWorkflow(t *testing.T) {
	t.Parallel()
	f := &fake{finish: func(jobstep.FinishInput) (jobstep.FinishResult, error) {
		return jobstep.FinishResult{}, failing(jobstep.ClassPrivilege)
	}}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); classOf(err) != jobstep.ClassPrivilege {
		t.Errorf("error %v, want class privilege", err)
	}
}

// A38
func TestStopsAreNoFailures(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	env := newEnv(t, &fake{plan: chunksOf(1)})
	env.OnActivity("MoveChunk", mock.Anything, mock.Anything).Return(func(ctx context.Context, in activities.ChunkInput) (activities.ChunkResult, error) {
		if tries.Add(1) <= 7 {
			return activities.ChunkResult{}, temporal.NewApplicationErrorWithOptions("stop", activities.ClassShutdown,
				temporal.ApplicationErrorOptions{Details: []any{activities.ErrorDetails{Stopped: true}}})
		}
		return activities.ChunkResult{Rows: 1}, nil
	})
	if err := runFlush(t, env, FlushInput{Tuning: Tuning{Attempts: 2}}); err != nil {
		t.Fatal(err)
	}
	if n := tries.Load(); n != 8 {
		t.Errorf("%d tries, want 8", n)
	}
}

// A63
func TestLongJobContinuesAsNew(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(5)}
	next := continued(t, newEnv(t, f), FlushInput{Tuning: Tuning{ChunksPerRun: 3}})
	s := next.State
	if s == nil || s.Done != 3 || s.Next != 3 || s.End != 5 || s.Rows != 30 || s.Generation != 1 || s.StartedAt == nil {
		t.Fatalf("state handed on: %+v", s)
	}
	created := s.CreatedAt
	if err := runFlush(t, newEnv(t, f), next); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, residue 1, publish, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	if got, want := f.chunks(), []string{"0", "1", "2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("chunks: %v; want: %v", got, want)
	}
	if !f.finished[0].CreatedAt.Equal(created) {
		t.Errorf("created_at changed from %v to %v", created, f.finished[0].CreatedAt)
	}
}

func TestServerSuggestsToContinueAsNew(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(5)}
	env := newEnv(t, f)
	done := 0
	env.SetOnActivityCompletedListener(func(info *activity.Info, _ converter.EncodedValue, _ error) {
		if info.ActivityType.Name == "MoveChunk" {
			done++
		}
		env.SetContinueAsNewSuggested(done >= 2)
	})
	if s := continued(t, env, FlushInput{}).State; s.Done < 2 || s.Done > 3 {
		t.Errorf("%d chunks done when the run ended, want 2 or 3", s.Done)
	}
}

// A63
func TestCancelWhileARunDrainsIsNotLost(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(5)}
	env := newEnv(t, f)
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Chunk == 2 {
			env.CancelWorkflow()
		}
		return jobstep.ChunkResult{Rows: 1}, nil
	}
	if err := runFlush(t, env, FlushInput{Tuning: Tuning{ChunksPerRun: 3}}); !temporal.IsCanceledError(err) {
		t.Fatalf("error %v, want a CanceledError", err)
	}
}

func TestProgressQueryAndDetails(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(4)}
	env := newEnv(t, f)
	var seen Progress
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		if info.ActivityType.Name != "FindResidue" {
			return
		}
		seen = query(t, env)
	})
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	want := Progress{Phase: PhaseResidue, ChunksDone: 4, ChunksTotal: 4, Rows: 40, RowsTotal: 40, Bytes: 400, Segments: 4}
	if seen != want {
		t.Errorf("progress in the residue pass: %+v, want %+v", seen, want)
	}
	if p := query(t, env); p.Phase != PhaseEnded {
		t.Errorf("progress at the end: %+v", p)
	}
}

func TestDetailsTellTheStory(t *testing.T) {
	t.Parallel()
	started := time.Unix(1000, 0)
	j := &job{kind: flushKind, id: "flush:app.ev_ts:x", table: testTable, status: "running", phase: PhaseMoving, inFlight: 2}
	j.table.Name = "ev_ts"
	j.state = FlushState{
		Done: 5, Total: 20, Rows: 500, RowsTotal: 2000, Bytes: 3 << 20, Segments: 5, StartedAt: &started, Generation: 2,
		Skipped: 7, LastClass: "storage",
	}
	got := j.details(started.Add(10 * time.Second))
	for _, want := range []string{
		`**app.ev\_ts** · running · moving`, "`█████░░░░░░░░░░░░░░░` 25 %", "| chunks | 5 of 20, 2 in flight |",
		"| rows | 500 of about 2000 |", "| written | 3.0 MiB in 5 segments |", "| rate | 50 rows/s |", "| plan | generation 2 |",
		"| skipped | 7 rows locked by others |", "| last error | class `storage` |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("details lack %q:\n%s", want, got)
		}
	}
}

func TestReportsAreFew(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(400)}
	env := newEnv(t, f)
	upserts := 0
	env.OnUpsertTypedSearchAttributes(mock.Anything).Return(nil).Run(func(mock.Arguments) { upserts++ })
	if err := runFlush(t, env, FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if upserts < reports || upserts > reports+6 {
		t.Errorf("%d upserts for 400 chunks, want about %d", upserts, reports)
	}
}

// query asks env for the job's progress.
func query(t *testing.T, env *testsuite.TestWorkflowEnvironment) Progress {
	t.Helper()
	v, err := env.QueryWorkflow(ProgressQuery)
	if err != nil {
		t.Fatal(err)
	}
	var p Progress
	if err := v.Get(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

// continued runs a FlushJob that has to continue as new and returns what it hands on.
func continued(t *testing.T, env *testsuite.TestWorkflowEnvironment, in FlushInput) FlushInput {
	t.Helper()
	err := runFlush(t, env, in)
	var can *workflow.ContinueAsNewError
	if !errors.As(err, &can) {
		t.Fatalf("error %v, want a ContinueAsNewError", err)
	}
	var next FlushInput
	if err := converter.GetDefaultDataConverter().FromPayloads(can.Input, &next); err != nil {
		t.Fatal(err)
	}
	return next
}

func wantFailure(t *testing.T, err error, class string) {
	t.Helper()
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != class || !app.NonRetryable() {
		t.Fatalf("error %v, want a final one of class %s", err, class)
	}
}

func count(all []string, one string) int {
	n := 0
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
