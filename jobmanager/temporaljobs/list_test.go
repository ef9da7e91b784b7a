package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// describing is a client that only describes.
type describing struct {
	client.Client
	answer      func(ctx context.Context, workflowID, runID string) (enumspb.WorkflowExecutionStatus, error)
	asked, most atomic.Int64
	busy        atomic.Int64
}

func (c *describing) DescribeWorkflowExecution(ctx context.Context, workflowID, runID string) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	c.asked.Add(1)
	n := c.busy.Add(1)
	defer c.busy.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	status, err := c.answer(ctx, workflowID, runID)
	if err != nil {
		return nil, err
	}
	if runID == "" {
		runID = "now"
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: runID}, Status: status}}, nil
}

func manyTargets(n int) []target {
	targets := make([]target, n)
	for i := range targets {
		targets[i] = target{workflowID: fmt.Sprint(i), runID: "guess", current: true}
	}
	return targets
}

// A guess that is open is the current run; any other is no answer.
func TestGuessedRun(t *testing.T) {
	t.Parallel()
	const running = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	gone := serviceerror.NewNotFound("no such run")
	for _, c := range []struct {
		name    string
		guessed enumspb.WorkflowExecutionStatus
		err     error
		want    string
	}{
		{"running", running, nil, "guess"},
		{"continued", enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW, nil, "now"},
		{"completed", enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, nil, "now"},
		{"reset", enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, nil, "now"},
		{"gone", 0, gone, "now"},
	} {
		m := &Manager{client: &describing{answer: func(_ context.Context, _, run string) (enumspb.WorkflowExecutionStatus, error) {
			if run == "" {
				return running, nil
			}
			return c.guessed, c.err
		}}}
		ex, err := m.describeTarget(t.Context(), target{workflowID: "w", runID: "guess", current: true})
		if err != nil || ex.runID() != c.want || !ex.open() {
			t.Errorf("%s: run %v, %v; want %s", c.name, ex, err, c.want)
		}
	}
	exact := &Manager{client: &describing{answer: func(context.Context, string, string) (enumspb.WorkflowExecutionStatus, error) {
		return enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED, nil
	}}}
	if ex, err := exact.describeTarget(t.Context(), target{workflowID: "w", runID: "that"}); err != nil || ex.runID() != "that" {
		t.Errorf("a run that is wanted itself: %v, %v", ex, err)
	}
}

// All are described, those that are gone left out, so many at once and no more.
func TestDescribeMany(t *testing.T) {
	t.Parallel()
	full := make(chan struct{})
	var begun atomic.Int64
	c := &describing{answer: func(_ context.Context, wid, _ string) (enumspb.WorkflowExecutionStatus, error) {
		if begun.Add(1) == describers {
			close(full)
		}
		<-full // nobody gets an answer before all describers ask
		if wid == "7" {
			return 0, serviceerror.NewNotFound("gone")
		}
		return enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
	}}
	execs, err := (&Manager{client: c}).describeEach(t.Context(), manyTargets(500))
	if err != nil || len(execs) != 499 || c.most.Load() != describers {
		t.Fatalf("%d of 499 runs, %d at once, %v", len(execs), c.most.Load(), err)
	}
	for i, ex := range execs {
		want := i
		if i >= 7 {
			want++
		}
		if ex.workflowID() != fmt.Sprint(want) {
			t.Fatalf("run %d is of workflow %s, want %d", i, ex.workflowID(), want)
		}
	}
}

// The first error, and the end of the context, end all questions; none is left behind, and no part of a list is an answer.
func TestDescribeManyEnds(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for _, fails := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		var once sync.Once
		c := &describing{answer: func(ctx context.Context, wid, _ string) (enumspb.WorkflowExecutionStatus, error) {
			if wid == "50" {
				if fails {
					return 0, boom
				}
				once.Do(cancel)
			}
			if wid > "4" { // some wait for the end
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, nil
		}}
		execs, err := (&Manager{client: c}).describeEach(ctx, manyTargets(1000))
		want := context.Canceled
		if fails {
			want = boom
		}
		if execs != nil || !errors.Is(err, want) {
			t.Errorf("%d runs, %v; want %v", len(execs), err, want)
		}
		if n := c.busy.Load(); n != 0 || c.asked.Load() > 200 {
			t.Errorf("%d questions are left of %d", n, c.asked.Load())
		}
		cancel()
	}
}
