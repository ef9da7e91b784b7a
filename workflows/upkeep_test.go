package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
)

// keeper is a Keeper that keeps its log in a fake.
type keeper struct {
	*fake
	chunks int
	fail   error // of the last step
	broken error // of every chunk
}

func (k *keeper) PlanVerify(_ context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	k.note("plan %s", in.JobID)
	return jobstep.PlanResult{Generation: 1, Chunks: k.chunks, Parallelism: 2}, nil
}

func (k *keeper) CheckSegments(_ context.Context, in jobstep.ChunkInput, _ func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	k.note("chunk %d", in.Chunk)
	return jobstep.ChunkResult{Rows: 10, Bytes: 100, Segments: 1}, k.broken
}

func (k *keeper) FindStrays(context.Context, string) (jobstep.VerifyResult, error) {
	k.note("strays")
	return jobstep.VerifyResult{}, k.fail
}

func (k *keeper) PlanCleanup(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	return k.PlanVerify(ctx, in)
}

func (k *keeper) CleanUp(ctx context.Context, in jobstep.ChunkInput, p func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return k.CheckSegments(ctx, in, p)
}

func (k *keeper) FinishCleanup(context.Context, string) error {
	k.note("finish cleanup")
	return k.fail
}

// keepEnv is newEnv for jobs that move no rows.
func keepEnv(t *testing.T, k *keeper) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	env := s.NewTestWorkflowEnvironment()
	env.RegisterWorkflowWithOptions(VerifyJob, workflow.RegisterOptions{Name: VerifyJobName})
	env.RegisterWorkflowWithOptions(CleanupJob, workflow.RegisterOptions{Name: CleanupJobName})
	env.RegisterActivity(activities.New(k.fake, &activities.Options{Keeper: k}))
	return env
}

func TestUpkeepSteps(t *testing.T) {
	t.Parallel()
	verifyID, cleanupID := "verify:app.events:default-test-run-id", "cleanup::default-test-run-id"
	for _, c := range []struct {
		name     string
		workflow any
		keeper   keeper
		want     string
		chunks   int
		class    string
	}{
		{"verify", VerifyJob, keeper{chunks: 5}, "plan " + verifyID + ", strays, finish completed", 5, ""},
		{"verify of nothing", VerifyJob, keeper{}, "plan " + verifyID + ", strays, finish completed", 0, ""},
		{"damaged", VerifyJob, keeper{chunks: 1, fail: failing("damaged")}, "plan " + verifyID + ", strays, finish failed damaged", 1, "damaged"},
		{"a chunk that fails", VerifyJob, keeper{chunks: 1, broken: failing("internal")}, "plan " + verifyID + ", finish failed internal", 1, "internal"},
		{"cleanup", CleanupJob, keeper{chunks: 3}, "plan " + cleanupID + ", finish cleanup, finish completed", 3, ""},
		{"cleanup of nothing", CleanupJob, keeper{}, "plan " + cleanupID + ", finish completed", 0, ""},
		{"kept", CleanupJob, keeper{chunks: 1, fail: failing("refused")}, "plan " + cleanupID + ", finish cleanup, finish failed refused", 1, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := c.keeper
			k.fake = &fake{}
			env := keepEnv(t, &k)
			in := FlushInput{RequestID: "request"}
			if strings.Contains(c.want, verifyID) {
				in.Table = testTable
			}
			env.ExecuteWorkflow(c.workflow, in)
			if !env.IsWorkflowCompleted() {
				t.Fatal("not completed")
			}
			err := env.GetWorkflowError()
			if c.class == "" && err != nil || c.class != "" && (err == nil || classOf(err) != c.class) {
				t.Errorf("error %v", err)
			}
			if err != nil && strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("the error tells too much: %v", err)
			}
			if got := k.said(); got != c.want {
				t.Errorf("steps: %s; want: %s", got, c.want)
			}
			if got := k.fake.chunks(); len(got) != c.chunks {
				t.Errorf("chunks %v", got)
			}
		})
	}
}

// A long VERIFY goes on in a new run, under the same job id.
func TestUpkeepContinues(t *testing.T) {
	t.Parallel()
	k := keeper{fake: &fake{}, chunks: 5}
	env := keepEnv(t, &k)
	env.ExecuteWorkflow(VerifyJob, FlushInput{Table: testTable, RequestID: "request", Tuning: Tuning{ChunksPerRun: 2, Parallelism: 1}})
	var next *workflow.ContinueAsNewError
	if err := env.GetWorkflowError(); !errors.As(err, &next) || next.WorkflowType.Name != VerifyJobName {
		t.Fatalf("ended with %v", err)
	}
	if got := k.fake.chunks(); len(got) < 2 || len(got) == 5 {
		t.Errorf("chunks of the first run: %v", got)
	}
}

// A cancel ends a VERIFY where it stands, and nothing is swept or published for it.
func TestUpkeepIsCancelled(t *testing.T) {
	t.Parallel()
	k := keeper{fake: &fake{}, chunks: 2}
	env := keepEnv(t, &k)
	env.RegisterDelayedCallback(env.CancelWorkflow, 0)
	env.ExecuteWorkflow(VerifyJob, FlushInput{Table: testTable, RequestID: "request"})
	if err := env.GetWorkflowError(); !temporal.IsCanceledError(err) {
		t.Errorf("ended with %v", err)
	}
	if got := k.said(); !strings.HasSuffix(got, "finish cancelled") || strings.Contains(got, "sweep") || strings.Contains(got, "publish") || strings.Contains(got, "strays") {
		t.Errorf("steps: %s", got)
	}
}

func TestUpkeepTellsItsStory(t *testing.T) {
	t.Parallel()
	j := &job{kind: cleanupKind, id: "cleanup::x", status: jobmanager.Running, phase: PhaseCleaning}
	j.state = FlushState{Done: 1, Total: 2, Bytes: 1 << 20, Segments: 3}
	got := j.details(time.Unix(1000, 0))
	for _, want := range []string{"**cleanup** · running · cleaning", "| removed | 1.0 MiB in 3 objects |"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "rows") {
		t.Errorf("rows of a cleanup:\n%s", got)
	}
}
