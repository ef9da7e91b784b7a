package temporaljobs

import (
	"context"
	"fmt"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// End is the end of a job that its workflow did not record: somebody terminated it, it timed out, or the ledger refused.
type End struct {
	Job       jobmanager.JobInfo
	RequestID string
}

// Unrecorded lists ended jobs that the history lacks, at most limit of them. Those that ended longer ago than the history
// remembers are not among them.
func (m *Manager) Unrecorded(ctx context.Context, limit int) ([]End, error) {
	targets, err := m.unrecordedRuns(ctx, limit)
	if err != nil {
		return nil, err
	}
	execs, err := m.unended(ctx, targets)
	if err != nil {
		return nil, err
	}
	var over []*execution
	for _, ex := range execs {
		goesOn, err := m.goesOn(ctx, ex)
		if err != nil {
			return nil, err
		}
		if !goesOn {
			over = append(over, ex)
		}
	}
	infos, err := m.infosOfRuns(ctx, over)
	if err != nil {
		return nil, err
	}
	ends := make([]End, len(infos))
	for i, info := range infos {
		ends[i] = End{Job: info, RequestID: over[i].memo.RequestID}
	}
	return ends, nil
}

// goesOn reports whether the job of a closed run lives in another: a reset terminates a run and begins a new one of the same
// job.
func (m *Manager) goesOn(ctx context.Context, ex *execution) (bool, error) {
	if ex.open() {
		return true, nil
	}
	now, err := m.describe(ctx, ex.workflowID(), "")
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, failed(ctx, "describe job", err)
	}
	return now.id == ex.id && now.open(), nil
}

// forgotten reports whether a closed run ended longer ago than jobs are remembered: Temporal's memory may be longer.
func (m *Manager) forgotten(ex *execution) bool {
	return m.opt.Retention > 0 && ex.info.GetCloseTime().AsTime().Before(m.opt.Now().Add(-m.opt.Retention))
}

// unrecordedRuns finds the last runs of jobs whose status attribute never became terminal, at most limit; 0 means all.
func (m *Manager) unrecordedRuns(ctx context.Context, limit int) ([]target, error) {
	query := fmt.Sprintf("%s AND ExecutionStatus IN ('Terminated', 'TimedOut', 'Failed', 'Canceled', 'Completed') AND %s NOT IN ('%s', '%s', '%s')",
		m.ours(), workflows.AttrStatus.GetName(), jobmanager.Completed, jobmanager.Failed, jobmanager.Cancelled)
	if m.opt.Retention > 0 {
		query += fmt.Sprintf(" AND CloseTime > '%s'", m.opt.Now().Add(-m.opt.Retention).UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	var targets []target
	for info, err := range m.visible(ctx, query) {
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{workflowID: info.GetExecution().GetWorkflowId(), runID: info.GetExecution().GetRunId()})
		if len(targets) == limit {
			break
		}
	}
	return targets, nil
}
