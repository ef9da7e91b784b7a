package steptest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

// Ledger is a ledger in memory, with the promises that a Manager relies on.
type Ledger struct {
	mu       sync.Mutex
	requests map[uuid.UUID]ledger.Request
	history  map[string]ledger.HistoryRow
	totals   map[string]ledger.Totals
	claims   map[jobmanager.Table]ledger.Claim // of local jobs
	locks    map[jobmanager.Table]string       // those that live
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{
		requests: make(map[uuid.UUID]ledger.Request),
		history:  make(map[string]ledger.HistoryRow),
		totals:   make(map[string]ledger.Totals),
		claims:   make(map[jobmanager.Table]ledger.Claim),
		locks:    make(map[jobmanager.Table]string),
	}
}

// PutRequest keeps a request.
func (l *Ledger) PutRequest(ctx context.Context, r ledger.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Params = maps.Clone(r.Params)
	l.requests[r.ID] = r
	return ctx.Err()
}

// Requests returns those of the requests that are there.
func (l *Ledger) Requests(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]ledger.Request, error) {
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

// DeleteRequest removes a request.
func (l *Ledger) DeleteRequest(ctx context.Context, id uuid.UUID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.requests, id)
	return ctx.Err()
}

// HistoryOf returns the ends of those of the jobs that have one.
func (l *Ledger) HistoryOf(ctx context.Context, ids []string) (map[string]ledger.HistoryRow, error) {
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

// ListHistory lists ended jobs, newest first.
func (l *Ledger) ListHistory(ctx context.Context, f ledger.HistoryFilter) ([]ledger.HistoryRow, error) {
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

// Progress returns how far jobs have come.
func (l *Ledger) Progress(ctx context.Context, ids []string) (map[string]ledger.Totals, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]ledger.Totals)
	for _, id := range ids {
		out[id] = l.totals[id]
	}
	return out, ctx.Err()
}

// Update changes the totals of a job. change must not call the ledger.
func (l *Ledger) Update(jobID string, change func(*ledger.Totals)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.totals[jobID]
	change(&t)
	l.totals[jobID] = t
}

// Record writes the row of a job's end, unless there is one, and returns what is stored. The job's claim goes.
func (l *Ledger) Record(h ledger.HistoryRow, requestID string) ledger.HistoryRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record(h, requestID)
}

func (l *Ledger) record(h ledger.HistoryRow, requestID string) ledger.HistoryRow {
	maps.DeleteFunc(l.claims, func(_ jobmanager.Table, c ledger.Claim) bool { return c.JobID == h.JobID })
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

// Forget removes the row of a job's end.
func (l *Ledger) Forget(jobID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.history, jobID)
}

// RequestCount returns how many requests there are.
func (l *Ledger) RequestCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.requests)
}

// LocalHolder is without local jobs: no process of this ledger has any.
func (l *Ledger) LocalHolder(ctx context.Context, _, _ string) (string, error) {
	return "", ctx.Err()
}

// Claims lists the claims of local jobs, the newest first.
func (l *Ledger) Claims(ctx context.Context) ([]ledger.Claim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Collect(maps.Values(l.claims))
	for i := range all {
		all[i].StartedAt = l.startedAt(all[i])
	}
	slices.SortFunc(all, func(a, b ledger.Claim) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return all, ctx.Err()
}

func (l *Ledger) startedAt(c ledger.Claim) *time.Time {
	if !l.totals[c.JobID].Started {
		return nil
	}
	return &c.CreatedAt
}

// take gives a table to a local job, after it closed a dead one.
func (l *Ledger) take(c ledger.Claim) (ledger.Claim, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := jobmanager.Table{Namespace: c.Schema, Name: c.Table}
	if old, ok := l.claims[t]; ok {
		if l.locks[t] != "" {
			return c, &ledger.HeldError{Claim: old}
		}
		l.closeDead(old)
	}
	c.CreatedAt, c.Manager = time.Now().UTC(), ledger.ManagerLocal
	l.claims[t], l.locks[t] = c, c.JobID
	return c, nil
}

// release gives the lock of a job back.
func (l *Ledger) release(jobID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.locks, func(_ jobmanager.Table, id string) bool { return id == jobID })
}

func (l *Ledger) closeDead(c ledger.Claim) {
	class := jobstep.ClassInterrupted
	l.record(ledger.HistoryRow{JobID: c.JobID, Status: "failed", ErrorClass: &class, CreatedAt: c.CreatedAt, StartedAt: l.startedAt(c)}, c.RequestID.String())
}
