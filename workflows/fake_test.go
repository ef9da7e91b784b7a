package workflows

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
)

var testTable = jobmanager.Table{Namespace: "app", Name: "events"}

const testJob = "flush:app.events:default-test-run-id"

// fake is a Flusher that keeps a log of what it is asked for. Its hooks may be nil.
type fake struct {
	plan    func(jobstep.PlanInput) (jobstep.PlanResult, error)
	chunk   func(context.Context, jobstep.ChunkInput) (jobstep.ChunkResult, error)
	load    func() (jobstep.Load, error)
	residue func(jobstep.ResidueInput) (jobstep.ResidueResult, error)
	publish func() error
	vacuum  func() error
	sweep   func() error
	finish  func(jobstep.FinishInput) (jobstep.FinishResult, error)

	mu       sync.Mutex
	log      []string
	finished []jobstep.FinishInput
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, fmt.Sprintf(format, args...))
}

// said returns the log without the chunks, whose order is not fixed.
func (f *fake) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, l := range f.log {
		if !strings.HasPrefix(l, "chunk ") {
			out = append(out, l)
		}
	}
	return strings.Join(out, ", ")
}

// chunks returns the chunks asked for, each try once, sorted.
func (f *fake) chunks() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, l := range f.log {
		if c, ok := strings.CutPrefix(l, "chunk "); ok {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

func (f *fake) Plan(_ context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	f.note("plan %d", in.Generation)
	if f.plan == nil {
		return jobstep.PlanResult{Generation: in.Generation}, nil
	}
	return f.plan(in)
}

func (f *fake) PlanRestore(_ context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	f.note("plan restore")
	return f.plan(in)
}

func (f *fake) RestoreSegment(ctx context.Context, in jobstep.ChunkInput, _ func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	f.note("chunk segment %d", in.Chunk)
	if f.chunk == nil {
		return jobstep.ChunkResult{Rows: 10}, nil
	}
	return f.chunk(ctx, in)
}

func (f *fake) RunChunk(ctx context.Context, in jobstep.ChunkInput, _ func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	f.note("chunk %d", in.Chunk)
	if f.chunk == nil {
		return jobstep.ChunkResult{Rows: 10, Bytes: 100, Segments: 1}, nil
	}
	return f.chunk(ctx, in)
}

func (f *fake) Load(context.Context, jobstep.LoadInput) (jobstep.Load, error) {
	f.note("look")
	if f.load == nil {
		return jobstep.Load{}, nil
	}
	return f.load()
}

func (f *fake) Residue(_ context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	f.note("residue %d", in.Pass)
	if f.residue == nil {
		return jobstep.ResidueResult{}, nil
	}
	return f.residue(in)
}

func (f *fake) Publish(context.Context, string) error {
	f.note("publish")
	if f.publish == nil {
		return nil
	}
	return f.publish()
}

func (f *fake) Vacuum(context.Context, string) error {
	f.note("vacuum")
	if f.vacuum == nil {
		return nil
	}
	return f.vacuum()
}

func (f *fake) Sweep(context.Context, string) (jobstep.SweepResult, error) {
	f.note("sweep")
	if f.sweep == nil {
		return jobstep.SweepResult{}, nil
	}
	return jobstep.SweepResult{}, f.sweep()
}

func (f *fake) Finish(_ context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error) {
	f.note("finish %s", strings.TrimSpace(in.Status+" "+in.Class))
	f.mu.Lock()
	f.finished = append(f.finished, in)
	f.mu.Unlock()
	if f.finish == nil {
		return jobstep.FinishResult{Status: in.Status}, nil
	}
	return f.finish(in)
}

// chunksOf returns a plan of n chunks, two at once.
func chunksOf(n int) func(jobstep.PlanInput) (jobstep.PlanResult, error) {
	return func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
		return jobstep.PlanResult{Generation: in.Generation, Chunks: n, RowsEstimate: int64(10 * n), Parallelism: 2}, nil
	}
}

func failing(class string) error {
	return &jobstep.ClassifiedError{Class: class, Err: fmt.Errorf("secret value of a row")}
}

// newEnv returns a test environment in which f does the work.
func newEnv(t *testing.T, f *fake) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	env := s.NewTestWorkflowEnvironment()
	env.RegisterWorkflowWithOptions(FlushJob, workflow.RegisterOptions{Name: FlushJobName})
	env.RegisterWorkflowWithOptions(RestoreJob, workflow.RegisterOptions{Name: RestoreJobName})
	env.RegisterActivity(activities.New(f, nil))
	return env
}

// runFlush runs one FlushJob run to its end and returns its error.
func runFlush(t *testing.T, env *testsuite.TestWorkflowEnvironment, in FlushInput) error {
	t.Helper()
	in.Table, in.RequestID = testTable, "request"
	env.ExecuteWorkflow(FlushJob, in)
	if !env.IsWorkflowCompleted() {
		t.Fatal("the workflow is not completed")
	}
	return env.GetWorkflowError()
}
