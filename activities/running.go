package activities

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Running is a chunk that this process is at now.
type Running struct {
	JobID string
	Chunk int
	Rows  int64 // received from PostgreSQL, or read back, so far
	Since time.Time
}

// running remembers what this process is at.
type running struct {
	mu     sync.Mutex
	chunks map[*pulse]Running
}

// add notes a chunk until the returned function is called.
func (r *running) add(p *pulse, in ChunkInput, since time.Time) (remove func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chunks == nil {
		r.chunks = make(map[*pulse]Running)
	}
	r.chunks[p] = Running{JobID: in.JobID, Chunk: in.Chunk, Since: since}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.chunks, p)
	}
}

// RunningChunks lists the chunks that a is at now, the oldest first. It is no method: those of Activities are activities.
func RunningChunks(a *Activities) []Running {
	a.running.mu.Lock()
	defer a.running.mu.Unlock()
	list := make([]Running, 0, len(a.running.chunks))
	for p, r := range a.running.chunks {
		r.Rows = p.rows()
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y Running) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.JobID, y.JobID), cmp.Compare(x.Chunk, y.Chunk))
	})
	return list
}
