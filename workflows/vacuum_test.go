package workflows

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/jobstep"
)

// A job vacuums where its plan says so, after its manifest, and a pass over what was left does not take that back.
func TestVacuum(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vacuum bool
		want   string
	}{{true, "plan 1, residue 1, residue 2, publish, vacuum, finish completed"}, {false, "plan 1, residue 1, residue 2, publish, finish completed"}} {
		f := &fake{plan: func(in jobstep.PlanInput) (jobstep.PlanResult, error) {
			return jobstep.PlanResult{Generation: in.Generation, Chunks: 2, Vacuum: c.vacuum}, nil
		}}
		f.residue = func(in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
			if in.Pass > 1 {
				return jobstep.ResidueResult{}, nil
			}
			return jobstep.ResidueResult{RowsLeft: 1, Plan: &jobstep.PlanResult{Generation: 2, FirstChunk: 2, Chunks: 1}}, nil
		}
		if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
			t.Fatal(err)
		}
		if got := f.said(); got != c.want {
			t.Errorf("steps: %s; want: %s", got, c.want)
		}
	}
}

// Nothing has moved: there is nothing to give back.
func TestNothingToVacuum(t *testing.T) {
	t.Parallel()
	f := &fake{plan: chunksOf(0)}
	if err := runFlush(t, newEnv(t, f), FlushInput{}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.said(), "plan 1, finish completed"; got != want {
		t.Errorf("steps: %s; want: %s", got, want)
	}
}
