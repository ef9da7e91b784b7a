package flush

import (
	"context"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Sweep condemns what is left of a job's attempts and deletes their objects: after it none of them can commit, and none
// left anything behind. Attempts that were condemned before are swept again, for a frozen process may have written
// since. One attempt that cannot be settled does not keep the others.
func (f *Flusher) Sweep(ctx context.Context, jobID string) (jobstep.SweepResult, error) {
	attempts, err := f.ledger.Attempts(ctx, jobID, -1)
	if err != nil {
		return jobstep.SweepResult{}, err
	}
	return f.sweeper.SettleAll(ctx, attempts)
}

// Finish records the end of a job, once: the first end recorded stays, and a later call returns it. It gives the table
// free for the next job.
func (f *Flusher) Finish(ctx context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error) {
	reqID, err := uuid.Parse(in.RequestID)
	if err != nil {
		return jobstep.FinishResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	req, err := f.ledger.Request(ctx, reqID)
	if err != nil {
		return jobstep.FinishResult{}, err
	}
	row, err := f.historyRow(ctx, in, req)
	if err != nil {
		return jobstep.FinishResult{}, err
	}
	flushed := req.JobType == jobstep.FlushType
	if flushed {
		f.tellSpace(ctx, &row)
	}
	var stored ledger.HistoryRow
	err = fault.Do(ctx, fault.History, func() (err error) { stored, err = f.ledger.InsertHistory(ctx, row); return err })
	if err != nil {
		return jobstep.FinishResult{}, err
	}
	if stored.Status == "completed" && flushed {
		err := fault.Do(ctx, fault.TouchTable, func() error {
			return f.ledger.TouchTable(ctx, req.Schema, req.Table, stored.FinishedAt, in.JobID)
		})
		if err != nil {
			return jobstep.FinishResult{}, err
		}
	}
	err = fault.Do(ctx, fault.FreeTable, func() error { return f.ledger.ReleaseTable(ctx, req.Schema, req.Table, in.JobID) })
	if err != nil {
		return jobstep.FinishResult{}, err
	}
	f.ended(stored)
	return jobstep.FinishResult{Status: stored.Status, Rows: stored.RowsFlushed, Bytes: stored.BytesWritten, Segments: stored.Segments}, nil
}

// ended says how a job ended: to the log, and to the meter if this was who recorded it.
func (f *Flusher) ended(h ledger.HistoryRow) {
	f.logEnd(h)
	if !h.Recorded {
		return
	}
	class := ""
	if h.Status == "failed" && h.ErrorClass != nil {
		class = *h.ErrorClass
	}
	f.meter.Ended(h.JobType, h.Status, class)
}

// logEnd is the one line that says how a job ended.
func (f *Flusher) logEnd(h ledger.HistoryRow) {
	table := h.Schema + "." + h.Table
	if h.Table == "" {
		table = ""
	}
	line := []any{obs.KeyJob, h.JobID, obs.KeyTable, table, obs.KeyStatus, h.Status, obs.KeyRows, h.RowsFlushed,
		obs.KeyBytes, h.BytesWritten, obs.KeySegments, h.Segments, obs.KeyCreated, h.CreatedAt, obs.KeyFinished, h.FinishedAt}
	if h.StartedAt != nil {
		line = append(line, obs.KeyStarted, *h.StartedAt)
	}
	if h.ErrorClass != nil {
		line = append(line, obs.KeyClass, *h.ErrorClass)
	}
	f.log.Info("job ended", line...)
}

// historyRow gathers what the ledger knows of a job. Numbers are counted from committed chunks, never reported by those
// who moved them.
func (f *Flusher) historyRow(ctx context.Context, in jobstep.FinishInput, req ledger.Request) (ledger.HistoryRow, error) {
	t, err := f.ledger.Totals(ctx, in.JobID)
	if err != nil {
		return ledger.HistoryRow{}, err
	}
	row := ledger.HistoryRow{
		JobID: in.JobID, JobType: req.JobType, Schema: req.Schema, Table: req.Table, Status: in.Status,
		RowsFlushed: t.Rows, BytesWritten: t.Bytes, Segments: t.Segments, ChunksDone: t.ChunksDone, ChunksTotal: planned(t, t.ChunksTotal),
		RowsTotal: planned(t, t.RowsEstimate), RowsLeft: in.RowsLeft, RowsSkipped: t.Skipped, Attempt: t.Attempt, Location: nonEmpty(t.Location),
		RequestedBy: req.RequestedBy, Trigger: req.Trigger, Schedule: req.Schedule, Statement: req.Statement,
		CreatedAt: in.CreatedAt, StartedAt: in.StartedAt, CancelledAt: in.CancelledAt, WorkflowID: in.WorkflowID, RunID: in.RunID, RequestID: req.ID,
	}
	if in.Status == "failed" {
		row.ErrorClass = nonEmpty(in.Class)
		row.Error = nonEmpty(t.LastError)
		if t.LastError == "" {
			row.Error = nonEmpty("the job failed with an error of class " + in.Class)
		}
	}
	if in.Status == "completed" {
		row.RowsTotal = &t.Rows
	}
	return row, nil
}

// planned is a figure of the plan, or nil for a job that ended before it had one.
func planned(t ledger.Totals, n int64) *int64 {
	if !t.Planned {
		return nil
	}
	return &n
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
