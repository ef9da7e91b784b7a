package localjobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
)

var (
	_ jobmanager.JobManager = (*Manager)(nil)
	_ jobmanager.Pauser     = (*Manager)(nil)
	_ jobmanager.Waiter     = (*Manager)(nil)
)

// FlushType is the one type of jobs that a Manager runs.
const FlushType jobmanager.JobType = "flush"

// Steps is the part of *flush.Flusher that a Manager needs.
type Steps interface {
	TakeTable(ctx context.Context, c ledger.Claim, force bool) (ledger.Hold, error)
	CloseInterrupted(ctx context.Context) (closed []string, err error)
	Plan(ctx context.Context, in jobstep.PlanInput) (jobstep.PlanResult, error)
	RunChunk(ctx context.Context, in jobstep.ChunkInput, progress func(jobstep.Checkpoint)) (jobstep.ChunkResult, error)
	Load(ctx context.Context, in jobstep.LoadInput) (jobstep.Load, error)
	Residue(ctx context.Context, in jobstep.ResidueInput) (jobstep.ResidueResult, error)
	Publish(ctx context.Context, jobID string) error
	Vacuum(ctx context.Context, jobID string) error
	Sweep(ctx context.Context, jobID string) (jobstep.SweepResult, error)
	Finish(ctx context.Context, in jobstep.FinishInput) (jobstep.FinishResult, error)
}

// Ledger is the part of *ledger.Ledger that a Manager needs.
type Ledger interface {
	PutRequest(ctx context.Context, r ledger.Request) error
	Requests(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]ledger.Request, error)
	DeleteRequest(ctx context.Context, id uuid.UUID) error
	HistoryOf(ctx context.Context, jobIDs []string) (map[string]ledger.HistoryRow, error)
	ListHistory(ctx context.Context, f ledger.HistoryFilter) ([]ledger.HistoryRow, error)
	Progress(ctx context.Context, jobIDs []string) (map[string]ledger.Totals, error)
	Claims(ctx context.Context) ([]ledger.Claim, error)
}

// Options tune a Manager; nil means the defaults.
type Options struct {
	Slots       int                                 // chunks at once, of all jobs; default 4
	Parallelism int                                 // chunks of a job at once where the plan does not say; default 2
	Attempts    int                                 // tries at each step before the job fails; default jobstep.DefaultAttempts
	Replans     int                                 // how often a table may change under a job; default jobstep.DefaultReplans
	Backoff     time.Duration                       // before the second try, doubled each time; default jobstep.FirstBackoff
	MaxBackoff  time.Duration                       // default jobstep.MaxBackoff
	TakeOver    bool                                // take tables from jobs of Temporal's, dead or alive
	Validate    func(spec jobmanager.JobSpec) error // refuses what can never run, with *jobmanager.SpecError; may be nil
	Logger      *slog.Logger
}

// Manager runs jobs as goroutines. Any number of managers, in any number of processes, may serve a database.
type Manager struct {
	steps  Steps
	ledger Ledger
	opt    Options
	slots  *slots

	ctx  context.Context // of all jobs: it ends when the manager is stopped
	stop context.CancelCauseFunc
	jobs sync.WaitGroup

	starting chan struct{} // one start at a time

	mu   sync.Mutex
	live map[jobmanager.Table]*job // the registry
}

// New returns a manager without jobs. Jobs that an earlier process left behind are closed when they are met; to look for
// them at once, call flush.Flusher.CloseInterrupted.
func New(steps Steps, l Ledger, opt *Options) (*Manager, error) {
	if steps == nil || l == nil {
		return nil, errors.New("a manager of local jobs needs the steps of a flush and a ledger")
	}
	m := &Manager{steps: steps, ledger: l, starting: make(chan struct{}, 1), live: make(map[jobmanager.Table]*job)}
	if opt != nil {
		m.opt = *opt
	}
	o := &m.opt
	o.Slots, o.Parallelism = max(cmp.Or(o.Slots, 4), 1), max(cmp.Or(o.Parallelism, 2), 1)
	o.Attempts, o.Replans = cmp.Or(o.Attempts, jobstep.DefaultAttempts), cmp.Or(o.Replans, jobstep.DefaultReplans)
	o.Backoff, o.MaxBackoff = cmp.Or(o.Backoff, jobstep.FirstBackoff), cmp.Or(o.MaxBackoff, jobstep.MaxBackoff)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m.slots = newSlots(o.Slots)
	m.ctx, m.stop = context.WithCancelCause(context.Background())
	return m, nil
}

// Stop gives up all jobs as they stand, without recording an end, and returns when nothing of them runs any more or ctx
// ends. What they were is found by the next manager: interrupted. To end jobs in good order, cancel them first.
func (m *Manager) Stop(ctx context.Context) error {
	m.stop(errStopped)
	done := make(chan struct{})
	go func() { m.jobs.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop local jobs: %w", context.Cause(ctx))
	}
}

// StartJob implements jobmanager.JobManager.
func (m *Manager) StartJob(ctx context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	if err := m.validate(spec); err != nil {
		return jobmanager.Started{}, err
	}
	select {
	case m.starting <- struct{}{}:
		defer func() { <-m.starting }()
	case <-ctx.Done():
		return jobmanager.Started{}, context.Cause(ctx)
	}
	for {
		if err := cmp.Or(ctx.Err(), m.ctx.Err()); err != nil {
			return jobmanager.Started{}, fmt.Errorf("start job on %s: %w", spec.Table, err)
		}
		j := m.onTable(spec.Table)
		if j == nil {
			return m.start(ctx, spec)
		}
		v, ok := j.ask(ctx, askStatus)
		if ok && !v.ending {
			return found(j.id, j.spec, spec)
		}
		j.awaitEnd(ctx) // whoever sees an end gets a new job
	}
}

func (m *Manager) validate(spec jobmanager.JobSpec) error {
	if spec.Type != FlushType {
		return &jobmanager.SpecError{Msg: fmt.Sprintf("unknown job type %q", spec.Type), Hint: "local jobs are flushes"}
	}
	if spec.Table.Namespace == "" || spec.Table.Name == "" {
		return &jobmanager.SpecError{Msg: "the table's name must be qualified", Hint: "write <schema>.<table>"}
	}
	if m.opt.Validate != nil {
		return m.opt.Validate(spec)
	}
	return nil
}

// found answers a start with the job that is there.
func found(id jobmanager.JobID, running, asked jobmanager.JobSpec) (jobmanager.Started, error) {
	if running.Canonical() == asked.Canonical() {
		return jobmanager.Started{ID: id, Existing: true}, nil
	}
	return jobmanager.Started{}, &jobmanager.BusyError{Table: asked.Table, Running: id}
}

// start takes the table for a new job and starts it, or says which job of another process has the table.
func (m *Manager) start(ctx context.Context, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	jobID, reqID, err := newIDs()
	if err != nil {
		return jobmanager.Started{}, err
	}
	id := jobmanager.JobID{Type: spec.Type, Table: spec.Table, UUID: jobID}
	if spec.Trigger == "" {
		spec.Trigger = jobmanager.TriggerCommand
	}
	err = m.ledger.PutRequest(ctx, ledger.Request{
		ID: reqID, JobType: string(spec.Type), Schema: spec.Table.Namespace, Table: spec.Table.Name, Params: spec.Params,
		Statement: spec.Statement, RequestedBy: spec.RequestedBy, Trigger: string(spec.Trigger), Schedule: spec.Schedule,
	})
	if err != nil {
		return jobmanager.Started{}, err
	}
	hold, err := m.steps.TakeTable(ctx, ledger.Claim{Schema: spec.Table.Namespace, Table: spec.Table.Name, JobID: id.String(), RequestID: reqID}, m.opt.TakeOver)
	if err != nil {
		m.dropRequest(ctx, reqID)
		var held *ledger.HeldError
		if errors.As(err, &held) {
			return m.heldElsewhere(ctx, held.Claim, spec)
		}
		return jobmanager.Started{}, err
	}
	j := newJob(m, id, reqID, spec, hold)
	m.mu.Lock()
	m.live[spec.Table] = j
	m.mu.Unlock()
	m.jobs.Go(j.main)
	return jobmanager.Started{ID: id}, nil
}

func newIDs() (job, request uuid.UUID, err error) {
	if job, err = uuid.NewV7(); err == nil {
		request, err = uuid.NewV7()
	}
	if err != nil {
		err = fmt.Errorf("new job id: %w", err)
	}
	return job, request, err
}

// dropRequest removes a request that nothing will ever read. One that stays behind is harmless.
func (m *Manager) dropRequest(ctx context.Context, id uuid.UUID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = m.ledger.DeleteRequest(ctx, id)
}

// heldElsewhere answers a start with the job of another process or manager that holds the table.
func (m *Manager) heldElsewhere(ctx context.Context, c ledger.Claim, spec jobmanager.JobSpec) (jobmanager.Started, error) {
	id, err := jobmanager.ParseJobID(c.JobID)
	if err != nil {
		return jobmanager.Started{}, fmt.Errorf("table %s is locked by a job that is just starting or ending: %w", spec.Table, jobmanager.ErrUnavailable)
	}
	if c.Manager != ledger.ManagerLocal {
		return jobmanager.Started{}, &jobmanager.BusyError{Table: spec.Table, Running: id, Manager: string(c.Manager)}
	}
	requests, err := m.ledger.Requests(ctx, []uuid.UUID{c.RequestID})
	if err != nil {
		return jobmanager.Started{}, err
	}
	r := requests[c.RequestID]
	return found(id, jobmanager.JobSpec{Type: jobmanager.JobType(r.JobType), Table: id.Table, Params: r.Params}, spec)
}

// onTable returns the job of this manager that has a table, or nil.
func (m *Manager) onTable(t jobmanager.Table) *job {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live[t]
}

// remove takes a job out of the registry.
func (m *Manager) remove(j *job) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, j.id.Table)
}
