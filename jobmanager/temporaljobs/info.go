package temporaljobs

import (
	"context"
	"net/url"
	"strings"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/history"
	"github.com/spillwaydb/spillway/workflows"
)

// info describes one job.
func (m *Manager) info(ctx context.Context, f found) (jobmanager.JobInfo, error) {
	if f.row != nil {
		return m.infoOfRow(*f.row)
	}
	infos, err := m.infosOfRuns(ctx, []*execution{f.run})
	if err != nil {
		return jobmanager.JobInfo{}, err
	}
	return infos[0], nil
}

// infoOfRow describes a job that has ended.
func (m *Manager) infoOfRow(h ledger.HistoryRow) (jobmanager.JobInfo, error) {
	info, err := history.Info(h)
	info.UIURL = m.uiURL(h.WorkflowID, h.RunID)
	return info, err
}

// infosOfRuns describes jobs by their newest runs, with one question to the ledger for all their progress and one for all
// their requests.
func (m *Manager) infosOfRuns(ctx context.Context, runs []*execution) ([]jobmanager.JobInfo, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	var ids []string
	var reqs []uuid.UUID
	for _, ex := range runs {
		ids = append(ids, ex.id.String())
		if r, err := uuid.Parse(ex.memo.RequestID); err == nil {
			reqs = append(reqs, r)
		}
	}
	progress, err := m.ledger.Progress(ctx, ids)
	if err != nil {
		return nil, err
	}
	requests, err := m.ledger.Requests(ctx, reqs)
	if err != nil {
		return nil, err
	}
	infos := make([]jobmanager.JobInfo, 0, len(runs))
	for i, ex := range runs {
		req, _ := uuid.Parse(ex.memo.RequestID)
		infos = append(infos, m.infoOfRun(ex, progress[ids[i]], requests[req]))
	}
	return infos, nil
}

func (m *Manager) infoOfRun(ex *execution, t ledger.Totals, r ledger.Request) jobmanager.JobInfo {
	info := jobmanager.JobInfo{
		ID:           ex.id,
		Status:       ex.status(t.Started),
		Phase:        ex.phase(),
		RowsFlushed:  t.Rows,
		BytesWritten: t.Bytes,
		Segments:     t.Segments,
		ChunksDone:   t.ChunksDone,
		RowsSkipped:  t.Skipped,
		Attempt:      max(ex.attempt(), t.Attempt),
		Error:        t.LastError,
		ErrorClass:   t.ErrorClass,
		Location:     t.Location,
		RequestedBy:  r.RequestedBy,
		Trigger:      triggerOf(jobmanager.Trigger(r.Trigger)),
		Schedule:     r.Schedule,
		Statement:    r.Statement,
		CreatedAt:    ex.memo.CreatedAt,
		StartedAt:    ex.startedAt(),
		WorkflowID:   ex.workflowID(),
		RunID:        ex.runID(),
		UIURL:        m.uiURL(ex.workflowID(), ex.runID()),
	}
	if t.Planned {
		info.RowsTotal, info.ChunksTotal = &t.RowsEstimate, &t.ChunksTotal
	}
	if !ex.open() {
		ex.end(&info)
	}
	return info
}

// end fills in the end of a job that the ledger does not know to have ended: it was ended by force, or could not write.
func (ex *execution) end(info *jobmanager.JobInfo) {
	at := ex.info.GetCloseTime().AsTime()
	info.FinishedAt = &at
	switch ex.info.GetStatus() {
	case enumspb.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		info.CancelledAt = &at
		info.Error, info.ErrorClass = "the job's workflow was terminated in Temporal", classTerminated
	case enumspb.WORKFLOW_EXECUTION_STATUS_CANCELED:
		info.CancelledAt = &at
	case enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		info.Error, info.ErrorClass = "the job's workflow timed out in Temporal", classTimeout
	case enumspb.WORKFLOW_EXECUTION_STATUS_FAILED:
		if info.ErrorClass == "" {
			info.ErrorClass = ex.attribute(workflows.AttrErrorClass.GetName())
		}
		if info.Error == "" {
			info.Error = "the job could not record its end; see its workflow in Temporal"
		}
	}
}

// uiURL returns the address of a run in the Temporal Web UI, or "".
func (m *Manager) uiURL(workflowID, runID string) string {
	if m.opt.UIBaseURL == "" || workflowID == "" {
		return ""
	}
	return strings.TrimSuffix(m.opt.UIBaseURL, "/") + "/namespaces/" + url.PathEscape(m.opt.Namespace) +
		"/workflows/" + url.PathEscape(workflowID) + "/" + url.PathEscape(runID) + "/history"
}
