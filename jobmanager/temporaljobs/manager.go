package temporaljobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

var (
	_ jobmanager.JobManager = (*Manager)(nil)
	_ jobmanager.Pauser     = (*Manager)(nil)
	_ jobmanager.Waiter     = (*Manager)(nil)
)

// Ledger is the part of *ledger.Ledger that a Manager needs.
type Ledger interface {
	PutRequest(ctx context.Context, r ledger.Request) error
	Requests(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]ledger.Request, error)
	DeleteRequest(ctx context.Context, id uuid.UUID) error
	HistoryOf(ctx context.Context, jobIDs []string) (map[string]ledger.HistoryRow, error)
	ListHistory(ctx context.Context, f ledger.HistoryFilter) ([]ledger.HistoryRow, error)
	Progress(ctx context.Context, jobIDs []string) (map[string]ledger.Totals, error)
	LocalHolder(ctx context.Context, schema, table string) (jobID string, err error)
}

// Type says how jobs of one type are run.
type Type struct {
	Workflow  string                              // the workflow's type
	Mutating  bool                                // changes its table: one such job lives per table
	Tableless bool                                // its jobs have no table: one of them lives at a time
	Validate  func(spec jobmanager.JobSpec) error // refuses what can never run, with *jobmanager.SpecError; may be nil
	Input     func(memo workflows.Memo) any       // the workflow's input
}

// Flush returns the type of jobs that flush a table.
func Flush(validate func(spec jobmanager.JobSpec) error, tuning workflows.Tuning) Type {
	return Type{Workflow: workflows.FlushJobName, Mutating: true, Validate: validate, Input: input(tuning)}
}

// Verify returns the type of jobs that read a table's segments back.
func Verify(validate func(spec jobmanager.JobSpec) error, tuning workflows.Tuning) Type {
	return Type{Workflow: workflows.VerifyJobName, Validate: validate, Input: input(tuning)}
}

// Cleanup returns the type of jobs that remove what nobody needs.
func Cleanup(validate func(spec jobmanager.JobSpec) error, tuning workflows.Tuning) Type {
	return Type{Workflow: workflows.CleanupJobName, Tableless: true, Validate: validate, Input: input(tuning)}
}

// input makes what every one of these workflows starts with.
func input(tuning workflows.Tuning) func(workflows.Memo) any {
	return func(m workflows.Memo) any {
		return workflows.FlushInput{Table: m.Table, RequestID: m.RequestID, CreatedAt: m.CreatedAt, Tuning: tuning}
	}
}

// Restore returns the type of jobs that put cold rows back into a table. They exclude flushes of it, and each other.
func Restore(validate func(spec jobmanager.JobSpec) error, tuning workflows.Tuning) Type {
	typ := Flush(validate, tuning)
	typ.Workflow = workflows.RestoreJobName
	return typ
}

// Options describe the installation. Installation and Types are required.
type Options struct {
	Installation string        // its name; part of workflow ids, task queue and search attributes
	Namespace    string        // the client's namespace; default "default"
	UIBaseURL    string        // of the Temporal Web UI; "": jobs have no link
	Retention    time.Duration // how long ended jobs are listed that did not record their end; 0: as long as Temporal knows them
	Types        map[jobmanager.JobType]Type
	Now          func() time.Time // default: time.Now
	Span         obs.StartSpan    // of starts; nil: no traces
}

// Manager runs jobs as Temporal workflows. Any number of managers, in any number of processes, may serve an installation.
type Manager struct {
	client client.Client
	ledger Ledger
	opt    Options
	recent recentJobs
}

// New returns a manager. It talks to nobody yet.
func New(c client.Client, l Ledger, opt *Options) (*Manager, error) {
	if c == nil || l == nil || opt == nil {
		return nil, errors.New("a manager of jobs needs a client, a ledger and options")
	}
	o := *opt
	if o.Installation == "" {
		return nil, errors.New("the installation has no name")
	}
	if len(o.Types) == 0 {
		return nil, errors.New("no job types")
	}
	for name, t := range o.Types {
		if t.Workflow == "" || t.Input == nil {
			return nil, fmt.Errorf("job type %q has no workflow or no input", name)
		}
	}
	if o.Namespace == "" {
		o.Namespace = client.DefaultNamespace
	}
	if o.Span == nil {
		o.Span = obs.NoSpan
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Manager{client: c, ledger: l, opt: o, recent: recentJobs{now: o.Now}}, nil
}

// workflowID returns the id of the workflow of a job, or false if the type is unknown.
func (m *Manager) workflowID(jobType jobmanager.JobType, t jobmanager.Table) (string, bool) {
	typ, ok := m.opt.Types[jobType]
	if !ok {
		return "", false
	}
	return workflows.WorkflowID(m.opt.Installation, typ.Mutating, jobType, t), true
}
