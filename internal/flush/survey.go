package flush

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
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
// *RefusedError, *option.Error, hot.ErrNoTable, or one that keeps it from looking: a job may fare better. nil is no promise:
// planning looks again, and at every partition.
func (s *Surveyor) Check(ctx context.Context, schema, table string, params map[string]string) error {
	opts, err := ParseOptions(params)
	if err != nil {
		return err
	}
	storage, err := s.findStorage(ctx, schema, table, opts)
	if err != nil && (opts.Storage != "" || !errors.Is(err, ledger.ErrNotFound)) { // the default one is there, or nothing would run
		return err
	}
	if err := mayLook(ctx, s.hot, schema, table, opts); err != nil {
		return err
	}
	if err := s.glance(ctx, schema, table, storage, opts); err != nil || !opts.wholes() {
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
func (s *Surveyor) glance(ctx context.Context, schema, table string, storage ledger.StorageRow, opts Options) error {
	return s.hot.Briefly(ctx, func(q hot.Querier) error {
		root, err := s.hot.Inspect(ctx, q, schema, table)
		if err != nil {
			return err
		}
		if err := refused(root, opts); err != nil {
			return err
		}
		if _, err := s.arrangement(ctx, q, storage, root, opts); err != nil {
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

// Arrangement is the layout of a flush, if it fits the table. PostgreSQL is asked whether rows can be sorted so. The error is
// *option.Error where the layout is to blame.
func (s *Surveyor) arrangement(ctx context.Context, q hot.Querier, storage ledger.StorageRow, t *hot.Table, opts Options) (*layout.Arrangement, error) {
	template, err := coldstore.PathOf(storage)
	if err != nil {
		return nil, err
	}
	arr, err := layout.Arrange(opts.Layout, template)
	if err != nil {
		return nil, err
	}
	schema, err := layout.SchemaOf(t, opts.AsText, opts.NullUnrepresent)
	if err != nil {
		return arr, nil // that is told where it is looked for
	}
	if err := arr.Check(t, schema); err != nil {
		return nil, err
	}
	m := &hot.Move{}
	if err := arr.SortOf(m, t); err != nil {
		return nil, err
	}
	if !m.Sorted() {
		return arr, nil
	}
	err = s.hot.CheckSort(ctx, q, t, m.Keys, m.Sort)
	if hot.SQLState(err) == "42883" {
		err = layout.OptionError("order_by", opts.Layout.OrderBy, err)
	}
	if err != nil && jobstep.ClassOf(err).Name == jobstep.ClassPrivilege { // a missing right is told where it is looked for
		err = nil
	}
	return arr, err
}

// unwritable says why no file can hold the rows of a leaf.
func unwritable(leaf *hot.Table, opts Options) error {
	if _, err := layout.SchemaOf(leaf, opts.AsText, opts.NullUnrepresent); err != nil {
		return &RefusedError{Table: leaf.Schema + "." + leaf.Name, Refusal: hot.Refusal{Code: "0A000", Msg: err.Error()}}
	}
	return nil
}

// Survey is what a flush would do, if it started now.
type Survey struct {
	Options  Options
	Limit    *hot.AgeLimit  // what OLDER THAN would mean
	Keep     *hot.KeepLimit // what keep_rows would
	Storage  string
	Location string // URL of the storage
	Path     string // the template of directories
	Sorted   bool   // PostgreSQL sorts the rows of each chunk
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
	PerChunk       int64  // files that a chunk may have, by PostgreSQL's estimate; 0: nobody can say
}

// Files is how many files to expect at most.
func (l *LeafSurvey) Files() int64 {
	switch files := int64(l.Chunks) * l.PerChunk; {
	case l.Rows == nil:
		return max(files, int64(l.Chunks))
	case l.PerChunk == 0:
		return *l.Rows
	default:
		return min(files, *l.Rows)
	}
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
	switch err := mayLook(ctx, s.hot, schema, table, opts); {
	case errors.As(err, &no):
		v.Refusals = append(v.Refusals, *no)
	case err != nil:
		return nil, err
	}
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
	arr, err := s.arrangement(ctx, s.hot.Pool(), storage, root, opts)
	if err != nil {
		return nil, err
	}
	doc := &planDoc{Schema: schema, Name: table, Options: opts, Path: arr.Template(), Asked: time.Now()}
	v.Path, v.Sorted = arr.Template(), arr.Sorted()
	if err := doc.settleAge(ctx, s.hot, time.Time{}, leaves); err != nil {
		return nil, err
	}
	v.Limit = doc.Limit
	if err := doc.settleKeep(ctx, s.hot, nil, root, leaves); err != nil && (jobstep.ClassOf(err).Name != jobstep.ClassPrivilege || len(v.Refusals) == 0) {
		return nil, err // a missing right is among the refusals
	}
	v.Keep = doc.Keep
	for _, leaf := range leaves {
		if leaf.OID != root.OID {
			v.refuse(leaf)
		}
	}
	if err := s.leaves(ctx, v, doc, arr, root, leaves); err != nil {
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
	reasons := refusals(t, v.Options)
	if !t.Partition {
		reasons = append(reasons, refuseUnparted(t, v.Options)...)
	}
	for _, r := range reasons {
		v.Refusals = append(v.Refusals, RefusedError{Table: name, Refusal: r})
	}
	var bad *RefusedError
	if t.RelKind == "r" && errors.As(unwritable(t, v.Options), &bad) {
		v.Refusals = append(v.Refusals, *bad)
	}
}

// leaves looks at all leaves, in a few statements.
func (s *Surveyor) leaves(ctx context.Context, v *Survey, doc *planDoc, arr *layout.Arrangement, root *hot.Table, leaves []*hot.Table) error {
	plans, err := planLeaves(ctx, s.hot, doc, arr, root, leaves, wholeAll, nil, true)
	if err != nil && jobstep.ClassOf(err).Name == jobstep.ClassPrivilege && len(v.Refusals) > 0 { // a missing right is among the refusals
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
		if one.PerChunk, err = s.perChunk(ctx, arr, &one); err != nil && jobstep.ClassOf(err).Name != jobstep.ClassPrivilege {
			return err
		}
		v.Leaves = append(v.Leaves, one)
	}
	return nil
}

// perChunk is how many files a chunk may have at most: one for each value of partition_by that PostgreSQL expects, and as many
// as file_bytes cuts.
func (s *Surveyor) perChunk(ctx context.Context, arr *layout.Arrangement, l *LeafSurvey) (int64, error) {
	files := int64(1)
	var plain []string
	for _, it := range arr.Partition {
		if it.Unit == "" {
			plain = append(plain, hot.ReturningText(it.Column))
			continue
		}
		n, ok, err := s.hot.EstimateUnits(ctx, s.hot.Pool(), &l.Table, it.Column, it.Unit)
		if err != nil || !ok {
			return 0, err
		}
		files *= n
	}
	if len(plain) > 0 {
		n, err := s.hot.EstimateGroups(ctx, s.hot.Pool(), &l.Table, l.Predicate, plain)
		if err != nil {
			return 0, err
		}
		files *= max(n, 1)
	}
	if most := arr.Layout.FileBytes; most > 0 {
		files += int64(l.BlocksPerChunk) * int64(l.Table.BlockSize) / most
	}
	return files, nil
}
