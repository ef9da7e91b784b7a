package flush

import (
	"context"
	"fmt"
	"math"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// starts says where a generation begins in each leaf: blocks before it were done by the generation before. Leaves that are not
// in it are done from the first block on, which is never wrong: a block without matching rows costs a look.
type starts map[uint32]start

type start struct {
	file  uint32 // the blocks are of this file, and of no other
	block uint32
}

// allBlocks is the start of a leaf that is done.
const allBlocks = math.MaxUint32

// block is the first block of a leaf that has to be done.
func (s starts) block(leaf *hot.Table) uint32 {
	if at, ok := s[leaf.OID]; ok && at.file == leaf.RelFileNode {
		return min(at.block, leaf.Blocks)
	}
	return 0
}

// startOf finds where the chunks before in.Next end. All of them must be committed.
func (f *Flusher) startOf(ctx context.Context, in jobstep.PlanInput) (starts, error) {
	if in.Next <= 0 || in.Generation <= 1 {
		return nil, nil
	}
	row, err := f.ledger.PlanGeneration(ctx, in.JobID, in.Generation-1)
	if err != nil {
		return nil, err
	}
	doc, err := readPlan(row)
	if err != nil {
		return nil, err
	}
	return doc.startAt(row, in.Next)
}

func (d *planDoc) startAt(row ledger.PlanRow, next int) (starts, error) {
	n := next - row.FirstChunk
	if n < 0 || n > row.Chunks {
		return nil, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("chunk %d is not in generation %d of %s", next, row.Generation, row.JobID))
	}
	from := starts{}
	for i := range d.Parts {
		p := &d.Parts[i]
		at := start{file: p.Table.RelFileNode, block: allBlocks}
		if n < p.Chunks {
			at.block = p.FirstBlock + uint32(n)*p.BlocksPerChunk
		}
		if n >= p.Chunks || p.Keys == nil { // ranges of an index are found anew, among the rows that are left
			from[p.Table.OID] = at
		}
		n = max(n-p.Chunks, 0)
	}
	return from, nil
}

// rest is the share of a leaf's rows that is left to do.
func (p *planPart) rest(rows int64) int64 {
	if p.FirstBlock == 0 || p.Table.Blocks == 0 {
		return rows
	}
	return int64(float64(rows) * float64(p.Table.Blocks-min(p.FirstBlock, p.Table.Blocks)) / float64(p.Table.Blocks))
}

// pacedSeconds is how many seconds of a limited rate one chunk may use up: larger ones would move all at once and then wait.
const pacedSeconds = 5

// mostPaced bounds how many chunks a leaf is cut in because of that.
const mostPaced = 100_000

// paced is the size of chunks of a leaf, smaller than asked for where the rate is low.
func paced(leaf *hot.Table, opts Options) int64 {
	if opts.MaxRowsPerSecond == 0 || leaf.RowsEstimate <= 0 || leaf.Blocks == 0 {
		return opts.ChunkBytes
	}
	blocks := float64(opts.MaxRowsPerSecond*pacedSeconds) / (float64(leaf.RowsEstimate) / float64(leaf.Blocks))
	blocks = max(blocks, 1, float64(leaf.Blocks)/mostPaced)
	if bytes := blocks * float64(leaf.BlockSize); bytes < float64(opts.ChunkBytes) {
		return int64(bytes)
	}
	return opts.ChunkBytes
}

// manners are what the managers of jobs have to know of a generation. most is the size of chunks that was asked for.
func (d *planDoc) manners(most int64) *jobstep.Manners {
	o := d.Options
	m := &jobstep.Manners{MaxRowsPerSecond: o.MaxRowsPerSecond, ChunkTime: o.ChunkTime, ChecksLoad: o.checksLoad()}
	asked := o
	asked.ChunkBytes = most
	for i := range d.Parts {
		p := &d.Parts[i]
		if p.whole() { // one transaction, whatever its size
			m.ChunkTime = 0
		}
		m.ChunkBytes = max(m.ChunkBytes, paced(&p.Table, o))
		m.MostChunkBytes = max(m.MostChunkBytes, paced(&p.Table, asked))
		m.CutBytes = max(m.CutBytes, int64(p.BlocksPerChunk)*int64(p.Table.BlockSize))
	}
	return m
}
