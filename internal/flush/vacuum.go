package flush

import (
	"context"
	"errors"
	"fmt"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// Vacuum gives the space of moved rows back, leaf by leaf, where the plans of a job say so. It may be called again. A leaf that
// cannot be vacuumed is logged and left: the rows have moved all the same. The error is about the ledger, or says that ctx ended.
func (f *Flusher) Vacuum(ctx context.Context, jobID string) error {
	leaves, err := f.toVacuum(ctx, jobID)
	if err != nil || len(leaves) == 0 {
		return err
	}
	job, err := jobUUID(jobID)
	if err != nil {
		return jobstep.Classified(jobstep.ClassInvalid, err)
	}
	for i := range leaves {
		t := &leaves[i]
		err := f.vacuum(ctx, jobID, fmt.Sprintf("spillway:%s:vacuum %s.%s", job, t.Schema, t.Name), t)
		if ctx.Err() != nil {
			return jobstep.Classified(jobstep.ClassCancelled, fmt.Errorf("vacuum: %w", context.Cause(ctx)))
		}
		if err != nil {
			f.log.Warn("could not vacuum a table after its flush", obs.KeyJob, jobID, obs.KeyTable, t.Schema+"."+t.Name, obs.KeyErr, err)
		}
	}
	return nil
}

// toVacuum gathers the leaves from all generations of a job's plan.
func (f *Flusher) toVacuum(ctx context.Context, jobID string) ([]hot.Table, error) {
	var out []hot.Table
	seen := map[uint32]bool{}
	for generation := 1; ; generation++ {
		row, err := f.ledger.PlanGeneration(ctx, jobID, generation)
		if errors.Is(err, ledger.ErrNotFound) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		doc, err := readPlan(row)
		if err != nil {
			return nil, err
		}
		for i := range doc.Parts {
			if p := &doc.Parts[i]; p.Vacuum && !seen[p.Table.OID] {
				seen[p.Table.OID] = true
				out = append(out, p.Table)
			}
		}
	}
}

// vacuum works on a backend of its own, which is ended as soon as ctx ends.
func (f *Flusher) vacuum(ctx context.Context, jobID, name string, t *hot.Table) error {
	s, err := f.hot.Session(ctx, name, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := jobstep.SettleContext(ctx)
		defer cancel()
		if err := s.Terminate(ctx); err != nil {
			f.log.Warn("could not end the backend of a stopped vacuum", obs.KeyJob, jobID, obs.KeyTable, t.Schema+"."+t.Name, obs.KeyErr, err)
		}
	})
	defer stop()
	return s.Vacuum(ctx, t.Schema, t.Name)
}

// settleVacuum notes which leaves are to be vacuumed: those that the option asks for, or partitions of which no row is to stay. A
// file that is emptied has nothing to vacuum.
func settleVacuum(option string, plans []leafPlan) {
	for i := range plans {
		l := &plans[i]
		if l.part.Chunks == 0 || l.part.whole() || option == "false" || option == "" && !l.covered {
			continue
		}
		l.part.Vacuum, l.part.VacuumDenied = l.part.Table.MayVacuum, !l.part.Table.MayVacuum
	}
}

// NotVacuumed is how many leaves of a plan, as the ledger keeps it, the role had no right to vacuum.
func NotVacuumed(row ledger.PlanRow) (n int, err error) {
	doc, err := readPlan(row)
	if err != nil {
		return 0, err
	}
	for i := range doc.Parts {
		if doc.Parts[i].VacuumDenied {
			n++
		}
	}
	return n, nil
}

// vacuums reports whether there is something to vacuum when the rows have moved.
func (d *planDoc) vacuums() bool {
	for i := range d.Parts {
		if d.Parts[i].Vacuum {
			return true
		}
	}
	return false
}
