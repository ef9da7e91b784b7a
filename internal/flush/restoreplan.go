package flush

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/restore"
)

// restorePlan is what a plan holds instead of leaves when its job puts rows back: chunk n is segment n.
type restorePlan struct {
	Options  restore.Options
	Segments []uuid.UUID
	Storages []string // that hold them, by name
}

// PlanRestore makes the plan of a job that puts cold rows back into their table, or returns the one that is stored. It claims the
// table for the job and refuses one that cannot take rows safely. Each segment that is cold now is a chunk; what each needs is
// looked at when its turn comes, so that a table that changes its shape meanwhile needs no new plan.
func (f *Flusher) PlanRestore(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	res, err := f.planRestore(ctx, in)
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (f *Flusher) planRestore(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	req, err := f.planRequest(ctx, in)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	opts, err := restore.ParseOptions(req.Params)
	if err != nil {
		return jobstep.PlanResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	if err := f.claim(ctx, req, in); err != nil {
		return jobstep.PlanResult{}, err
	}
	root, err := f.hot.Inspect(ctx, f.hot.Pool(), req.Schema, req.Table)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	if err := refuseRestore(ctx, f.hot, f.hot.Pool(), root, opts, nil); err != nil {
		return jobstep.PlanResult{}, err
	}
	doc := &planDoc{Schema: root.Schema, Name: root.Name, Restore: &restorePlan{Options: opts}}
	rows, err := f.coldSegments(ctx, doc)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	n := len(doc.Restore.Segments)
	if n > 0 { // before the first row is back: a policy must not find it
		if err := f.ledger.PausePolicy(ctx, req.Schema, req.Table, in.JobID); err != nil {
			return jobstep.PlanResult{}, err
		}
	}
	res, _, err := f.storePlan(ctx, in, req, doc, ledger.PlanRow{Chunks: n, RowsEstimate: rows})
	res.Parallelism = opts.Parallelism
	return res, err
}

// coldSegments enters into the plan which segments are to be restored, and returns how many rows they have.
func (f *Flusher) coldSegments(ctx context.Context, doc *planDoc) (rows int64, err error) {
	p := doc.Restore
	cold := f.ledger.LiveSegments(ctx, doc.Schema, doc.Name)
	if p.Options.FromJob != "" {
		cold = f.ledger.ColdOfJob(ctx, doc.Schema, doc.Name, p.Options.FromJob)
	}
	for s, err := range cold {
		if err != nil {
			return 0, err
		}
		p.Segments = append(p.Segments, s.ID)
		if !slices.Contains(p.Storages, s.Storage) {
			p.Storages = append(p.Storages, s.Storage)
		}
		rows += s.Rows
	}
	if len(p.Segments) > jobstep.MaxChunks {
		return 0, jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("%s.%s has more than %d cold segments: restore them job by job, with FROM JOB", doc.Schema, doc.Name, jobstep.MaxChunks))
	}
	return rows, nil
}

// refuseRestore says why a table cannot take rows back. refill is how they go there, where that is known.
func refuseRestore(ctx context.Context, db *hot.DB, q hot.Querier, t *hot.Table, opts restore.Options, refill *hot.Refill) error {
	var types []string
	if refill != nil {
		types = refill.StageTypes()
	}
	in, err := db.InspectInsertion(ctx, q, t, types...)
	if err != nil {
		return err
	}
	allow := opts.Consequences()
	if refill != nil {
		allow.Defaults = restore.WithoutValue(t, refill)
	}
	refusals := t.InsertionRefusals(in, allow)
	if len(refusals) == 0 {
		return nil
	}
	class := jobstep.ClassRefused
	if refusals[0].Code == "42501" {
		class = jobstep.ClassPrivilege
	}
	return jobstep.Classified(class, &RefusedError{Table: t.Schema + "." + t.Name, Refusal: refusals[0], Restore: true})
}

// CheckRestore is Check for a restore.
func (s *Surveyor) CheckRestore(ctx context.Context, schema, table string, params map[string]string) error {
	opts, err := restore.ParseOptions(params)
	if err != nil {
		return err
	}
	return s.hot.Briefly(ctx, func(q hot.Querier) error {
		root, err := s.hot.Inspect(ctx, q, schema, table)
		if err != nil {
			return err
		}
		return refuseRestore(ctx, s.hot, q, root, opts, nil)
	})
}

// restoreTarget finds the table that takes the rows of a segment: a partitioned table takes them all and routes them; an heir of
// another table takes its own.
func restoreTarget(ctx context.Context, db *hot.DB, q hot.Querier, doc *planDoc, leaf string) (*hot.Table, error) {
	root, err := db.Inspect(ctx, q, doc.Schema, doc.Name)
	if err != nil || root.RelKind == "p" || leaf == root.Schema+"."+root.Name {
		return root, err
	}
	for _, l := range root.Leaves {
		if leaf == l.Schema+"."+l.Name {
			return db.Inspect(ctx, q, l.Schema, l.Name)
		}
	}
	return nil, jobstep.Classified(jobstep.ClassMissingTable, fmt.Errorf("the rows were in table %s, which is no heir of %s.%s any more", leaf, doc.Schema, doc.Name))
}

// leafAsItWas returns the table that a segment's rows were taken from if it is still the very same one, or nil. Then its columns can
// be told by their numbers, whatever they are called now.
func (f *Flusher) leafAsItWas(ctx context.Context, q hot.Querier, doc *planDoc, seg ledger.Segment) (*hot.Table, error) {
	oid, err := f.sourceOID(ctx, seg)
	if err != nil || oid == 0 {
		return nil, err
	}
	root, err := f.hot.Inspect(ctx, q, doc.Schema, doc.Name)
	if err != nil || root.OID == oid {
		return root, err
	}
	for _, l := range root.Leaves {
		if l.OID == oid {
			return f.hot.Inspect(ctx, q, l.Schema, l.Name)
		}
	}
	return nil, nil
}

// maxReplaced bounds how many times a segment can have been replaced until its origin is not looked for any more.
const maxReplaced = 1000

// sourceOID is that of the table whose rows a segment holds, by the plan of the flush that wrote it, or 0 if that is not known.
func (f *Flusher) sourceOID(ctx context.Context, seg ledger.Segment) (uint32, error) {
	for range maxReplaced {
		doc, _, err := f.generation(ctx, seg.JobID, seg.Chunk)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return 0, err
		}
		if err == nil && doc.Restore == nil {
			for i := range doc.Parts {
				if doc.Parts[i].leafName() == seg.Leaf {
					return doc.Parts[i].Table.OID, nil
				}
			}
			return 0, nil
		}
		seg, err = f.ledger.ReplacedBy(ctx, seg.ID)
		if errors.Is(err, ledger.ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}
