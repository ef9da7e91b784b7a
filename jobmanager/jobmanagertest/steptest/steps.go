package steptest

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
)

// Steps does the work of jobmanagertest as internal/flush would, on a Ledger.
type Steps struct {
	Work      *jobmanagertest.Work
	Ledger    *Ledger
	Alive     context.Context                                  // ends when the process that runs it crashes
	Finishing func(jobstep.FinishInput)                        // called before an end is recorded; may be nil
	Manners   *jobstep.Manners                                 // of every plan; may be nil
	Busy      func() jobstep.Load                              // how busy the database is; nil: not at all
	Looking   func(jobstep.ResidueInput) jobstep.ResidueResult // what is left; nil: nothing
}

func (f *Steps) script(jobID string) *jobmanagertest.Script {
	id, err := jobmanager.ParseJobID(jobID)
	if err != nil {
		panic(err)
	}
	return f.Work.Table(id.Table)
}

// Plan is *flush.Flusher's.
func (f *Steps) Plan(_ context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	n := 0
	f.Ledger.Update(in.JobID, func(t *ledger.Totals) {
		if !t.Planned {
			t.ChunksTotal = int64(f.script(in.JobID).Plan())
			t.Planned, t.Generation, t.RowsEstimate = true, 1, t.ChunksTotal*jobmanagertest.RowsPerChunk
		}
		n = int(t.ChunksTotal)
	})
	return jobstep.PlanResult{Generation: in.Generation, Chunks: n, RowsEstimate: int64(n * jobmanagertest.RowsPerChunk), Parallelism: jobmanagertest.Parallelism, Manners: f.Manners}, nil
}

// PlanRestore is *flush.Flusher's.
func (f *Steps) PlanRestore(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	return f.Plan(ctx, in)
}

// RestoreSegment is *flush.Flusher's.
func (f *Steps) RestoreSegment(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return f.RunChunk(ctx, in, progress)
}

// RunChunk is *flush.Flusher's.
func (f *Steps) RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.Alive, func() { cancel(errors.New("crash")) })()
	progress(jobstep.Checkpoint{Step: jobstep.StepCopying, AttemptID: uuid.NewString()})
	f.Ledger.Update(in.JobID, func(t *ledger.Totals) { t.Started, t.Attempt = true, max(t.Attempt, in.Attempt) })
	err := f.script(in.JobID).RunChunk(ctx, in.Chunk, in.Attempt)
	var bad *jobmanagertest.Failure
	if errors.As(err, &bad) {
		return jobstep.ChunkResult{}, &jobstep.ClassifiedError{Class: bad.Class, Err: errors.New("the value of a row")}
	}
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	f.Ledger.Update(in.JobID, func(t *ledger.Totals) {
		t.Rows += jobmanagertest.RowsPerChunk
		t.Bytes += 1000
		t.Segments++
		t.ChunksDone++
	})
	return jobstep.ChunkResult{Rows: jobmanagertest.RowsPerChunk, Bytes: 1000, Segments: 1}, nil
}

// Load is *flush.Flusher's.
func (f *Steps) Load(context.Context, jobstep.LoadInput) (jobstep.Load, error) {
	if f.Busy == nil {
		return jobstep.Load{}, nil
	}
	return f.Busy(), nil
}

// Residue is *flush.Flusher's.
func (f *Steps) Residue(_ context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	if f.Looking == nil {
		return jobstep.ResidueResult{}, nil
	}
	return f.Looking(in), nil
}

// Publish is *flush.Flusher's.
func (f *Steps) Publish(context.Context, string) error { return nil }

// Vacuum is *flush.Flusher's.
func (f *Steps) Vacuum(context.Context, string) error { return nil }

// Sweep is *flush.Flusher's.
func (f *Steps) Sweep(context.Context, string) (jobstep.SweepResult, error) {
	return jobstep.SweepResult{}, nil
}

// Finish is *flush.Flusher's.
func (f *Steps) Finish(_ context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error) {
	if f.Alive.Err() != nil {
		return jobstep.FinishResult{}, errors.New("crash")
	}
	if f.Finishing != nil {
		f.Finishing(in)
	}
	class := &in.Class
	if in.Class == "" {
		class = nil
	}
	row := f.Ledger.Record(ledger.HistoryRow{
		JobID: in.JobID, Status: in.Status, ErrorClass: class, RowsLeft: in.RowsLeft, WorkflowID: in.WorkflowID, RunID: in.RunID,
		CreatedAt: in.CreatedAt, StartedAt: in.StartedAt, CancelledAt: in.CancelledAt,
	}, in.RequestID)
	return jobstep.FinishResult{Status: row.Status, Rows: row.RowsFlushed, Bytes: row.BytesWritten, Segments: row.Segments}, nil
}

// TakeTable is *flush.Flusher's. The table is free again when its process crashes.
func (f *Steps) TakeTable(ctx context.Context, c ledger.Claim, _ bool) (ledger.Hold, error) {
	if ctx.Err() != nil {
		return ledger.Hold{}, context.Cause(ctx)
	}
	c, err := f.Ledger.take(c)
	if err != nil {
		return ledger.Hold{}, err
	}
	release := func() { f.Ledger.release(c.JobID) }
	forget := context.AfterFunc(f.Alive, release)
	return ledger.Hold{Since: c.CreatedAt, Release: func() { forget(); release() }}, nil
}

// CloseInterrupted is *flush.Flusher's.
func (f *Steps) CloseInterrupted(ctx context.Context) (closed []string, err error) {
	l := f.Ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, c := range l.claims {
		if l.locks[t] == "" {
			l.closeDead(c)
			closed = append(closed, c.JobID)
		}
	}
	return closed, ctx.Err()
}
