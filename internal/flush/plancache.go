package flush

import (
	"context"
	"slices"
	"sync"

	"github.com/spillwaydb/spillway/internal/ledger"
)

// keptPlans is how many generations of plans a process keeps at hand.
const keptPlans = 16

// planCache keeps the plans that were read last: each chunk needs its own, and that of a table with a thousand partitions is
// long. A stored generation never changes, so nothing here can be out of date. The plans are shared: nobody changes one.
type planCache struct {
	mu   sync.Mutex
	kept []cachedPlan // the one used last comes last
}

type cachedPlan struct {
	jobID         string
	first, chunks int
	doc           *planDoc
}

func (c *planCache) get(jobID string, chunk int) (cachedPlan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(p cachedPlan) bool { return p.jobID == jobID && p.first <= chunk && chunk < p.first+p.chunks })
	if i < 0 {
		return cachedPlan{}, false
	}
	p := c.kept[i]
	c.kept = append(slices.Delete(c.kept, i, i+1), p)
	return p, true
}

func (c *planCache) put(p cachedPlan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) == keptPlans {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	c.kept = append(c.kept, p)
}

// generation returns the plan that a chunk belongs to, and the number of its first chunk.
func (f *Flusher) generation(ctx context.Context, jobID string, chunk int) (doc *planDoc, firstChunk int, err error) {
	if p, ok := f.plans.get(jobID, chunk); ok {
		return p.doc, p.first, nil
	}
	var row ledger.PlanRow
	if row, err = f.ledger.Plan(ctx, jobID, chunk); err != nil {
		return nil, 0, err
	}
	if doc, err = readPlan(row); err != nil {
		return nil, 0, err
	}
	f.plans.put(cachedPlan{jobID: jobID, first: row.FirstChunk, chunks: row.Chunks, doc: doc})
	return doc, row.FirstChunk, nil
}
