package temporaljobs_test

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// memLedger is a ledger in memory, with the promises that a Manager relies on.
type memLedger struct {
	mu       sync.Mutex
	requests map[uuid.UUID]ledger.Request
	history  map[string]ledger.HistoryRow
	totals   map[string]ledger.Totals
}

func newMemLedger() *memLedger {
	return &memLedger{
		requests: make(map[uuid.UUID]ledger.Request),
		history:  make(map[string]ledger.HistoryRow),
		totals:   make(map[string]ledger.Totals),
	}
}

func (l *memLedger) PutRequest(ctx context.Context, r ledger.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Params = maps.Clone(r.Params)
	l.requests[r.ID] = r
	return ctx.Err()
}

func (l *memLedger) Requests(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]ledger.Request, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[uuid.UUID]ledger.Request)
	for _, id := range ids {
		if r, ok := l.requests[id]; ok {
			out[id] = r
		}
	}
	return out, ctx.Err()
}

func (l *memLedger) DeleteRequest(ctx context.Context, id uuid.UUID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.requests, id)
	return ctx.Err()
}

func (l *memLedger) HistoryOf(ctx context.Context, ids []string) (map[string]ledger.HistoryRow, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]ledger.HistoryRow)
	for _, id := range ids {
		if h, ok := l.history[id]; ok {
			out[id] = h
		}
	}
	return out, ctx.Err()
}

func (l *memLedger) ListHistory(ctx context.Context, f ledger.HistoryFilter) ([]ledger.HistoryRow, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var rows []ledger.HistoryRow
	for _, h := range l.history {
		if (len(f.Statuses) == 0 || slices.Contains(f.Statuses, h.Status)) && (f.JobType == "" || f.JobType == h.JobType) &&
			(f.Schema == "" || f.Schema == h.Schema) && (f.Table == "" || f.Table == h.Table) {
			rows = append(rows, h)
		}
	}
	slices.SortFunc(rows, func(a, b ledger.HistoryRow) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.JobID, b.JobID))
	})
	if f.Limit > 0 && len(rows) > f.Limit {
		rows = rows[:f.Limit]
	}
	return rows, ctx.Err()
}

func (l *memLedger) Progress(ctx context.Context, ids []string) (map[string]ledger.Totals, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]ledger.Totals)
	for _, id := range ids {
		out[id] = l.totals[id]
	}
	return out, ctx.Err()
}

// update changes the totals of a job.
func (l *memLedger) update(jobID string, change func(*ledger.Totals)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.totals[jobID]
	change(&t)
	l.totals[jobID] = t
}

// finish writes the row of a job's end, unless there is one, and returns what is stored.
func (l *memLedger) finish(h ledger.HistoryRow, requestID string) ledger.HistoryRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	if stored, ok := l.history[h.JobID]; ok {
		return stored
	}
	id, err := jobmanager.ParseJobID(h.JobID)
	if err != nil {
		panic(err)
	}
	t := l.totals[h.JobID]
	h.JobType, h.Schema, h.Table = string(id.Type), id.Table.Namespace, id.Table.Name
	h.RowsFlushed, h.BytesWritten, h.Segments, h.ChunksDone, h.Attempt = t.Rows, t.Bytes, t.Segments, t.ChunksDone, max(1, t.Attempt)
	h.FinishedAt = time.Now()
	if req, err := uuid.Parse(requestID); err == nil {
		r := l.requests[req]
		h.RequestedBy, h.Trigger, h.Statement, h.Schedule = r.RequestedBy, r.Trigger, r.Statement, r.Schedule
	}
	l.history[h.JobID] = h
	return h
}

// forget removes the row of a job's end.
func (l *memLedger) forget(jobID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.history, jobID)
}

func (l *memLedger) requestCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.requests)
}

// LocalHolder is without local jobs: no process of this ledger has any.
func (l *memLedger) LocalHolder(ctx context.Context, _, _ string) (string, error) {
	return "", ctx.Err()
}
