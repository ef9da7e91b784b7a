package upkeep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/option"
)

// Bounds of one chunk of a VERIFY job: what a killed worker reads once more.
const (
	verifySegments = 16
	verifyBytes    = 256 << 20
)

// verifyDoc is the plan of a VERIFY job. Segments that are registered while it runs are not its own.
type verifyDoc struct {
	Schema, Name string
	Parallelism  int
	Chunks       []verifyChunk
}

// verifyChunk is a range of segment ids, ends included, and what was live in it.
type verifyChunk struct {
	From, To uuid.UUID
	Segments int
	Rows     int64
	Bytes    int64
}

// verifyParallelism reads the one option of VERIFY: how many chunks are read at once.
func verifyParallelism(params map[string]string) (int, error) {
	parallel := jobstep.DefaultParallelism
	for name, value := range params {
		if name != "parallelism" {
			return 0, &option.Error{Option: name, Msg: fmt.Sprintf("unknown option %q of VERIFY", name), Hint: "the option is parallelism"}
		}
		n, err := option.Int(value, 1, jobstep.MaxParallelism)
		if err != nil {
			return 0, &option.Error{Option: name, Msg: fmt.Sprintf("invalid value for option %q: %v", name, err)}
		}
		parallel = n
	}
	return parallel, nil
}

// CheckVerify returns why parameters are none of a VERIFY, or nil. The error is *option.Error.
func CheckVerify(params map[string]string) error {
	_, err := verifyParallelism(params)
	return err
}

// PlanVerify lists the live segments of a table in chunks, or returns the plan that is stored.
func (k *Keeper) PlanVerify(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	res, err := k.planVerify(ctx, in)
	if err != nil {
		k.recordFailure(ctx, in.JobID, nil, 1, err)
	}
	return res, err
}

func (k *Keeper) planVerify(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error) {
	req, err := k.request(ctx, in.RequestID)
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	doc := &verifyDoc{Schema: req.Schema, Name: req.Table, Chunks: []verifyChunk{}}
	if doc.Parallelism, err = verifyParallelism(req.Params); err != nil {
		return jobstep.PlanResult{}, jobstep.Classified(jobstep.ClassInvalid, err)
	}
	for s, err := range k.ledger.LiveByID(ctx, req.Schema, req.Table) {
		if err != nil {
			return jobstep.PlanResult{}, err
		}
		doc.add(s)
	}
	var rows int64
	stored, err := k.putPlan(ctx, in, req, doc, len(doc.Chunks))
	if err != nil {
		return jobstep.PlanResult{}, err
	}
	if err := json.Unmarshal(stored.Plan, doc); err != nil {
		return jobstep.PlanResult{}, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("read plan of %s: %w", in.JobID, err))
	}
	for _, c := range doc.Chunks {
		rows += c.Rows
	}
	return jobstep.PlanResult{Generation: 1, Chunks: stored.Chunks, RowsEstimate: rows, Parallelism: doc.Parallelism}, nil
}

// add puts a segment into the last chunk, or begins a new one.
func (d *verifyDoc) add(s ledger.Segment) {
	n := len(d.Chunks)
	if n == 0 || d.Chunks[n-1].Segments == verifySegments || d.Chunks[n-1].Bytes+s.Bytes > verifyBytes {
		d.Chunks = append(d.Chunks, verifyChunk{From: s.ID})
		n++
	}
	c := &d.Chunks[n-1]
	c.To = s.ID
	c.Segments++
	c.Rows += s.Rows
	c.Bytes += s.Bytes
}

// request reads what a job was asked for.
func (k *Keeper) request(ctx context.Context, requestID string) (ledger.Request, error) {
	id, err := uuid.Parse(requestID)
	if err != nil {
		return ledger.Request{}, jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("malformed request id %q", requestID))
	}
	return k.ledger.Request(ctx, id)
}

// putPlan stores the only generation of a plan that moves no rows, and returns what is stored.
func (k *Keeper) putPlan(ctx context.Context, in jobstep.PlanInput, req ledger.Request, doc any, chunks int) (ledger.PlanRow, error) {
	if chunks > jobstep.MaxChunks {
		return ledger.PlanRow{}, jobstep.Classified(jobstep.ClassInvalid, fmt.Errorf("the job would have %d chunks, at most %d are possible", chunks, jobstep.MaxChunks))
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return ledger.PlanRow{}, fmt.Errorf("write plan: %w", err)
	}
	return jobstep.PutPlan(ctx, k.ledger, ledger.PlanRow{JobID: in.JobID, Generation: 1, RequestID: req.ID, Chunks: chunks, Plan: text})
}

// CheckSegments reads the segments of one chunk back and compares them with the ledger. What is wrong goes to the findings;
// an error means that it could not look. progress is as in RunChunk; its rows are those of segments that were read whole.
func (k *Keeper) CheckSegments(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error) {
	return k.attend(ctx, in, progress, k.checkSegments)
}

// attend runs a chunk that moves no rows: no attempt is needed, for doing it twice does no harm.
func (k *Keeper) attend(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint), run func(context.Context, jobstep.ChunkInput, *meter) (jobstep.ChunkResult, error)) (jobstep.ChunkResult, error) {
	rep := jobstep.NewReporter(progress)
	defer rep.Stop()
	m := &meter{}
	rep.Count(func() (int64, int64) { return m.rows.Load(), m.bytes.Load() })
	res, err := run(ctx, in, m)
	if err == nil {
		err = k.ledger.MarkChunk(ctx, in.JobID, in.Chunk, in.Attempt)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = jobstep.Classified(jobstep.ClassCancelled, fmt.Errorf("chunk %d: %w", in.Chunk, context.Cause(ctx)))
		}
		k.recordFailure(ctx, in.JobID, &in.Chunk, in.Attempt, err)
		return jobstep.ChunkResult{}, err
	}
	return res, nil
}

// meter counts what was read so far, for heartbeats.
type meter struct{ rows, bytes atomic.Int64 }

func (k *Keeper) checkSegments(ctx context.Context, in jobstep.ChunkInput, m *meter) (jobstep.ChunkResult, error) {
	var c verifyChunk
	if err := k.planElement(ctx, in, &c); err != nil {
		return jobstep.ChunkResult{}, err
	}
	table, err := k.tableOf(ctx, in.JobID)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	list, err := k.ledger.SegmentsBetween(ctx, table.Schema, table.Table, c.From, c.To)
	if err != nil {
		return jobstep.ChunkResult{}, err
	}
	res := jobstep.ChunkResult{}
	for _, s := range list {
		found, err := k.inspect(ctx, s, in.Attempt, m)
		if err != nil {
			return jobstep.ChunkResult{}, fmt.Errorf("segment %s: %w", s.ID, err)
		}
		if found != nil {
			found.JobID = in.JobID
			k.log.Warn("a segment is not as it was registered", obs.KeyJob, in.JobID, obs.KeyObject, s.Location, obs.KeyClass, found.Kind)
			if err := k.ledger.PutFindings(ctx, []ledger.Finding{*found}); err != nil {
				return jobstep.ChunkResult{}, err
			}
		}
		m.rows.Add(s.Rows)
		res.Rows += s.Rows
		res.Bytes += s.Bytes
		res.Segments++
	}
	return res, nil
}

// planElement reads what the plan has for a chunk.
func (k *Keeper) planElement(ctx context.Context, in jobstep.ChunkInput, to any) error {
	text, err := k.ledger.PlanElement(ctx, in.JobID, in.Chunk)
	if err != nil { // of its own class: a server that restarts is no fault of ours
		return fmt.Errorf("chunk %d of %s: %w", in.Chunk, in.JobID, err)
	}
	if err := json.Unmarshal(text, to); err != nil {
		return jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("chunk %d of %s: %w", in.Chunk, in.JobID, err))
	}
	return nil
}

// tableOf finds the request of a job that has a plan.
func (k *Keeper) tableOf(ctx context.Context, jobID string) (ledger.Request, error) {
	t, err := k.ledger.Totals(ctx, jobID)
	if err != nil {
		return ledger.Request{}, err
	}
	return k.ledger.Request(ctx, t.RequestID)
}

// FindStrays ends a VERIFY: it looks again at every segment that was found bad, and lists the objects in the table's
// directories that nothing explains. If a segment is damaged or missing it returns an error of the class damaged, which names
// the first of them.
func (k *Keeper) FindStrays(ctx context.Context, jobID string) (jobstep.VerifyResult, error) {
	res, err := k.findStrays(ctx, jobID)
	if err != nil {
		k.recordFailure(ctx, jobID, nil, 1, err)
	}
	return res, err
}

func (k *Keeper) findStrays(ctx context.Context, jobID string) (jobstep.VerifyResult, error) {
	req, err := k.tableOf(ctx, jobID)
	if err != nil {
		return jobstep.VerifyResult{}, err
	}
	var res jobstep.VerifyResult
	if res.Strays, err = k.listStrays(ctx, jobID, req); err != nil {
		return jobstep.VerifyResult{}, err
	}
	bad, err := k.lookAgain(ctx, jobID)
	if err != nil {
		return jobstep.VerifyResult{}, err
	}
	res.Bad = len(bad)
	if res.Bad == 0 {
		return res, nil
	}
	checked, err := k.ledger.Checked(ctx, jobID)
	if err != nil {
		return jobstep.VerifyResult{}, err
	}
	return res, jobstep.Classified(jobstep.ClassDamaged, &DamageFoundError{JobID: jobID, Checked: checked.Segments, Bad: bad})
}

// lookAgain checks once more the segments that were found bad, and returns those that still are. One that was restored or
// replaced since, or whose storage was away for a moment, is no finding.
func (k *Keeper) lookAgain(ctx context.Context, jobID string) (bad []ledger.Finding, err error) {
	all, err := k.ledger.Findings(ctx, jobID)
	if err != nil {
		return nil, err
	}
	for _, old := range all {
		if old.Kind != ledger.KindDamaged && old.Kind != ledger.KindMissing {
			continue
		}
		now, err := k.inspectByID(ctx, old.SegmentID)
		if err != nil {
			return nil, fmt.Errorf("segment %s: %w", old.SegmentID, err)
		}
		if now == nil {
			if err := k.ledger.DropFinding(ctx, jobID, old.Location); err != nil {
				return nil, err
			}
			continue
		}
		now.JobID = jobID
		if err := k.ledger.PutFindings(ctx, []ledger.Finding{*now}); err != nil {
			return nil, err
		}
		bad = append(bad, *now)
	}
	return bad, nil
}

// inspectByID looks at a segment as the ledger has it now.
func (k *Keeper) inspectByID(ctx context.Context, id uuid.UUID) (*ledger.Finding, error) {
	s, err := k.ledger.SegmentByID(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return k.inspect(ctx, s, lastTry, &meter{})
}

// DamageFoundError says that cold rows cannot be read as they were written.
type DamageFoundError struct {
	JobID   string
	Checked int64 // segments
	Bad     []ledger.Finding
}

func (e *DamageFoundError) Error() string {
	const most = 3
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d cold segments are damaged or missing: ", len(e.Bad), e.Checked)
	for i, x := range e.Bad {
		if i == most {
			fmt.Fprintf(&b, "; and %d more", len(e.Bad)-most)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s (segment %s) %s: %s", x.Location, x.SegmentID, x.Kind, x.Problem)
	}
	return b.String()
}
