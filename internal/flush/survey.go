package flush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// maxSuspects bounds how many partitions Check looks at. Planning looks at all.
const maxSuspects = 8

// Surveyor looks at tables as a flush would and touches nothing. It needs no storage, so it works where no worker does.
type Surveyor struct {
	hot    *hot.DB
	ledger *ledger.Ledger
}

// NewSurveyor makes a Surveyor.
func NewSurveyor(db *hot.DB, l *ledger.Ledger) *Surveyor { return &Surveyor{hot: db, ledger: l} }

// Check says, by a few catalog queries, why a flush cannot be run, so that no job need find out. The error is
// *RefusedError, *OptionError, hot.ErrNoTable, or one that keeps it from looking: a job may fare better. nil is no promise:
// planning looks again, and at every partition.
func (s *Surveyor) Check(ctx context.Context, schema, table string, params map[string]string) error {
	opts, err := ParseOptions(params)
	if err != nil {
		return err
	}
	if opts.Storage != "" { // the default one is there, or nothing would run
		if _, err := s.findStorage(ctx, schema, table, opts); err != nil {
			return err
		}
	}
	if err := s.glance(ctx, schema, table, opts); err != nil || !opts.wholes() {
		return err
	}
	// Which partitions are taken whole, and may be, takes a whole look.
	v, err := s.Survey(ctx, schema, table, params)
	if err != nil || len(v.Refusals) == 0 {
		return err
	}
	return &v.Refusals[0]
}

// glance looks at what a few catalog queries show.
func (s *Surveyor) glance(ctx context.Context, schema, table string, opts Options) error {
	return s.hot.Briefly(ctx, func(q hot.Querier) error {
		root, err := s.hot.Inspect(ctx, q, schema, table)
		if err != nil {
			return err
		}
		if err := refused(root, opts); err != nil {
			return err
		}
		if err := refusedFor(root, refuseUnparted(root, opts)); err != nil {
			return err
		}
		if !root.Partitioned() {
			return unwritable(root, opts)
		}
		suspects, err := s.hot.Suspects(ctx, q, root, maxSuspects)
		if err != nil {
			return err
		}
		leaves, err := s.hot.InspectAll(ctx, q, suspects)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if leaf == nil {
				continue // dropped meanwhile
			}
			if err := refused(leaf, opts); err != nil {
				return err
			}
		}
		return nil
	})
}

// findStorage finds the storage that a flush names; "" is the default one.
func (s *Surveyor) findStorage(ctx context.Context, schema, table string, opts Options) (ledger.StorageRow, error) {
	row, err := s.ledger.Storage(ctx, opts.Storage)
	if errors.Is(err, ledger.ErrNotFound) && opts.Storage != "" {
		err = &RefusedError{Table: schema + "." + table, Refusal: hot.Refusal{
			Code: "42704", Msg: fmt.Sprintf("storage %q does not exist", opts.Storage), Hint: "Leave the option out for the default storage."}}
	}
	return row, err
}

// unwritable says why no file can hold the rows of a leaf.
func unwritable(leaf *hot.Table, opts Options) error {
	if _, err := schemaOf(leaf, opts); err != nil {
		return &RefusedError{Table: leaf.Schema + "." + leaf.Name, Refusal: hot.Refusal{Code: "0A000", Msg: err.Error()}}
	}
	return nil
}

// Survey is what a flush would do, if it started now.
type Survey struct {
	Options  Options
	Limit    *hot.AgeLimit // what OLDER THAN would mean
	Storage  string
	Location string // URL of the storage
	Refusals []RefusedError
	Leaves   []LeafSurvey
}

// LeafSurvey is the part of one leaf: the table itself, or a partition.
type LeafSurvey struct {
	Table          hot.Table
	Predicate      string
	Rows           *int64 // to be moved, by PostgreSQL's estimate; nil if it may not be asked
	Scan, Index    string // how PostgreSQL would look for them
	Bytes          int64  // of the leaf, with indexes and TOAST
	Way            Way
	Why            string
	Key            string  // the column along which an index is cut, or ""
	Cost           float64 // of the index, by PostgreSQL's estimate
	BlockCost      float64 // of the blocks, where an index was thought of
	Chunks         int     // with WayIndex an estimate
	Vacuum         bool    // when its rows have moved
	VacuumDenied   bool    // it would be, but for a right
	BlocksPerChunk uint32
	Dir            string // within the storage
}

// Files is how many files to expect: one for each chunk that has a row.
func (l *LeafSurvey) Files() int64 {
	if l.Rows == nil {
		return int64(l.Chunks)
	}
	return min(int64(l.Chunks), *l.Rows)
}

// Survey looks at a table and all its partitions. What stands in the way is told in Refusals and is no error.
func (s *Surveyor) Survey(ctx context.Context, schema, table string, params map[string]string) (*Survey, error) {
	opts, err := ParseOptions(params)
	if err != nil {
		return nil, err
	}
	v := &Survey{Options: opts}
	storage, err := s.findStorage(ctx, schema, table, opts)
	var no *RefusedError
	switch {
	case errors.As(err, &no):
		v.Refusals = append(v.Refusals, *no)
	case err != nil:
		return nil, err
	}
	v.Storage, v.Location = storage.Name, storage.Location
	root, err := s.hot.Inspect(ctx, s.hot.Pool(), schema, table)
	if err != nil {
		return nil, err
	}
	v.refuse(root)
	if root.RelKind != "r" && root.RelKind != "p" {
		return v, nil
	}
	leaves, err := leavesOf(ctx, s.hot, root)
	if err != nil {
		return nil, err
	}
	doc := &planDoc{Schema: schema, Name: table, Options: opts}
	if err := doc.settleAge(ctx, s.hot, time.Time{}, leaves); err != nil {
		return nil, err
	}
	v.Limit = doc.Limit
	for _, leaf := range leaves {
		if leaf.OID != root.OID {
			v.refuse(leaf)
		}
	}
	if err := s.leaves(ctx, v, doc, root, leaves); err != nil {
		return nil, err
	}
	if err := tooMany(schema, table, v.chunks()); err != nil {
		v.Refusals = append(v.Refusals, RefusedError{Table: schema + "." + table, Refusal: hot.Refusal{Code: "54000", Msg: err.Error()}})
	}
	return v, nil
}

func (v *Survey) chunks() (n int) {
	for i := range v.Leaves {
		n += v.Leaves[i].Chunks
	}
	return n
}

// refuse notes every reason to leave a table alone.
func (v *Survey) refuse(t *hot.Table) {
	name := t.Schema + "." + t.Name
	refusals := t.Refusals(v.Options.consequences())
	if !t.Partition {
		refusals = append(refusals, refuseUnparted(t, v.Options)...)
	}
	for _, r := range refusals {
		v.Refusals = append(v.Refusals, RefusedError{Table: name, Refusal: r})
	}
	var bad *RefusedError
	if t.RelKind == "r" && errors.As(unwritable(t, v.Options), &bad) {
		v.Refusals = append(v.Refusals, *bad)
	}
}

// leaves looks at all leaves, in a few statements.
func (s *Surveyor) leaves(ctx context.Context, v *Survey, doc *planDoc, root *hot.Table, leaves []*hot.Table) error {
	plans, err := planLeaves(ctx, s.hot, doc, root, leaves, wholeAll, true)
	if err != nil && ClassOf(err).Name == ClassPrivilege && len(v.Refusals) > 0 { // a missing right is among the refusals
		return nil
	}
	if err != nil {
		return err
	}
	oids := make([]uint32, len(leaves))
	for i, leaf := range leaves {
		oids[i] = leaf.OID
	}
	sizes, err := s.hot.Sizes(ctx, oids)
	if err != nil {
		return err
	}
	for _, l := range plans {
		p := &l.part
		for _, r := range p.refuseWhole(&p.Table) {
			v.Refusals = append(v.Refusals, RefusedError{Table: p.leafName(), Refusal: r})
		}
		one := LeafSurvey{Table: p.Table, Predicate: doc.predicate(&p.Table), Rows: l.rows, Scan: l.scan, Index: l.index, Bytes: sizes[p.Table.OID],
			Way: p.Way, Why: p.Why, Cost: p.Cost, BlockCost: p.BlockCost, Chunks: p.Chunks, Vacuum: p.Vacuum, VacuumDenied: p.VacuumDenied, BlocksPerChunk: p.BlocksPerChunk, Dir: p.Dir}
		if p.Keys != nil {
			one.Key = p.Keys.Key
		}
		v.Leaves = append(v.Leaves, one)
	}
	return nil
}
