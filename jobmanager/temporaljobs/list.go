package temporaljobs

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/history"
	"github.com/spillwaydb/spillway/workflows"
)

const (
	// pageSize is how much Temporal is asked for at once.
	pageSize = 1000
	// describers is how many runs are described at once. Over a network a question is mostly waiting; one process for all
	// gains nothing from more.
	describers = 32
)

// ListJobs implements jobmanager.JobManager.
//
// Live jobs come from Temporal, all at once, for there is at most one per table; ended ones from the ledger, page by page.
// A job that ends between the two questions is listed once.
func (m *Manager) ListJobs(ctx context.Context, f jobmanager.JobFilter) iter.Seq2[jobmanager.JobInfo, error] {
	return func(yield func(jobmanager.JobInfo, error) bool) {
		runs, err := m.runs(ctx, f)
		if err != nil {
			yield(jobmanager.JobInfo{}, err)
			return
		}
		history.Merge(ctx, m.ledger, f, runs, func(info jobmanager.JobInfo, err error) bool {
			info.UIURL = m.uiURL(info.WorkflowID, info.RunID)
			return yield(info, err)
		})
	}
}

// runs describes the jobs without a history row: the live ones and, if f may select them, those whose end is not recorded.
// Newest first.
func (m *Manager) runs(ctx context.Context, f jobmanager.JobFilter) ([]jobmanager.JobInfo, error) {
	current, err := m.currentRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	if !f.Ended() {
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
	slices.SortFunc(infos, jobmanager.Newer)
	return slices.CompactFunc(infos, func(a, b jobmanager.JobInfo) bool { return a.ID == b.ID })
}

// currentRuns describes the current run of every workflow that has, or just had, an open run, and may have a job that f
// selects. It may describe others too.
func (m *Manager) currentRuns(ctx context.Context, f jobmanager.JobFilter) ([]jobmanager.JobInfo, error) {
	guesses := make(map[string]string) // by workflow id: the run that seems to be current
	add := func(id jobmanager.JobID) {
		if wid, ok := m.workflowID(id.Type, id.Table); ok && f.MatchID(id) {
			guesses[wid] = id.UUID.String() // a job's first run, mostly its only one
		}
	}
	if len(f.IDs) > 0 { // their workflows are known by name: no need to search
		for _, id := range f.IDs {
			add(id)
		}
		return m.describeCurrent(ctx, guesses)
	}
	for _, id := range m.recent.list() {
		add(id)
	}
	// A run that has just continued as new is closed, and its successor may not be visible yet.
	since := m.opt.Now().Add(-lag).UTC().Format("2006-01-02T15:04:05.000Z")
	query := fmt.Sprintf("%s%s AND (ExecutionStatus = 'Running' OR (ExecutionStatus = 'ContinuedAsNew' AND CloseTime > '%s'))", m.ours(), fixed(f), since)
	for info, err := range m.visible(ctx, query) {
		if err != nil {
			return nil, err
		}
		run := info.GetExecution()
		if _, ok := guesses[run.GetWorkflowId()]; !ok || info.GetStatus() == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
			guesses[run.GetWorkflowId()] = run.GetRunId()
		}
	}
	return m.describeCurrent(ctx, guesses)
}

// describeCurrent describes the current runs of workflows, given a guess for each of which run that is.
func (m *Manager) describeCurrent(ctx context.Context, guesses map[string]string) ([]jobmanager.JobInfo, error) {
	targets := make([]target, 0, len(guesses))
	for wid, run := range guesses {
		targets = append(targets, target{workflowID: wid, runID: run, current: true})
	}
	return m.describeAll(ctx, targets)
}

// fixed is the part of a filter that a search finds reliably: attributes that are set when a workflow starts, and stay. A
// status is none of them.
func fixed(f jobmanager.JobFilter) string {
	query := ""
	if f.Type != "" && quotable(string(f.Type)) {
		query += fmt.Sprintf(" AND %s = '%s'", workflows.AttrJobType.GetName(), f.Type)
	}
	tables := f.Targets
	if f.Table.Namespace != "" && f.Table.Name != "" {
		tables = []string{f.Table.String()}
	}
	if len(tables) == 0 || slices.ContainsFunc(tables, func(t string) bool { return !quotable(t) }) {
		return query
	}
	list := make([]string, len(tables))
	for i, t := range tables {
		list[i] = "'" + workflows.Keyword(t) + "'"
	}
	return query + fmt.Sprintf(" AND %s IN (%s)", workflows.AttrTable.GetName(), strings.Join(list, ", "))
}

// quotable reports whether a text is the same between quotes in every dialect of Temporal's queries. Of others nothing is
// left to the search.
func quotable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '\'' || c == '\\' || c == '"' || c == '`' || c == '%' {
			return false
		}
	}
	return true
}

// unrecorded describes the jobs that ended without recording it: their status attribute never became terminal.
func (m *Manager) unrecorded(ctx context.Context) ([]jobmanager.JobInfo, error) {
	targets, err := m.unrecordedRuns(ctx, 0)
	if err != nil {
		return nil, err
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

// target names a run. With current it is the workflow's current run that is wanted, and the run id a guess.
type target struct {
	workflowID, runID string
	current           bool
}

// describeAll describes jobs by their runs, those that are gone or recorded in the history left out.
func (m *Manager) describeAll(ctx context.Context, targets []target) ([]jobmanager.JobInfo, error) {
	execs, err := m.unended(ctx, targets)
	if err != nil {
		return nil, err
	}
	infos, err := m.infosOfRuns(ctx, execs)
	return tidy(infos), err
}

// unended asks for the runs, but for those of jobs whose end is in the history. Visibility's own word is not enough: a cancel
// that no worker has seen yet, or a slot that a chunk waits for, is only in the run itself.
func (m *Manager) unended(ctx context.Context, targets []target) ([]*execution, error) {
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
	return slices.DeleteFunc(execs, func(ex *execution) bool {
		_, recorded := ended[ex.id.String()]
		return recorded || ex.memo.RequestID == "" // not started by a manager
	}), nil
}

// describeEach asks for all runs, those that are gone left out. It returns soon after the end of ctx, with all it began ended.
func (m *Manager) describeEach(ctx context.Context, targets []target) ([]*execution, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	execs := make([]*execution, len(targets))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(describers, len(targets)) {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(targets) {
					return
				}
				ex, err := m.describeTarget(ctx, targets[i])
				switch {
				case err == nil:
					execs[i] = ex
				case !notFound(err):
					cancel(failed(ctx, "describe job", err))
				}
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(execs, func(ex *execution) bool { return ex == nil }), nil
}

// describeTarget describes a run. The server has to read up which run is current, while a run that is named is mostly in its
// memory; and a run that is open is the current one. So a good guess is worth a question, and a bad one costs one more.
func (m *Manager) describeTarget(ctx context.Context, t target) (*execution, error) {
	ex, err := m.describe(ctx, t.workflowID, t.runID)
	if !t.current || t.runID == "" || err == nil && ex.open() && !ex.continued() || err != nil && !notFound(err) {
		return ex, err
	}
	return m.describe(ctx, t.workflowID, "")
}
