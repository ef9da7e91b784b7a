package flush

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/segment"
)

// planDoc is one generation of a plan as the ledger keeps it.
type planDoc struct {
	Schema  string // of the root table
	Name    string
	Options Options
	Limit   *hot.AgeLimit  `json:",omitempty"` // what OLDER THAN means for this job
	Keep    *hot.KeepLimit `json:",omitempty"` // what keep_rows means for this job
	Storage string
	Path    string     // the template of directories
	Asked   time.Time  // when the job was asked for
	Space   *hot.Space `json:",omitempty"` // of the leaves, when this generation was made
	Parts   []planPart
	NoWhole bool         `json:",omitempty"` // it is about what was left after a flush, and so are later ones
	Restore *restorePlan `json:",omitempty"` // of a job that puts rows back, which has no parts
}

// planPart is one leaf: the table itself, or a partition of it.
type planPart struct {
	Table          hot.Table
	Partition      string // its name below the root, or ""
	Dir            string // directory of its segments, for people
	SchemaVersion  int
	Way            Way
	Why            string `json:",omitempty"` // in words that name no value
	FirstBlock     uint32 `json:",omitempty"` // what lies before is done
	BlocksPerChunk uint32
	Keys           *keyCut `json:",omitempty"` // with WayIndex
	Chunks         int
	Vacuum         bool    `json:",omitempty"` // when its rows have moved
	VacuumDenied   bool    `json:",omitempty"` // it would be, but for a right
	Cost           float64 `json:",omitempty"` // of the index, by PostgreSQL's estimate
	BlockCost      float64 `json:",omitempty"` // of the blocks, where an index was thought of
}

// loadedPlan is the plan as one chunk sees it.
type loadedPlan struct {
	doc         *planDoc
	part        *planPart
	schema      *segment.Schema
	arrangement *layout.Arrangement
	first       uint32        // first block
	end         uint32        // block after the last; 0: to the end of the leaf
	keys        *hot.KeyRange // with WayIndex, in place of blocks
}

// Plan makes a generation of a job's plan, or returns the one that is stored: calling it again changes nothing. It claims
// the table for the job, refuses what cannot be flushed safely, and cuts each leaf.
func (f *Flusher) Plan(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	scope, err := f.wholeScope(ctx, in)
	var res jobstep.PlanResult
	if err == nil {
		res, err = f.plan(ctx, in, scope)
	}
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (f *Flusher) plan(ctx context.Context, in jobstep.PlanInput, scope wholeScope) (jobstep.PlanResult, error) {
	req, err := f.planRequest(ctx, in)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	opts, err := ParseOptions(req.Params)
	if err != nil {
		return jobstep.PlanResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	if err := f.claim(ctx, req, in); err != nil {
		return jobstep.PlanResult{}, err
	}
	most := opts.ChunkBytes
	if in.ChunkBytes > 0 {
		opts.ChunkBytes = min(in.ChunkBytes, most)
	}
	if err := f.mayLook(ctx, req.Schema, req.Table, opts); err != nil {
		return jobstep.PlanResult{}, err
	}
	from, err := f.startOf(ctx, in)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	kept, err := f.keptBefore(ctx, in, opts)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	doc, rows, err := f.draw(ctx, req, opts, scope, from, kept)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	res, doc, err := f.storePlan(ctx, in, req, doc, ledger.PlanRow{Chunks: doc.chunks(), RowsEstimate: rows})
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	res.Parallelism, res.Vacuum, res.Manners = doc.lanes(), doc.vacuums(), doc.manners(most)
	return res, f.ledger.RegisterTable(ctx, req.Schema, req.Table)
}

// planRequest reads what a plan is asked for.
func (f *Flusher) planRequest(ctx context.Context, in jobstep.PlanInput) (ledger.Request, error) {
	reqID, err := uuid.Parse(in.RequestID)
	if err != nil {
		return ledger.Request{}, jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("malformed request id %q", in.RequestID))
	}
	return f.ledger.Request(ctx, reqID)
}

// storePlan stores a generation whose chunks and rows are counted, or returns the one that is stored.
func (f *Flusher) storePlan(ctx context.Context, in jobstep.PlanInput, req ledger.Request, doc *planDoc, row ledger.PlanRow) (jobstep.PlanResult, *planDoc, error) {
	first, err := f.firstChunk(ctx, in)
	if err != nil {
		return jobstep.PlanResult{}, nil, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return jobstep.PlanResult{}, nil, fmt.Errorf("write plan: %w", err)
	}
	row.JobID, row.Generation, row.RequestID, row.FirstChunk, row.Plan = in.JobID, in.Generation, req.ID, first, text
	stored, err := jobstep.PutPlan(ctx, f.ledger, row)
	if err != nil {
		return jobstep.PlanResult{}, nil, err
	}
	if doc, err = readPlan(stored); err != nil { // another one may have been first
		return jobstep.PlanResult{}, nil, err
	}
	return jobstep.PlanResult{
		Generation: stored.Generation, FirstChunk: stored.FirstChunk, Chunks: stored.Chunks, RowsEstimate: stored.RowsEstimate,
	}, doc, nil
}

// firstChunk is the number after the last of all earlier generations. If this generation is stored already, its own number
// stands, for PutPlan changes nothing then.
func (f *Flusher) firstChunk(ctx context.Context, in jobstep.PlanInput) (int, error) {
	if in.Generation <= 1 {
		return 0, nil
	}
	last, err := f.ledger.LastPlan(ctx, in.JobID)
	if err != nil {
		return 0, err
	}
	return last.FirstChunk + last.Chunks, nil
}

func (d *planDoc) chunks() (n int) {
	for i := range d.Parts {
		n += d.Parts[i].Chunks
	}
	return n
}

// draw looks at the table and cuts it.
func (f *Flusher) draw(ctx context.Context, req ledger.Request, opts Options, scope wholeScope, from starts, kept *hot.KeepLimit) (*planDoc, int64, error) {
	root, err := f.hot.Inspect(ctx, f.hot.Pool(), req.Schema, req.Table)
	if err != nil {
		return nil, 0, err
	}
	_, storage, err := f.stores.Store(ctx, opts.Storage)
	if err != nil {
		return nil, 0, err
	}
	arr, err := f.arrangement(ctx, storage, opts)
	if err != nil {
		return nil, 0, err
	}
	doc := &planDoc{Schema: root.Schema, Name: root.Name, Options: opts, Storage: storage, Path: arr.Template(), Asked: req.CreatedAt, NoWhole: scope == wholeNever}
	if err := refused(root, opts); err != nil {
		return nil, 0, err
	}
	if err := refusedFor(root, refuseUnparted(root, opts)); err != nil {
		return nil, 0, err
	}
	leaves, err := leavesOf(ctx, f.hot, root)
	if err != nil {
		return nil, 0, err
	}
	if err := doc.settleAge(ctx, f.hot, req.CreatedAt, leaves); err != nil {
		return nil, 0, err
	}
	if err := doc.settleKeep(ctx, f.hot, kept, root, leaves); err != nil {
		return nil, 0, err
	}
	for _, leaf := range leaves {
		if err := refused(leaf, opts); err != nil {
			return nil, 0, err
		}
	}
	plans, err := planLeaves(ctx, f.hot, doc, arr, root, leaves, scope, from, false)
	if err != nil {
		return nil, 0, err
	}
	versions := schemaVersions{f: f, root: root, known: map[string]int{}}
	var rows int64
	for _, l := range plans {
		if err := refusedFor(&l.part.Table, l.part.refuseWhole(&l.part.Table)); err != nil {
			return nil, 0, err
		}
		if l.part.SchemaVersion, err = versions.of(ctx, &l.part.Table, opts, arr); err != nil {
			return nil, 0, err
		}
		doc.Parts = append(doc.Parts, l.part)
		rows += l.part.rest(*l.rows)
	}
	if err := tooMany(doc.Schema, doc.Name, doc.chunks()); err != nil {
		return nil, 0, err
	}
	space, err := f.hot.Space(ctx, doc.oids())
	if err != nil {
		return nil, 0, err
	}
	doc.Space = &space
	return doc, rows, nil
}

// refusals are the reasons not to flush a table with these options.
func refusals(t *hot.Table, opts Options) []hot.Refusal {
	out := t.Refusals(opts.consequences())
	for _, name := range opts.AsText {
		if !slices.ContainsFunc(t.Columns, func(c hot.Column) bool { return c.Name == name }) {
			out = append(out, hot.Refusal{Code: "42703", Msg: fmt.Sprintf("the option as_text names a column %q, which it does not have", name)})
		}
	}
	return out
}

func tooMany(schema, name string, chunks int) error {
	if chunks <= jobstep.MaxChunks {
		return nil
	}
	return jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("%s.%s would be cut in %d chunks, at most %d are possible: set a larger chunk_bytes", schema, name, chunks, jobstep.MaxChunks))
}

// oids are those of the leaves.
func (d *planDoc) oids() []uint32 {
	out := make([]uint32, len(d.Parts))
	for i := range d.Parts {
		out[i] = d.Parts[i].Table.OID
	}
	return out
}

// leavesOf returns the tables that hold rows: root itself, or its partitions. One that was dropped a moment ago has none.
func leavesOf(ctx context.Context, db *hot.DB, root *hot.Table) ([]*hot.Table, error) {
	if !root.Partitioned() {
		return []*hot.Table{root}, nil
	}
	found, err := db.InspectAll(ctx, db.Pool(), root.Leaves)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(t *hot.Table) bool { return t == nil }), nil
}

// RefusedError is a table that cannot be flushed or restored, and what to do about it.
type RefusedError struct {
	Table   string
	Refusal hot.Refusal
	Restore bool // it is a restore that the table cannot have
}

func (e *RefusedError) Error() string {
	what := "flushed"
	if e.Restore {
		what = "restored"
	}
	text := "table " + e.Table + " cannot be " + what + ": " + e.Refusal.Msg
	if e.Refusal.Hint != "" {
		text += "; " + e.Refusal.Hint
	}
	return text
}

func (o Options) consequences() hot.RefusalOptions {
	return hot.RefusalOptions{FireTriggers: o.FireTriggers, Replicate: o.Replicate, SkipReferenced: o.SkipReferenced}
}

func refused(t *hot.Table, opts Options) error {
	return refusedFor(t, refusals(t, opts))
}

// refusedFor is the first of the reasons as an error, or nil.
func refusedFor(t *hot.Table, reasons []hot.Refusal) error {
	if len(reasons) == 0 {
		return nil
	}
	class := jobstep.ClassRefused
	if reasons[0].Code == "42501" {
		class = jobstep.ClassPrivilege
	}
	return jobstep.Classified(class, &RefusedError{Table: t.Schema + "." + t.Name, Refusal: reasons[0]})
}

// schemaVersions settles under which version of its columns the rows of a leaf go cold. Leaves that look the same are asked for once.
type schemaVersions struct {
	f     *Flusher
	root  *hot.Table
	known map[string]int
}

func (v *schemaVersions) of(ctx context.Context, leaf *hot.Table, opts Options, arr *layout.Arrangement) (int, error) {
	schema, err := layout.SchemaOf(leaf, opts.AsText, opts.NullUnrepresent)
	if err != nil {
		return 0, jobstep.Classified(jobstep.ClassRefused, fmt.Errorf("table %s.%s: %w", leaf.Schema, leaf.Name, err))
	}
	if err := arr.Check(leaf, schema); err != nil {
		return 0, jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("table %s.%s: %w", leaf.Schema, leaf.Name, err))
	}
	columns, err := schema.ColumnsJSON()
	if err != nil {
		return 0, fmt.Errorf("write columns: %w", err)
	}
	if n, ok := v.known[string(columns)]; ok {
		return n, nil
	}
	n, err := v.f.ledger.EnsureSchemaVersion(ctx, v.f.hot.Pool(), v.root.Schema, v.root.Name, columns)
	if err == nil {
		v.known[string(columns)] = n
	}
	return n, err
}

// cutLeaf cuts one leaf in block ranges, from a block on, and settles where its segments go.
func cutLeaf(doc *planDoc, arr *layout.Arrangement, root, leaf *hot.Table, first uint32) (planPart, error) {
	per, chunks := hot.Cut(leaf.Blocks-min(first, leaf.Blocks), leaf.BlockSize, paced(leaf, doc.Options), doc.Options.Parallelism)
	part := planPart{Table: *leaf, Way: WayBlocks, FirstBlock: first, BlocksPerChunk: per, Chunks: chunks}
	if leaf.OID != root.OID {
		if part.Partition = leaf.Name; leaf.Schema != root.Schema {
			part.Partition = leaf.Schema + "." + leaf.Name
		}
	}
	var err error
	if part.Dir, err = arr.DirForPeople(doc.place(&part, "")); err != nil {
		return planPart{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	return part, nil
}

// Place is where a part's files lie, as far as it does not depend on their rows.
func (d *planDoc) place(p *planPart, job string) layout.Place {
	return layout.Place{Namespace: d.Schema, Table: d.Name, Leaf: p.Partition, Job: job, Asked: d.Asked}
}

// Arrangement is the layout of a flush whose files go to a storage.
func (f *Flusher) arrangement(ctx context.Context, storage string, opts Options) (*layout.Arrangement, error) {
	row, err := f.ledger.Storage(ctx, storage)
	if err != nil {
		return nil, err
	}
	template, err := coldstore.PathOf(row)
	if err != nil {
		return nil, err
	}
	arr, err := layout.Arrange(opts.Layout, template)
	return arr, jobstep.Classified(jobstep.ClassInvalid, err)
}

// loadPlan finds the generation that has a chunk, and the chunk's range in it.
func (f *Flusher) loadPlan(ctx context.Context, jobID string, chunk int) (*loadedPlan, error) {
	doc, firstChunk, err := f.generation(ctx, jobID, chunk)
	if err != nil {
		return nil, err
	}
	n := chunk - firstChunk
	for i := range doc.Parts {
		part := &doc.Parts[i]
		if n >= part.Chunks {
			n -= part.Chunks
			continue
		}
		schema, err := layout.SchemaOf(&part.Table, doc.Options.AsText, doc.Options.NullUnrepresent)
		if err != nil {
			return nil, jobstep.Classified(jobstep.ClassInternal, err)
		}
		arr, err := layout.Arrange(doc.Options.Layout, doc.Path)
		if err != nil {
			return nil, jobstep.Classified(jobstep.ClassInternal, err)
		}
		lp := &loadedPlan{doc: doc, part: part, schema: schema, arrangement: arr}
		lp.cover(n)
		return lp, nil
	}
	return nil, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("chunk %d is not in the plan of %s", chunk, jobID))
}

// cover sets which rows the n-th chunk of the leaf covers.
func (p *loadedPlan) cover(n int) {
	if p.part.Keys != nil {
		p.keys = p.part.Keys.keyRange(n)
		return
	}
	p.first = p.part.FirstBlock + uint32(n)*p.part.BlocksPerChunk
	if n < p.part.Chunks-1 {
		p.end = p.first + p.part.BlocksPerChunk
	}
}

func readPlan(row ledger.PlanRow) (*planDoc, error) {
	doc := &planDoc{}
	if err := json.Unmarshal(row.Plan, doc); err != nil {
		return nil, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("read plan of %s: %w", row.JobID, err))
	}
	return doc, nil
}

// move is the chunk's range, columns and predicate.
func (p *loadedPlan) move(skipLocked bool) (*hot.Move, error) {
	cols := p.schema.Columns()
	m := &hot.Move{Schema: p.part.Table.Schema, Table: p.part.Table.Name, First: p.first, End: p.end, Range: p.keys, Whole: p.part.wholeMove(), SkipLocked: skipLocked, Predicate: p.doc.predicate(&p.part.Table)}
	for i, c := range cols {
		if p.schema.AsText(i) {
			m.Columns = append(m.Columns, hot.ReturningText(c.Name))
		} else {
			m.Columns = append(m.Columns, hot.ReturningColumn(c.Name))
		}
	}
	if len(p.part.Table.PrimaryKey) == 0 {
		m.Columns = append(m.Columns, "ctid")
	}
	return m, p.arrangement.SortOf(m, &p.part.Table)
}
