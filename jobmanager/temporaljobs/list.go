package temporaljobs

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

const (
	// pageSize is how much is asked for at once, of Temporal and of the ledger.
	pageSize = 1000
	// describers is how many runs are described at once.
	describers = 8
)

// ListJobs implements jobmanager.JobManager.
//
// Live jobs come from Temporal, all at once, for there is at most one per table; ended ones from the ledger, page by page.
// A job that ends between the two questions is listed once.
func (m *Manager) ListJobs(ctx context.Context, f jobmanager.JobFilter) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		left := f.Limit
		give := func(info jobmanager.JobInfo, err error) bool {
			if !yield(info, err) || err != nil {
				return false
			}
			left--
			return left != 0 // never, if there is no limit
		}
		runs, err := m.runs(ctx, f)
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
			return
		}
		seen := make(map[jobmanager.JobID]bool, len(runs))
		for _, info := range runs {
			seen[info.ID] = true
		}
		runs = slices.DeleteFunc(runs, func(i jobmanager.JobInfo) bool { return !matches(f, i) })
		m.merge(ctx, f, runs, seen, give)
	}
}

// merge yields runs and the ended jobs of the ledger, newest first, and each job once.
func (m *Manager) merge(ctx context.Context, f jobmanager.JobFilter, runs []jobmanager.JobInfo, seen map[jobmanager.JobID]bool, yield func(jobmanager.JobInfo, error) bool) {
	for info, err := range m.history(ctx, f, len(seen)) {
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
			return
		}
		if seen[info.ID] {
			continue
		}
		for len(runs) > 0 && newer(runs[0], info) <= 0 {
			if !yield(runs[0], nil) {
				return
			}
			runs = runs[1:]
		}
		if !yield(info, nil) {
			return
		}
	}
	for _, info := range runs {
		if !yield(info, nil) {
			return
		}
	}
}

// history yields the ended jobs of the ledger that f selects, newest first. spare is how many of them the caller may
// leave out.
func (m *Manager) history(ctx context.Context, f jobmanager.JobFilter, spare int) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		statuses, any := endedStatuses(f)
		if !any {
			return
		}
		size := pageSize
		if f.Limit > 0 {
			size = f.Limit + spare
		}
		// Each page begins at the top: jobs that end meanwhile shift the rest, and nothing may fall between two pages.
		// Pages grow, so this costs a third more than one long list.
		done := make(map[string]bool)
		for ; ; size *= 4 {
			rows, err := m.ledger.ListHistory(ctx, ledger.HistoryFilter{
				Statuses: statuses,
				JobType:  string(f.Type),
				Schema:   f.Table.Namespace,
				Table:    f.Table.Name,
				Limit:    size,
			})
			if err != nil {
				yield(jobmanager.JobInfo{}, err)
				return
			}
			for _, row := range rows {
				if done[row.JobID] {
					continue
				}
				done[row.JobID] = true
				if !yield(m.infoOfRow(row)) {
					return
				}
			}
			if len(rows) < size {
				return
			}
		}
	}
}

// endedStatuses returns the ended statuses that f selects; any is false if there are none.
func endedStatuses(f jobmanager.JobFilter) (statuses []string, any bool) {
	if len(f.Statuses) == 0 {
		return nil, f.All
	}
	for _, s := range f.Statuses {
		if s.Terminal() {
			statuses = append(statuses, string(s))
		}
	}
	return statuses, len(statuses) > 0
}

// matches reports whether f selects a job.
func matches(f jobmanager.JobFilter, i jobmanager.JobInfo) bool {
	switch {
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, i.Status):
		return false
	case len(f.Statuses) == 0 && !f.All && i.Status.Terminal():
		return false
	}
	return (f.Type == "" || f.Type == i.ID.Type) &&
		(f.Table.Namespace == "" || f.Table.Namespace == i.ID.Table.Namespace) &&
		(f.Table.Name == "" || f.Table.Name == i.ID.Table.Name)
}

// newer orders jobs newest first, as the ledger does.
func newer(a, b jobmanager.JobInfo) int {
	if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
		return c
	}
	return cmp.Compare(a.ID.String(), b.ID.String())
}

// runs describes the jobs without a history row: the live ones and, if f may select them, those whose end is not recorded.
// Newest first.
func (m *Manager) runs(ctx context.Context, f jobmanager.JobFilter) ([]jobmanager.JobInfo, error) {
	current, err := m.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	if _, any := endedStatuses(f); !any {
		return current, nil
	}
	ended, err := m.unrecorded(ctx)
	if err != nil {
		return nil, err
	}
	return tidy(append(current, ended...)), nil
}

// tidy sorts infos and drops repetitions of a job.
func tidy(infos []jobmanager.JobInfo) []jobmanager.JobInfo {
	slices.SortFunc(infos, newer)
	return slices.CompactFunc(infos, func(a, b jobmanager.JobInfo) bool { return a.ID == b.ID })
}

// currentRuns describes the current run of every workflow that has, or just had, an open run.
func (m *Manager) currentRuns(ctx context.Context) ([]jobmanager.JobInfo, error) {
	ids := make(map[string]bool)
	for _, id := range m.recent.list() {
		if wid, ok := m.workflowID(id.Type, id.Table); ok {
			ids[wid] = true
		}
	}
	// A run that has just continued as new is closed, and its successor may not be visible yet.
	since := m.opt.Now().Add(-lag).UTC().Format("2006-01-02T15:04:05.000Z")
	query := fmt.Sprintf("%s AND (ExecutionStatus = 'Running' OR (ExecutionStatus = 'ContinuedAsNew' AND CloseTime > '%s'))", m.ours(), since)
	for info, err := range m.visible(ctx, query) {
		if err != nil {
			return nil, err
		}
		ids[info.GetExecution().GetWorkflowId()] = true
	}
	var targets []target
	for wid := range ids {
		targets = append(targets, target{workflowID: wid})
	}
	return m.describeAll(ctx, targets)
}

// unrecorded describes the jobs that ended without recording it: their status attribute never became terminal.
func (m *Manager) unrecorded(ctx context.Context) ([]jobmanager.JobInfo, error) {
	query := fmt.Sprintf("%s AND ExecutionStatus IN ('Terminated', 'TimedOut', 'Failed', 'Canceled', 'Completed') AND %s NOT IN ('%s', '%s', '%s')",
		m.ours(), workflows.AttrStatus.GetName(), jobmanager.Completed, jobmanager.Failed, jobmanager.Cancelled)
	var targets []target
	for info, err := range m.visible(ctx, query) {
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId()})
	}
	return m.describeAll(ctx, targets)
}

// ours selects this installation's workflows. The name is escaped, so it needs no quoting.
func (m *Manager) ours() string {
	return fmt.Sprintf("%s = '%s'", workflows.AttrInstallation.GetName(), workflows.Keyword(jobmanager.EscapeName(m.opt.Installation)))
}

// visible yields what visibility finds.
func (m *Manager) visible(ctx context.Context, query string) iter.Seq2[*workflowpb.WorkflowExecutionInfo, error] {
	return func(yield func(*workflowpb.WorkflowExecutionInfo, error) bool) {
		var token []byte
		for {
			page, err := m.client.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
				Namespace:     m.opt.Namespace,
				PageSize:      pageSize,
				NextPageToken: token,
				Query:         query,
			})
			if err != nil {
				yield(nil, failed(ctx, "list jobs", err))
				return
			}
			for _, info := range page.GetExecutions() {
				if !yield(info, nil) {
					return
				}
			}
			if token = page.GetNextPageToken(); len(token) == 0 {
				return
			}
		}
	}
}

// target names a run; an empty run id means the current one.
type target struct {
	workflowID, runID string
}

// describeAll describes runs, those that are gone or recorded in the history left out. Visibility's own word is not
// enough: a cancel that no worker has seen yet, or a slot that a chunk waits for, is only in the run itself.
func (m *Manager) describeAll(ctx context.Context, targets []target) ([]jobmanager.JobInfo, error) {
	execs, err := m.describeEach(ctx, targets)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, ex := range execs {
		ids = append(ids, ex.id.String())
	}
	if len(ids) == 0 {
		return nil, nil
	}
	ended, err := m.ledger.HistoryOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	execs = slices.DeleteFunc(execs, func(ex *execution) bool {
		_, recorded := ended[ex.id.String()]
		return recorded || ex.memo.RequestID == "" // not started by a manager
	})
	infos, err := m.infosOfRuns(ctx, execs)
	return tidy(infos), err
}

func (m *Manager) describeEach(ctx context.Context, targets []target) ([]*execution, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	execs := make([]*execution, len(targets))
	slots := make(chan struct{}, describers)
	var all sync.WaitGroup
	for i, t := range targets {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ex, err := m.describe(ctx, t.workflowID, t.runID)
			switch {
			case err == nil:
				execs[i] = ex
			case !notFound(err):
				cancel(failed(ctx, "describe job", err))
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(execs, func(ex *execution) bool { return ex == nil }), nil
}
