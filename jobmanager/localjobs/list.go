package localjobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/history"
)

// lookEvery is how often WaitJob looks at a job of another process.
const lookEvery = 500 * time.Millisecond

// CancelJob implements jobmanager.JobManager.
func (m *Manager) CancelJob(ctx context.Context, id jobmanager.JobID) error {
	return m.change(ctx, id, askCancel)
}

// PauseJob implements jobmanager.Pauser. A pause ends with the process, as the job does.
func (m *Manager) PauseJob(ctx context.Context, id jobmanager.JobID) error {
	return m.change(ctx, id, askPause)
}

// ResumeJob implements jobmanager.Pauser.
func (m *Manager) ResumeJob(ctx context.Context, id jobmanager.JobID) error {
	return m.change(ctx, id, askResume)
}

// change asks something of a job. A job whose end is being recorded is waited for: it answers by its end.
func (m *Manager) change(ctx context.Context, id jobmanager.JobID, what request) error {
	for {
		j := m.find(id)
		if j == nil {
			break
		}
		if v, ok := j.ask(ctx, what); ok && !v.ending {
			return nil
		}
		if j.awaitEnd(ctx); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	info, err := m.JobStatus(ctx, id)
	switch {
	case err != nil:
		return err
	case info.Status.Terminal():
		return &jobmanager.FinishedError{ID: id, Status: info.Status}
	}
	return fmt.Errorf("job %q runs in another process, or was cut off with it: %w", id, jobmanager.ErrUnavailable)
}

// WaitJob implements jobmanager.Waiter. A job of another process is watched, and closed if that process has died.
func (m *Manager) WaitJob(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	if j := m.find(id); j != nil {
		j.awaitEnd(ctx)
	}
	for {
		if ctx.Err() != nil {
			return jobmanager.JobInfo{}, context.Cause(ctx)
		}
		info, err := m.JobStatus(ctx, id)
		if err != nil || info.Status.Terminal() {
			return info, err
		}
		closed, err := m.steps.CloseInterrupted(ctx)
		if err != nil {
			return info, err
		}
		if len(closed) > 0 {
			continue
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
}

// JobStatus implements jobmanager.JobManager.
func (m *Manager) JobStatus(ctx context.Context, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	if j := m.find(id); j != nil {
		if v, ok := j.ask(ctx, askStatus); ok {
			return m.infoOfJob(ctx, j, v)
		}
	}
	for range 2 { // a job of another process may end between the two questions
		rows, err := m.ledger.HistoryOf(ctx, []string{id.String()})
		if err != nil {
			return jobmanager.JobInfo{}, err
		}
		if row, ok := rows[id.String()]; ok {
			return history.Info(row)
		}
		others, err := m.elsewhere(ctx, func(c ledger.Claim) bool { return c.JobID == id.String() })
		if err != nil || len(others) > 0 {
			return append(others, jobmanager.JobInfo{})[0], err
		}
	}
	return jobmanager.JobInfo{}, fmt.Errorf("%w: %q", jobmanager.ErrJobNotFound, id)
}

// ListJobs implements jobmanager.JobManager. Jobs of Temporal's are listed when they have ended.
func (m *Manager) ListJobs(ctx context.Context, f jobmanager.JobFilter) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		live, err := m.alive(ctx)
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
			return
		}
		history.Merge(ctx, m.ledger, f, live, yield)
	}
}

// alive describes the jobs of this manager, and those of other processes whose end is not recorded; newest first.
func (m *Manager) alive(ctx context.Context) (infos []jobmanager.JobInfo, err error) {
	mine := map[string]bool{}
	for _, j := range m.registry() {
		v, ok := j.ask(ctx, askStatus)
		if !ok {
			continue // it has ended, and the history has it
		}
		info, err := m.infoOfJob(ctx, j, v)
		if err != nil {
			return nil, err
		}
		mine[j.id.String()] = true
		infos = append(infos, info)
	}
	others, err := m.elsewhere(ctx, func(c ledger.Claim) bool { return !mine[c.JobID] })
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	infos = append(infos, others...)
	slices.SortFunc(infos, jobmanager.Newer)
	return infos, nil
}

// infoOfJob describes a job of this manager: what it says of itself, and what the ledger knows of its chunks.
func (m *Manager) infoOfJob(ctx context.Context, j *job, v view) (jobmanager.JobInfo, error) {
	all, err := m.ledger.Progress(ctx, []string{j.id.String()})
	if err != nil {
		return jobmanager.JobInfo{}, err
	}
	info := describe(j.id, j.spec, all[j.id.String()])
	info.Status, info.Phase, info.CreatedAt, info.StartedAt = v.status, v.phase, j.hold.Since, v.startedAt
	return info, nil
}

// elsewhere describes the jobs behind the claims that are wanted: jobs of other processes, the dead included.
func (m *Manager) elsewhere(ctx context.Context, wanted func(ledger.Claim) bool) (infos []jobmanager.JobInfo, err error) {
	claims, err := m.ledger.Claims(ctx)
	if err != nil {
		return nil, err
	}
	claims = slices.DeleteFunc(claims, func(c ledger.Claim) bool { return c.Ended || !wanted(c) })
	var ids []string
	var reqs []uuid.UUID
	for _, c := range claims {
		ids, reqs = append(ids, c.JobID), append(reqs, c.RequestID)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	totals, err := m.ledger.Progress(ctx, ids)
	requests, reqErr := m.ledger.Requests(ctx, reqs)
	if err := errors.Join(err, reqErr); err != nil {
		return nil, err
	}
	for _, c := range claims {
		id, err := jobmanager.ParseJobID(c.JobID)
		if err != nil {
			return nil, err
		}
		r := requests[c.RequestID]
		info := describe(id, jobmanager.JobSpec{
			Statement: r.Statement, RequestedBy: r.RequestedBy, Trigger: jobmanager.Trigger(r.Trigger), Schedule: r.Schedule,
		}, totals[c.JobID])
		info.Status, info.CreatedAt, info.StartedAt = jobmanager.Pending, c.CreatedAt, c.StartedAt
		if c.StartedAt != nil {
			info.Status = jobmanager.Running
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func describe(id jobmanager.JobID, spec jobmanager.JobSpec, t ledger.Totals) jobmanager.JobInfo {
	info := jobmanager.JobInfo{
		ID: id, RowsFlushed: t.Rows, BytesWritten: t.Bytes, Segments: t.Segments, ChunksDone: t.ChunksDone, RowsSkipped: t.Skipped,
		Attempt: max(t.Attempt, 1), Error: t.LastError, ErrorClass: t.ErrorClass, Location: t.Location,
		RequestedBy: spec.RequestedBy, Trigger: spec.Trigger, Schedule: spec.Schedule, Statement: spec.Statement,
	}
	if t.Planned {
		info.RowsTotal, info.ChunksTotal = &t.RowsEstimate, &t.ChunksTotal
	}
	return info
}

// find returns a job of this manager that has not ended, or nil.
func (m *Manager) find(id jobmanager.JobID) *job {
	if j := m.onTable(id.Table); j != nil && j.id == id {
		return j
	}
	return nil
}

func (m *Manager) registry() (all []*job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.live {
		all = append(all, j)
	}
	return all
}
