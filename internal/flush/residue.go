package flush

import (
	"context"
	"fmt"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// maxResiduePasses bounds how often a flush looks again. Rows that keep moving stay hot and are reported.
const maxResiduePasses = 1

// Residue counts the rows that still match after all chunks, and plans one more pass over them while passes are left. Rows
// are left when others held their locks, or moved them out of a range that was already done.
func (f *Flusher) Residue(ctx context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	res, err := f.residue(ctx, in)
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (f *Flusher) residue(ctx context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error) {
	last, err := f.ledger.LastPlan(ctx, in.JobID)
	if err != nil {
		return jobstep.ResidueResult{}, err
	}
	doc, err := readPlan(last)
	if err != nil {
		return jobstep.ResidueResult{}, err
	}
	left, err := f.countLeft(ctx, doc)
	if err != nil {
		return jobstep.ResidueResult{}, err
	}
	res := jobstep.ResidueResult{RowsLeft: left}
	if left == 0 || in.Pass > maxResiduePasses {
		return res, nil
	}
	plan, err := f.plan(ctx, jobstep.PlanInput{JobID: in.JobID, RequestID: last.RequestID.String(), Generation: last.Generation + 1, ChunkBytes: doc.Options.ChunkBytes}, wholeNever)
	if err != nil {
		return jobstep.ResidueResult{}, err
	}
	if plan.Chunks > 0 {
		res.Plan = &plan
	}
	return res, nil
}

// countLeft counts what still matches, in all leaves that the table has by now: one that was detached or dropped since it was
// planned is no part of it any more, and its rows are not left.
func (f *Flusher) countLeft(ctx context.Context, doc *planDoc) (int64, error) {
	root, err := f.hot.Inspect(ctx, f.hot.Pool(), doc.Schema, doc.Name)
	if err != nil {
		return 0, err
	}
	leaves, err := leavesOf(ctx, f.hot, root)
	if err != nil {
		return 0, err
	}
	var scans []hot.Scan
	for _, leaf := range leaves {
		if leaf.Blocks > 0 {
			scans = append(scans, hot.Scan{Schema: leaf.Schema, Table: leaf.Name, Predicate: doc.predicate(leaf)})
		}
	}
	left, err := f.hot.CountAll(ctx, scans)
	if err != nil {
		return 0, fmt.Errorf("%s.%s: %w", doc.Schema, doc.Name, err)
	}
	return left, nil
}
