package flush

import (
	"context"
	"errors"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// How whole partitions are taken: the values of whole_partition. The default is DELETE, which readers with older snapshots do not
// notice.
const (
	wholeDelete   = "delete"
	wholeTruncate = "truncate"
	wholeDetach   = "detach"
)

// Ways of whole partitions, beside those of chunks.
const (
	WayTruncate Way = "truncate" // all rows are read in one transaction, which empties the file
	WayDetach   Way = "detach"   // and detaches the partition
)

// A wholeScope says which partitions a plan may take whole.
type wholeScope int

const (
	wholeAll     wholeScope = iota // that no row stays in is known, or proved by bounds: a first plan
	wholeCertain                   // of those without a condition only: a later plan, for a proof may have failed
	wholeNever                     // what is left after a flush moves by DELETE
)

// wholeScope says which partitions a generation may take whole. One that follows a residue pass is about what was left, as that is.
func (f *Flusher) wholeScope(ctx context.Context, in jobstep.PlanInput) (wholeScope, error) {
	if in.Generation <= 1 {
		return wholeAll, nil
	}
	row, err := f.ledger.PlanGeneration(ctx, in.JobID, in.Generation-1)
	if errors.Is(err, ledger.ErrNotFound) {
		return wholeCertain, nil
	}
	if err != nil {
		return wholeNever, err
	}
	doc, err := readPlan(row)
	if err == nil && !doc.NoWhole {
		return wholeCertain, nil
	}
	return wholeNever, err
}

// coveredLeaves notes the partitions of which no row is to stay. Whether the bounds of one leave a row that does not match is
// PostgreSQL's word: its planner is asked for the rows that do not, and says that there can be none. A row for which the predicate
// is NULL is no such row, so whoever acts on it must look.
func coveredLeaves(ctx context.Context, db *hot.DB, doc *planDoc, plans []leafPlan) error {
	if doc.Options.Vacuum != "" && !doc.Options.wholes() {
		return nil // nobody asks
	}
	var asked []*leafPlan
	var scans []hot.Scan
	for i := range plans {
		l := &plans[i]
		t := &l.part.Table
		where := doc.predicate(t)
		switch {
		case !t.Partition || t.RelKind != "r" || l.part.Chunks == 0:
		case where == "":
			l.covered = true
		case l.rows != nil:
			asked = append(asked, l)
			scans = append(scans, hot.Scan{Schema: t.Schema, Table: t.Name, Predicate: "NOT (" + where + "\n)"})
		}
	}
	found, err := db.Estimates(ctx, hot.AnyWay, scans)
	if err != nil {
		return err
	}
	for i, l := range asked {
		l.covered = found[i].Empty
	}
	return nil
}

// settleWhole takes partitions whole where the option says so.
func settleWhole(doc *planDoc, plans []leafPlan, scope wholeScope) {
	if !doc.Options.wholes() || scope == wholeNever {
		return
	}
	for i := range plans {
		l := &plans[i]
		if !l.covered || scope == wholeCertain && doc.predicate(&l.part.Table) != "" {
			continue
		}
		l.part.Way, l.part.Why, l.part.Chunks, l.part.Keys = WayTruncate, "no row is to stay", 1, nil
		if doc.Options.WholePartition == wholeDetach {
			l.part.Way = WayDetach
		}
	}
}

// wholes reports whether partitions are taken whole.
func (o Options) wholes() bool {
	return o.WholePartition == wholeTruncate || o.WholePartition == wholeDetach
}

func (p *planPart) whole() bool { return p.Way == WayTruncate || p.Way == WayDetach }

// refuseWhole says why a leaf cannot be taken whole as planned.
func (p *planPart) refuseWhole(t *hot.Table) []hot.Refusal {
	if !p.whole() {
		return nil
	}
	return t.RefuseWhole(p.Way == WayDetach)
}

// refuseUnparted says that a table has no partitions to take whole.
func refuseUnparted(root *hot.Table, opts Options) []hot.Refusal {
	if !opts.wholes() || root.RelKind == "p" || root.Partition {
		return nil
	}
	return []hot.Refusal{{Code: "42809", Msg: "it is not partitioned, so whole_partition = " + opts.WholePartition + " has nothing to act on", Hint: "Leave the option out."}}
}

// wholeMove is how the leaf is taken, or nil for a DELETE.
func (p *planPart) wholeMove() *hot.Whole {
	if !p.whole() || p.Table.Whole == nil {
		return nil
	}
	w := &hot.Whole{Detach: p.Way == WayDetach, Parent: p.Table.Whole.Parent}
	if d := p.Table.Whole.Default; d != nil {
		w.Default = d
	}
	return w
}

// lanes is how many chunks move at once. Partitions that are detached one after the other lock the same parent.
func (d *planDoc) lanes() int {
	for i := range d.Parts {
		if d.Parts[i].Way == WayDetach {
			return 1
		}
	}
	return d.Options.Parallelism
}
