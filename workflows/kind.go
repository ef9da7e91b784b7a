package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/jobmanager"
)

// kind is what jobs of one type have of their own. The rest is the same for all: a plan, a window of chunks, pauses and
// cancels, runs that continue each other, and the record of the end.
type kind struct {
	name    string // of the workflow
	job     jobmanager.JobType
	plan    any   // the activity that cuts the job in chunks
	chunk   any   // the activity that does one
	phase   Phase // while chunks run
	moves   bool  // chunks are attempts: what they leave is swept, and what they register is published
	residue bool  // looks again for rows that were left

	noun        string // a chunk, for people
	did, things string // what was done to bytes, and in what they lie: for people
}

var flushKind = &kind{
	name: FlushJobName, job: FlushType, plan: steps.PlanFlush, chunk: steps.MoveChunk, phase: PhaseMoving, moves: true, residue: true,
	noun: "chunk", did: "written", things: "segments",
}

// runJob is a job of any kind: work does what is its own between the first step and the record of the end.
func runJob(ctx workflow.Context, k *kind, in FlushInput, work func(*job, workflow.Context) error) error {
	j, err := newJob(ctx, k, in)
	if err != nil {
		return err
	}
	err = work(j, ctx)
	if errors.Is(err, errContinue) {
		if in.State, err = j.handOver(ctx); err == nil {
			return workflow.NewContinueAsNewError(ctx, k.name, in)
		}
	}
	return j.end(ctx, err)
}

// planned is the beginning of every run: it watches for a cancel, waits while the job is paused, and plans, unless a run before
// has.
func (j *job) planned(ctx workflow.Context) error {
	j.watchCancel(ctx)
	if err := j.hold(ctx); err != nil || j.state.Generation != 0 {
		return err
	}
	return j.plan(ctx, 1)
}

// begin plans and does the chunks. A job without chunks has none to do.
func (j *job) begin(ctx workflow.Context) error {
	if err := j.planned(ctx); err != nil || j.state.Total == 0 {
		return err
	}
	if err := j.move(ctx); err != nil {
		return err
	}
	return j.hold(ctx)
}
