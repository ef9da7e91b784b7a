package flush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/segment"
)

// maxChunks bounds a generation, so that chunk numbers stay numbers that a person can read.
const maxChunks = 1_000_000

// planDoc is one generation of a plan as the ledger keeps it.
type planDoc struct {
	Schema  string // of the root table
	Name    string
	Options Options
	Limit   *hot.AgeLimit `json:",omitempty"` // what OLDER THAN means for this job
	Storage string
	Space   *hot.Space `json:",omitempty"` // of the leaves, when this generation was made
	Parts   []planPart
	Restore *restorePlan `json:",omitempty"` // of a job that puts rows back, which has no parts
}

// planPart is one leaf: the table itself, or a partition of it.
type planPart struct {
	Table          hot.Table
	Dir            string // directory of its segments
	SchemaVersion  int
	BlocksPerChunk uint32
	Chunks         int
}

// loadedPlan is the plan as one chunk sees it.
type loadedPlan struct {
	doc    *planDoc
	part   *planPart
	schema *segment.Schema
	first  uint32 // first block
	end    uint32 // block after the last; 0: to the end of the leaf
}

// Plan makes a generation of a job's plan, or returns the one that is stored: calling it again changes nothing. It claims
// the table for the job, refuses what cannot be flushed safely, and cuts each leaf in block ranges.
func (f *Flusher) Plan(ctx context.Context, in PlanInput) (PlanResult, error) {
	res, err := f.plan(ctx, in)
	if err != nil {
		f.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (f *Flusher) plan(ctx context.Context, in PlanInput) (PlanResult, error) {
	req, err := f.planRequest(ctx, in)
	if err != nil {
		return PlanResult{}, err
	}
	opts, err := ParseOptions(req.Params)
	if err != nil {
		return PlanResult{}, classified(ClassInvalid, err)
	}
	if err := f.claim(ctx, req, in); err != nil {
		return PlanResult{}, err
	}
	doc, rows, err := f.draw(ctx, req, opts)
	if err != nil {
		return PlanResult{}, err
	}
	res, err := f.storePlan(ctx, in, req, doc, ledger.PlanRow{Chunks: doc.chunks(), RowsEstimate: rows}, opts.Parallelism)
	if err != nil {
		return PlanResult{}, err
	}
	return res, f.ledger.RegisterTable(ctx, req.Schema, req.Table)
}

// planRequest reads what a plan is asked for.
func (f *Flusher) planRequest(ctx context.Context, in PlanInput) (ledger.Request, error) {
	reqID, err := uuid.Parse(in.RequestID)
	if err != nil {
		return ledger.Request{}, classified(ClassInvalid, fmt.Errorf("malformed request id %q", in.RequestID))
	}
	return f.ledger.Request(ctx, reqID)
}

// storePlan stores a generation whose chunks and rows are counted, or returns the one that is stored.
func (f *Flusher) storePlan(ctx context.Context, in PlanInput, req ledger.Request, doc *planDoc, row ledger.PlanRow, parallelism int) (PlanResult, error) {
	first, err := f.firstChunk(ctx, in)
	if err != nil {
		return PlanResult{}, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return PlanResult{}, fmt.Errorf("write plan: %w", err)
	}
	row.JobID, row.Generation, row.RequestID, row.FirstChunk, row.Plan = in.JobID, in.Generation, req.ID, first, text
	stored, err := f.ledger.PutPlan(ctx, row)
	if err != nil {
		return PlanResult{}, err
	}
	return PlanResult{
		Generation: stored.Generation, FirstChunk: stored.FirstChunk, Chunks: stored.Chunks, RowsEstimate: stored.RowsEstimate, Parallelism: parallelism,
	}, nil
}

// firstChunk is the number after the last of all earlier generations. If this generation is stored already, its own number
// stands, for PutPlan changes nothing then.
func (f *Flusher) firstChunk(ctx context.Context, in PlanInput) (int, error) {
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
func (f *Flusher) draw(ctx context.Context, req ledger.Request, opts Options) (*planDoc, int64, error) {
	root, err := f.hot.Inspect(ctx, f.hot.Pool(), req.Schema, req.Table)
	if err != nil {
		return nil, 0, err
	}
	_, storage, err := f.stores.Store(ctx, opts.Storage)
	if err != nil {
		return nil, 0, err
	}
	doc := &planDoc{Schema: root.Schema, Name: root.Name, Options: opts, Storage: storage}
	if err := refused(root, opts); err != nil {
		return nil, 0, err
	}
	leaves, err := leavesOf(ctx, f.hot, root)
	if err != nil {
		return nil, 0, err
	}
	if err := doc.settleAge(ctx, f.hot, req.CreatedAt, leaves); err != nil {
		return nil, 0, err
	}
	var rows int64
	for _, leaf := range leaves {
		if err := refused(leaf, opts); err != nil {
			return nil, 0, err
		}
		part, err := f.drawPart(ctx, root, leaf, opts)
		if err != nil {
			return nil, 0, err
		}
		doc.Parts = append(doc.Parts, part)
		e, err := doc.estimate(ctx, f.hot, leaf)
		if err != nil {
			return nil, 0, err
		}
		rows += e.Rows
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

func tooMany(schema, name string, chunks int) error {
	if chunks <= maxChunks {
		return nil
	}
	return classified(ClassInvalid, fmt.Errorf("%s.%s would be cut in %d chunks, at most %d are possible: set a larger chunk_bytes", schema, name, chunks, maxChunks))
}

// estimate is how many rows of a leaf the flush will move. With a predicate, PostgreSQL's planner knows best.
func (d *planDoc) estimate(ctx context.Context, db *hot.DB, leaf *hot.Table) (hot.Estimate, error) {
	where := d.predicate(leaf)
	if where == "" || leaf.Blocks == 0 {
		return hot.Estimate{Rows: leaf.RowsEstimate}, nil
	}
	return db.EstimateMatching(ctx, db.Pool(), leaf.Schema, leaf.Name, where)
}

// oids are those of the leaves.
func (d *planDoc) oids() []uint32 {
	out := make([]uint32, len(d.Parts))
	for i := range d.Parts {
		out[i] = d.Parts[i].Table.OID
	}
	return out
}

// leavesOf returns the tables that hold rows: root itself, or its partitions.
func leavesOf(ctx context.Context, db *hot.DB, root *hot.Table) ([]*hot.Table, error) {
	if !root.Partitioned() {
		return []*hot.Table{root}, nil
	}
	var out []*hot.Table
	for _, l := range root.Leaves {
		leaf, err := db.Inspect(ctx, db.Pool(), l.Schema, l.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, leaf)
	}
	return out, nil
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
	refusals := t.Refusals(opts.consequences())
	if len(refusals) == 0 {
		return nil
	}
	class := ClassRefused
	if refusals[0].Code == "42501" {
		class = ClassPrivilege
	}
	return classified(class, &RefusedError{Table: t.Schema + "." + t.Name, Refusal: refusals[0]})
}

// drawPart cuts one leaf and settles under which version of its columns its rows go cold.
func (f *Flusher) drawPart(ctx context.Context, root, leaf *hot.Table, opts Options) (planPart, error) {
	schema, err := schemaOf(leaf, opts)
	if err != nil {
		return planPart{}, classified(ClassRefused, fmt.Errorf("table %s.%s: %w", leaf.Schema, leaf.Name, err))
	}
	columns, err := schema.ColumnsJSON()
	if err != nil {
		return planPart{}, fmt.Errorf("write columns: %w", err)
	}
	version, err := f.ledger.EnsureSchemaVersion(ctx, f.hot.Pool(), root.Schema, root.Name, columns)
	if err != nil {
		return planPart{}, err
	}
	part, err := cutLeaf(root, leaf, opts)
	part.SchemaVersion = version
	return part, err
}

// cutLeaf cuts one leaf in block ranges and settles where its segments go.
func cutLeaf(root, leaf *hot.Table, opts Options) (planPart, error) {
	partition := ""
	if leaf.OID != root.OID {
		partition = leaf.Name
		if leaf.Schema != root.Schema {
			partition = leaf.Schema + "." + leaf.Name
		}
	}
	dir, err := ExpandPath(DefaultPath, map[string]string{"namespace": root.Schema, "table": root.Name, "partition": partition})
	if err != nil {
		return planPart{}, classified(ClassInvalid, err)
	}
	per, chunks := hot.Cut(leaf.Blocks, leaf.BlockSize, opts.ChunkBytes, opts.Parallelism)
	return planPart{Table: *leaf, Dir: dir, BlocksPerChunk: per, Chunks: chunks}, nil
}

// schemaOf is how a leaf's rows look as Parquet. Without a primary key the rows bring their ctid, so that an error can
// name one.
func schemaOf(t *hot.Table, opts Options) (*segment.Schema, error) {
	if len(t.Columns) == 0 {
		return nil, errors.New("a table without columns cannot be written to Parquet")
	}
	key := map[string]bool{}
	for _, name := range t.PrimaryKey {
		key[name] = true
	}
	cols := make([]segment.Column, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = segmentColumn(c, key[c.Name])
	}
	o := &segment.SchemaOptions{CheckUTF8: t.Encoding == "SQL_ASCII", RowID: len(t.PrimaryKey) == 0, OnUnrepresentable: "error"}
	if opts.NullUnrepresent {
		o.OnUnrepresentable = "null"
	}
	return segment.NewSchema(cols, o)
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
		schema, err := schemaOf(&part.Table, doc.Options)
		if err != nil {
			return nil, classified(ClassInternal, err)
		}
		lp := &loadedPlan{doc: doc, part: part, schema: schema, first: uint32(n) * part.BlocksPerChunk}
		if n < part.Chunks-1 {
			lp.end = lp.first + part.BlocksPerChunk
		}
		return lp, nil
	}
	return nil, classified(ClassInternal, fmt.Errorf("chunk %d is not in the plan of %s", chunk, jobID))
}

func readPlan(row ledger.PlanRow) (*planDoc, error) {
	doc := &planDoc{}
	if err := json.Unmarshal(row.Plan, doc); err != nil {
		return nil, classified(ClassInternal, fmt.Errorf("read plan of %s: %w", row.JobID, err))
	}
	return doc, nil
}

// move is the chunk's range, columns and predicate.
func (p *loadedPlan) move(skipLocked bool) *hot.Move {
	cols := p.schema.Columns()
	m := &hot.Move{Schema: p.part.Table.Schema, Table: p.part.Table.Name, First: p.first, End: p.end, SkipLocked: skipLocked, Predicate: p.doc.predicate(&p.part.Table)}
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
	return m
}
