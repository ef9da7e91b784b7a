package workflows

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

func runRestore(t *testing.T, env *testsuite.TestWorkflowEnvironment, in RestoreInput) error {
	t.Helper()
	in.Table, in.RequestID = testTable, "request"
	env.ExecuteWorkflow(RestoreJob, in)
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow is not completed")
	}
	return env.GetWorkflowError()
}

func TestRestoreTakesEverySegment(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(3)}
	if err := runRestore(t, newEnv(t, f), RestoreInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan restore, publish, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
	if got, want := f.chunks(), []string{"segment 0", "segment 1", "segment 2"}; !slices.Equal(got, want) {
		t.Errorf("segments: %v; want: %v", got, want)
	}
	if in := f.finished[0]; !strings.HasPrefix(in.JobID, "restore:app.events:") || in.RowsLeft != nil {
		t.Errorf("FinishInput = %+v", in)
	}
}

func TestRestoreOfNothing(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]*fake{
		"no segments": {plan: chunksOf(0)},
		"nothing fits": {plan: chunksOf(2), chunk: func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error) {
			return jobstep.ChunkResult{}, nil
		}},
	} {
		if err := runRestore(t, newEnv(t, f), RestoreInput{}); err != nil {
			t.Fatal(err)
		}
		if got, want := f.said(), "plan restore, finish completed"; got != want {
			t.Errorf("%s: steps: %s; want: %s", name, got, want)
		}
	}
}

// A segment that cannot be restored fails the job; what others have put back is published.
func TestRestoreMeetsADamagedSegment(t *testing.T) {
	t.Parallel()
	f := &fake{}
	f.plan = func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		p, err := chunksOf(2)(in)
		p.Parallelism = 1 // the first segment is back before the second one is looked at
		return p, err
	}
	f.chunk = func(_ context.Context, in jobstep.ChunkInput) (jobstep.ChunkResult, error) {
		if in.Chunk == 1 {
			return jobstep.ChunkResult{}, failing(jobstep.ClassDamaged)
		}
		return jobstep.ChunkResult{Rows: 10}, nil
	}
	err := runRestore(t, newEnv(t, f), RestoreInput{Tuning: Tuning{Parallelism: 1}})
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || app.Type() != jobstep.ClassDamaged {
		t.Errorf("error %v, want one of type damaged", err)
	}
	if got, want := f.said(), "plan restore, sweep, publish, finish failed damaged"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}

// A30 A63: a restore is held between segments, and goes on in a new run of its own type.
func TestRestoreIsPausedAndContinued(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(4)}
	env := newEnv(t, f)
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(PauseRequestName, PauseRequest{JobID: "restore:app.events:default-test-run-id", Paused: true})
	}, 0)
	env.RegisterDelayedCallback(func() {
		v, err := env.QueryWorkflow(ProgressQuery)
		if err != nil {
			t.Error(err)
			return
		}
		var p Progress
		if err := v.Get(&p); err != nil || p.InFlight != 0 || p.ChunksDone == 4 {
			t.Errorf("while paused: %+v, %v", p, err)
		}
		env.SignalWorkflow(PauseRequestName, PauseRequest{JobID: "restore:app.events:default-test-run-id"})
	}, time.Hour)
	err := runRestore(t, env, RestoreInput{Tuning: Tuning{ChunksPerRun: 3}})
	var again *workflow.ContinueAsNewError
	if !errors.As(err, &again) || again.WorkflowType.Name != RestoreJobName {
		t.Fatalf("error %v, want to continue as a RestoreJob", err)
	}
	var in RestoreInput
	if err := converter.GetDefaultDataConverter().FromPayloads(again.Input, &in); err != nil || in.State == nil || in.State.Done != 3 || in.State.Next != 3 {
		t.Errorf("the next run gets %+v, %v", in.State, err)
	}
}

func TestPhaseOfRestore(t *testing.T) {
	t.Parallel()
	if p, chunk := PhaseOf("PlanRestore"); p != PhasePlanning || chunk {
		t.Errorf("PlanRestore: %s, %v", p, chunk)
	}
	if p, chunk := PhaseOf("RestoreSegment"); p != PhaseMoving || !chunk {
		t.Errorf("RestoreSegment: %s, %v", p, chunk)
	}
	_ = (*activities.Activities)(nil).RestoreSegment // the names above are of methods that are there
}
