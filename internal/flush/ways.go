package flush

import (
	"context"
	"errors"
	"fmt"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
)

// A Way is how the rows of a leaf are found and cut in chunks.
type Way string

// The ways.
const (
	WayBlocks Way = "blocks" // ranges of blocks: each chunk reads its own
	WayIndex  Way = "index"  // ranges of an index: nothing else is read
	WayNone   Way = "none"   // the leaf's constraints prove that it has no row to move
)

// leafPlan is what is decided for one leaf.
type leafPlan struct {
	part  planPart
	rows  *int64 // to be moved, by PostgreSQL's estimate; nil if it may not be asked
	scan  string // how PostgreSQL would look for them, and by which index
	index string

	covered bool // no row is to stay in it, by the bounds of the partition
}

// planLeaves decides for each leaf how its rows are found. PostgreSQL's planner is asked, in a few statements for all of them. To
// look is to leave alone: then the rows are not read either, and how many ranges an index has is an estimate.
func planLeaves(ctx context.Context, db *hot.DB, doc *planDoc, arr *layout.Arrangement, root *hot.Table, leaves []*hot.Table, scope wholeScope, from starts, look bool) ([]leafPlan, error) {
	out := make([]leafPlan, len(leaves))
	var asked []*leafPlan
	var scans []hot.Scan
	for i, leaf := range leaves {
		part, err := cutLeaf(doc, arr, root, leaf, from.block(leaf))
		if err != nil {
			return nil, err
		}
		out[i].part = part
		where := doc.predicate(leaf)
		switch {
		case where == "" || leaf.Blocks == 0:
			out[i].rows = &leaf.RowsEstimate
		case leaf.Privileges.Usage && leaf.Privileges.Select:
			asked = append(asked, &out[i])
			scans = append(scans, hot.Scan{Schema: leaf.Schema, Table: leaf.Name, Predicate: where})
		}
	}
	found, err := db.Estimates(ctx, hot.AnyWay, scans)
	if err != nil {
		return nil, err
	}
	w := &waysOf{db: db, look: look, opts: doc.Options}
	for i, e := range found {
		l := asked[i]
		l.rows, l.scan, l.index = &e.Rows, e.Scan, e.Index
		switch {
		case e.Empty:
			l.part.Way, l.part.Chunks = WayNone, 0
			l.part.Why = "its constraints leave no row to move"
		case l.part.FirstBlock > 0:
			l.part.Why = "it was begun in blocks"
		case e.Index == "":
			l.part.Why = fmt.Sprintf("no index is cheaper (%s)", e.Scan)
		default:
			l.part.Cost = e.Cost
			w.add(l, scans[i])
		}
	}
	if err := w.choose(ctx); err != nil {
		return nil, err
	}
	if err := coveredLeaves(ctx, db, doc, out); err != nil {
		return nil, err
	}
	settleWhole(doc, out, scope)
	settleVacuum(doc.Options.Vacuum, out)
	return out, nil
}

// waysOf are the leaves for whose rows PostgreSQL would use an index.
type waysOf struct {
	db     *hot.DB
	look   bool
	opts   Options
	leaves []*leafPlan
	scans  []hot.Scan
}

func (w *waysOf) add(l *leafPlan, s hot.Scan) {
	w.leaves, w.scans = append(w.leaves, l), append(w.scans, s)
}

func (w *waysOf) choose(ctx context.Context) error {
	if len(w.leaves) == 0 {
		return nil
	}
	blocks, err := w.db.Estimates(ctx, hot.ByBlocks, w.scans)
	if err != nil {
		return err
	}
	names := map[uint32]string{}
	tables := make([]*hot.Table, len(w.leaves))
	for i, l := range w.leaves {
		tables[i] = &l.part.Table
		names[l.part.Table.OID] = l.index
	}
	indexes, err := w.db.Indexes(ctx, w.db.Pool(), tables, names)
	if err != nil {
		return err
	}
	for i, l := range w.leaves {
		l.part.BlockCost = blocks[i].Cost
		if err := w.cut(ctx, l, w.scans[i], indexes[l.part.Table.OID]); err != nil {
			return err
		}
	}
	return nil
}

// cut cuts a leaf along an index, or leaves it in block ranges and says why.
func (w *waysOf) cut(ctx context.Context, l *leafPlan, s hot.Scan, x hot.Index) error {
	p := &l.part
	switch {
	case x.Name == "":
		p.Why = fmt.Sprintf("index %s is gone", l.index)
		return nil
	case p.Chunks <= 1: // all of it fits in a chunk: there is nothing to cut
		p.take(&keyCut{Index: x.Name}, p.Cost)
		return nil
	case x.Key == "":
		p.Why = fmt.Sprintf("rows cannot be cut in ranges along index %s", x.Name)
		return nil
	}
	step := p.rowsPerChunk(w.opts)
	cut := &keyCut{Index: x.Name, Key: x.Key, Type: x.Type}
	if w.look {
		p.take(cut, p.Cost)
		p.Chunks = int(min(1+*l.rows/step, jobstep.MaxChunks+1))
		return nil
	}
	var err error
	cut.Bounds, cut.Nulls, err = w.db.Bounds(ctx, w.db.Pool(), s, x, step, jobstep.MaxChunks+1)
	if errors.Is(err, hot.ErrUneven) {
		p.Why = fmt.Sprintf("too many rows have one value in index %s", x.Name)
		return nil
	}
	if err != nil {
		return err
	}
	return w.weigh(ctx, p, s, cut)
}

// sampledRanges is how many of the ranges are weighed. They stand for the others.
const sampledRanges = 16

// weigh compares what all ranges of an index cost together with what the blocks cost: where the rows of a range lie all over the
// table, each range reads much of it again.
func (w *waysOf) weigh(ctx context.Context, p *planPart, s hot.Scan, cut *keyCut) error {
	n := cut.chunks()
	var scans []hot.Scan
	for i := range min(n, sampledRanges) {
		r := cut.keyRange(i * n / min(n, sampledRanges))
		one := s
		if c := r.Condition(); c != "" {
			one.Predicate = joinAnd([]string{c, s.Predicate})
		}
		scans = append(scans, one)
	}
	found, err := w.db.Estimates(ctx, hot.ByIndex, scans)
	if err != nil {
		return err
	}
	cost := 0.0
	for _, e := range found {
		if e.Index == "" && !e.Empty {
			p.Why = fmt.Sprintf("index %s finds the rows, but not a range of them", cut.Index)
			return nil
		}
		cost += e.Cost * float64(n) / float64(len(found))
	}
	if cost >= p.BlockCost {
		p.Cost = cost
		p.Why = fmt.Sprintf("the %d ranges of index %s would cost more", n, cut.Index)
		return nil
	}
	p.take(cut, cost)
	return nil
}

// take cuts a leaf along an index.
func (p *planPart) take(cut *keyCut, cost float64) {
	p.Way, p.Keys, p.Cost, p.Chunks = WayIndex, cut, cost, cut.chunks()
	p.Why = "index " + cut.Index + " is cheaper"
}

// rowsPerChunk is how many rows fill chunk_bytes of heap, if they are of even size.
func (p *planPart) rowsPerChunk(opts Options) int64 {
	heap := float64(p.Table.Blocks) * float64(p.Table.BlockSize)
	return max(int64(float64(paced(&p.Table, opts))*float64(max(p.Table.RowsEstimate, 1))/max(heap, 1)), 1)
}

// keyCut is a leaf cut along an index. Its bounds are values of rows: they stay in the ledger.
type keyCut struct {
	Index  string
	Key    string   `json:",omitempty"` // "": one chunk has all rows
	Type   string   `json:",omitempty"`
	Bounds []string `json:",omitempty"` // the first value of each range but the first, which begins where the values do
	Nulls  bool     `json:",omitempty"` // the last chunk has the rows without a value
}

func (c *keyCut) chunks() int {
	n := 1
	if c.Key != "" {
		n += len(c.Bounds)
	}
	if c.Nulls {
		n++
	}
	return n
}

// keyRange is that of the n-th chunk. The first and the last are open-ended.
func (c *keyCut) keyRange(n int) *hot.KeyRange {
	r := &hot.KeyRange{Column: c.Key, Type: c.Type}
	if c.Nulls && n == c.chunks()-1 {
		r.Nulls = true
		return r
	}
	if n > 0 {
		r.From = &c.Bounds[n-1]
	}
	if n < len(c.Bounds) {
		r.To = &c.Bounds[n]
	}
	return r
}
