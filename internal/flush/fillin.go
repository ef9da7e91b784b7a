package flush

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// FillIn records the end of a job that could not do so itself: somebody terminated its workflow, or that timed out. What its
// attempts left behind is swept, and what it moved is published, as the job would have done. The first end recorded stays.
func (f *Flusher) FillIn(ctx context.Context, in jobstep.EndInput) error {
	if _, err := f.Sweep(ctx, in.JobID); err != nil { // the next plan of the table tries again
		f.log.Warn("could not settle all attempts of a job that was ended by force", obs.KeyJob, in.JobID, obs.KeyErr, err)
	}
	req, err := f.requestOf(ctx, in)
	if err != nil {
		return err
	}
	row, err := f.historyRow(ctx, in.FinishInput, req)
	if err != nil {
		return err
	}
	if row.ChunksDone > 0 && req.JobType != jobstep.VerifyType && req.JobType != jobstep.CleanupType { // those change no list of segments
		if err := f.publishJob(ctx, in.JobID); err != nil { // the next flush of the table publishes
			f.log.Warn("could not publish the manifest of a job that was ended by force", obs.KeyJob, in.JobID, obs.KeyErr, err)
		}
	}
	row.FinishedAt = in.FinishedAt
	if in.Error != "" {
		row.Error, row.ErrorClass = &in.Error, nonEmpty(in.Class)
	}
	stored, err := f.ledger.InsertHistory(ctx, row)
	if err != nil {
		return err
	}
	if err := f.ledger.ReleaseTable(ctx, row.Schema, row.Table, in.JobID); err != nil {
		return err
	}
	f.ended(stored)
	return nil
}

// requestOf is the job's request or, if that is gone, what else is known of it.
func (f *Flusher) requestOf(ctx context.Context, in jobstep.EndInput) (ledger.Request, error) {
	known := ledger.Request{JobType: in.JobType, Schema: in.Schema, Table: in.Table}
	id, err := uuid.Parse(in.RequestID)
	if err != nil {
		return known, nil
	}
	req, err := f.ledger.Request(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return known, nil
	}
	return req, err
}
