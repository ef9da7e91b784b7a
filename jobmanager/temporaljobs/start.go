package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

const (
	// startTries bounds how often a start may find a job that is gone when looked at.
	startTries   = 50
	dropPatience = 5 * time.Second
)

// StartJob implements jobmanager.JobManager.
func (m *Manager) StartJob(ctx context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	ctx, end := m.opt.Span(ctx, obs.SpanStartJob, slog.String(obs.AttrKind, string(spec.Type)), slog.String(obs.KeyTable, spec.Table.String()))
	started, err := m.startJob(ctx, spec)
	end(startClass(err))
	return started, err
}

// startClass says in a word, for traces, why a job was not started.
func startClass(err error) string {
	var busy *jobmanager.BusyError
	var spec *jobmanager.SpecError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &spec):
		return "invalid"
	}
	return "unavailable"
}

func (m *Manager) startJob(ctx context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	typ, err := m.validate(spec)
	if err != nil {
		return jobmanager.Started{}, err
	}
	if typ.Mutating {
		if err := m.notHeld(ctx, spec.Table); err != nil {
			return jobmanager.Started{}, err
		}
	}
	req, err := m.putRequest(ctx, spec)
	if err != nil {
		return jobmanager.Started{}, err
	}
	started, mine, err := m.startOrFind(ctx, typ, spec, req)
	if !mine {
		m.dropRequest(ctx, req)
	}
	return started, err
}

func (m *Manager) validate(spec jobmanager.JobSpec) (Type, error) {
	typ, ok := m.opt.Types[spec.Type]
	if !ok {
		return Type{}, &jobmanager.SpecError{Msg: fmt.Sprintf("unknown job type %q", spec.Type)}
	}
	if typ.Tableless && !spec.Table.IsZero() {
		return Type{}, &jobmanager.SpecError{Msg: fmt.Sprintf("a %s takes no table", spec.Type)}
	}
	if !typ.Tableless && (spec.Table.Namespace == "" || spec.Table.Name == "") {
		return Type{}, &jobmanager.SpecError{Msg: "the table's name must be qualified", Hint: "write <schema>.<table>"}
	}
	if typ.Validate != nil {
		if err := typ.Validate(spec); err != nil {
			return Type{}, err
		}
	}
	return typ, nil
}

// notHeld refuses a table that a living local job holds. One that comes in just after this look is met by the job's plan,
// which waits for it.
func (m *Manager) notHeld(ctx context.Context, t jobmanager.Table) error {
	holder, err := m.ledger.LocalHolder(ctx, t.Namespace, t.Name)
	if err != nil || holder == "" {
		return err
	}
	id, err := jobmanager.ParseJobID(holder)
	if err != nil {
		return err
	}
	return &jobmanager.BusyError{Table: t, Running: id, Manager: "local"}
}

// putRequest stores what is asked for before the workflow that will read it exists.
func (m *Manager) putRequest(ctx context.Context, spec jobmanager.JobSpec) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, fmt.Errorf("new request id: %w", err)
	}
	return id, m.ledger.PutRequest(ctx, ledger.Request{
		ID:          id,
		JobType:     string(spec.Type),
		Schema:      spec.Table.Namespace,
		Table:       spec.Table.Name,
		Params:      spec.Params,
		Statement:   spec.Statement,
		RequestedBy: spec.RequestedBy,
		Trigger:     string(spec.Trigger),
		Schedule:    spec.Schedule,
	})
}

// dropRequest removes a request that nothing will ever read. One that stays behind is harmless, so no answer depends on it.
func (m *Manager) dropRequest(ctx context.Context, req uuid.UUID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropPatience)
	defer cancel()
	_ = m.ledger.DeleteRequest(ctx, req)
}

// startOrFind starts the workflow or finds the one that is in its way. mine says whether a workflow has, or may have, the
// request.
func (m *Manager) startOrFind(ctx context.Context, typ Type, spec jobmanager.JobSpec, req uuid.UUID) (s jobmanager.Started, mine bool, err error) {
	for range startTries {
		id, err := m.start(ctx, typ, spec, req)
		if err == nil {
			m.recent.add(id)
			return jobmanager.Started{ID: id}, true, nil
		}
		var already *serviceerror.WorkflowExecutionAlreadyStarted
		if !errors.As(err, &already) {
			return jobmanager.Started{}, true, failed(ctx, "start job", err)
		}
		s, again, err := m.existing(ctx, spec)
		if !again {
			return s, false, err
		}
	}
	return jobmanager.Started{}, false, fmt.Errorf("start %s job: %w: the jobs before it did not make way", spec.Type, jobmanager.ErrUnavailable)
}

// start starts the workflow, unless one with its id is open.
func (m *Manager) start(ctx context.Context, typ Type, spec jobmanager.JobSpec, req uuid.UUID) (jobmanager.JobID, error) {
	memo := workflows.Memo{
		Type:      spec.Type,
		Table:     spec.Table,
		RequestID: req.String(),
		CreatedAt: m.opt.Now().UTC().Truncate(time.Microsecond), // as PostgreSQL keeps it
	}
	run, err := m.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:        workflows.WorkflowID(m.opt.Installation, typ.Mutating, spec.Type, spec.Table),
		TaskQueue: workflows.TaskQueue(m.opt.Installation),
		// An open workflow is an error that says so. The SDK's default would return it as if it were new.
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:                    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		EnableEagerStart:                         true, // with a worker in this process the first step begins at once
		Memo:                                     map[string]any{workflows.MemoJob: memo},
		TypedSearchAttributes:                    m.attributes(spec),
		StaticSummary:                            strings.TrimSpace(fmt.Sprintf("%s %s", spec.Type, spec.Table)),
		StaticDetails:                            details(spec),
	}, typ.Workflow, typ.Input(memo))
	if err != nil {
		return jobmanager.JobID{}, err
	}
	first, err := uuid.Parse(run.GetRunID())
	if err != nil {
		return jobmanager.JobID{}, fmt.Errorf("run id of the new workflow: %w", err)
	}
	return jobmanager.JobID{Type: spec.Type, Table: spec.Table, UUID: first}, nil
}

// existing describes the job that keeps a start from happening. again means that it is gone.
func (m *Manager) existing(ctx context.Context, spec jobmanager.JobSpec) (s jobmanager.Started, again bool, err error) {
	wid, _ := m.workflowID(spec.Type, spec.Table)
	ex, err := m.describe(ctx, wid, "")
	if notFound(err) || err == nil && !ex.open() {
		return jobmanager.Started{}, true, nil
	}
	if err != nil {
		return jobmanager.Started{}, false, failed(ctx, "describe the running job", err)
	}
	if ex.memo.RequestID == "" {
		return jobmanager.Started{}, false, fmt.Errorf("start %s job: workflow %q of type %q is in the way, and no job manager started it",
			spec.Type, wid, ex.info.GetType().GetName())
	}
	ended, err := m.ledger.HistoryOf(ctx, []string{ex.id.String()})
	if err != nil {
		return jobmanager.Started{}, false, err
	}
	if _, ok := ended[ex.id.String()]; ok {
		// The job has ended; its workflow is about to. Whoever saw that end must get a new job.
		if err := m.awaitClose(ctx, wid, ex.runID(), glance); err != nil {
			return jobmanager.Started{}, false, failed(ctx, "wait for the job before to close", err)
		}
		return jobmanager.Started{}, true, nil
	}
	same, err := m.sameWork(ctx, spec, ex)
	switch {
	case err != nil:
		return jobmanager.Started{}, false, err
	case same:
		return jobmanager.Started{ID: ex.id, Existing: true}, false, nil
	}
	return jobmanager.Started{}, false, &jobmanager.BusyError{Table: spec.Table, Running: ex.id}
}

// sameWork compares what spec asks for with what the running job was asked for.
func (m *Manager) sameWork(ctx context.Context, spec jobmanager.JobSpec, ex *execution) (bool, error) {
	id, err := uuid.Parse(ex.memo.RequestID)
	if err != nil {
		return false, fmt.Errorf("request of the running job: %w", err)
	}
	found, err := m.ledger.Requests(ctx, []uuid.UUID{id})
	if err != nil {
		return false, err
	}
	r, ok := found[id]
	if !ok {
		return false, nil
	}
	running := jobmanager.JobSpec{
		Type:   jobmanager.JobType(r.JobType),
		Table:  jobmanager.Table{Namespace: r.Schema, Name: r.Table},
		Params: r.Params,
	}
	return running.Canonical() == spec.Canonical(), nil
}

func (m *Manager) attributes(spec jobmanager.JobSpec) temporal.SearchAttributes {
	updates := []temporal.SearchAttributeUpdate{
		workflows.AttrInstallation.ValueSet(workflows.Keyword(jobmanager.EscapeName(m.opt.Installation))),
		workflows.AttrJobType.ValueSet(string(spec.Type)),
		workflows.AttrStatus.ValueSet(string(jobmanager.Pending)),
		workflows.AttrPhase.ValueSet(string(workflows.PhasePlanning)),
		workflows.AttrTrigger.ValueSet(string(triggerOf(spec.Trigger))),
	}
	if !spec.Table.IsZero() {
		updates = append(updates, workflows.AttrTable.ValueSet(workflows.Keyword(spec.Table.String())))
	}
	if spec.RequestedBy != "" {
		updates = append(updates, workflows.AttrUser.ValueSet(workflows.Keyword(spec.RequestedBy)))
	}
	return temporal.NewSearchAttributes(updates...)
}

func triggerOf(t jobmanager.Trigger) jobmanager.Trigger {
	if t == "" {
		return jobmanager.TriggerCommand
	}
	return t
}

// details is the fixed text about a job in the Temporal Web UI. The statement is not in it: it may hold literals.
func details(spec jobmanager.JobSpec) string {
	text := fmt.Sprintf("A %s job", spec.Type)
	if !spec.Table.IsZero() {
		text += fmt.Sprintf(" on table `%s`", spec.Table)
	}
	by := fmt.Sprintf("a %s", triggerOf(spec.Trigger))
	if spec.Schedule != "" {
		by = fmt.Sprintf("the schedule `%s`", spec.Schedule)
	}
	text += ", started by " + by
	if spec.RequestedBy != "" {
		text += fmt.Sprintf(" of user `%s`", spec.RequestedBy)
	}
	return text + ".\n\nIts statement, options and errors are in `system.jobs`: they may hold values of rows, which have no place here."
}
