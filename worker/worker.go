package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/workflows"
)

// ErrStillRunning is returned by Stop when activities did not end although they were given up. Their chunks are safe:
// what they have not committed rolls back when the process ends.
var ErrStillRunning = errors.New("activities still running")

// Options tunes a Worker. The zero value means the defaults.
type Options struct {
	Slots                        int                   // chunks at once; default 4
	ShutdownTimeout              time.Duration         // how long Stop waits for running chunks; default 5 min
	ReportEvery                  time.Duration         // how often Stop says what it waits for; default 3 s
	Grace                        time.Duration         // how long Stop waits for given-up chunks to roll back; default 15 s
	MaxHeartbeatThrottleInterval time.Duration         // default 400 ms: also how late a cancel may reach a chunk where the server does not push it
	Identity                     string                // default: the client's
	Build                        string                // version of this program, for people to read; default: unknown
	Logger                       *slog.Logger          // default: slog.Default()
	Storages                     *activities.Storages  // nil: this worker checks no storages
	Policies                     *activities.Policies  // nil: this worker watches no policies
	EnsureEvery                  time.Duration         // how often it sees to it that there is a FlushScheduler; default 30 s
	Schedules                    *activities.Schedules // nil: this worker runs no schedules
	Failed                       Failed                // hears of failed attempts at steps; nil: nobody does
	Context                      context.Context       // what contexts of activities come from; its end is not looked at. Default: context.Background()
}

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.Slots <= 0 {
		opt.Slots = 4
	}
	if opt.ShutdownTimeout <= 0 {
		opt.ShutdownTimeout = 5 * time.Minute
	}
	if opt.ReportEvery <= 0 {
		opt.ReportEvery = 3 * time.Second
	}
	if opt.Grace <= 0 {
		opt.Grace = 15 * time.Second
	}
	if opt.MaxHeartbeatThrottleInterval <= 0 {
		opt.MaxHeartbeatThrottleInterval = 400 * time.Millisecond
	}
	if opt.EnsureEvery <= 0 {
		opt.EnsureEvery = 30 * time.Second
	}
	if opt.Build == "" {
		opt.Build = "unknown"
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	if opt.Context == nil {
		opt.Context = context.Background()
	}
	return opt
}

// Worker runs workflows and activities of one installation.
type Worker struct {
	opt    Options
	queue  string
	jobs   worker.Worker // workflows and short activities
	chunks worker.Worker
	runs   worker.Worker           // of schedules; nil: none
	giveUp context.CancelCauseFunc // ends the contexts of running activities
	fatal  chan error

	running func() []activities.Running

	client   client.Client
	schedule *scheduling // nil: not started, or this worker watches no policies

	stopOnce sync.Once
	stopped  chan struct{} // closed when all have stopped
}

// New returns a worker for the task queue of an installation; see workflows.TaskQueue.
func New(c client.Client, taskQueue string, acts *activities.Activities, opt *Options) (*Worker, error) {
	if c == nil || acts == nil || taskQueue == "" {
		return nil, errors.New("worker needs a client, a task queue and activities")
	}
	w := &Worker{
		opt:     opt.withDefaults(),
		queue:   taskQueue,
		client:  c,
		fatal:   make(chan error, 3),
		running: func() []activities.Running { return activities.RunningChunks(acts) },
		stopped: make(chan struct{}),
	}
	root, giveUp := context.WithCancelCause(context.WithoutCancel(w.opt.Context))
	w.giveUp = giveUp
	w.jobs = worker.New(c, taskQueue, w.jobOptions(root))
	w.chunks = worker.New(c, workflows.ChunkTaskQueue(taskQueue), w.chunkOptions(root))

	w.jobs.RegisterWorkflowWithOptions(workflows.FlushJob, workflow.RegisterOptions{Name: workflows.FlushJobName})
	w.jobs.RegisterWorkflowWithOptions(workflows.VerifyJob, workflow.RegisterOptions{Name: workflows.VerifyJobName})
	w.jobs.RegisterWorkflowWithOptions(workflows.CleanupJob, workflow.RegisterOptions{Name: workflows.CleanupJobName})
	w.jobs.RegisterWorkflowWithOptions(workflows.RestoreJob, workflow.RegisterOptions{Name: workflows.RestoreJobName})
	w.jobs.RegisterActivity(acts)
	if w.opt.Storages != nil {
		w.jobs.RegisterWorkflowWithOptions(workflows.CheckStorage, workflow.RegisterOptions{Name: workflows.CheckStorageName})
		w.jobs.RegisterActivity(w.opt.Storages)
	}
	if w.opt.Policies != nil {
		w.jobs.RegisterWorkflowWithOptions(workflows.FlushScheduler, workflow.RegisterOptions{Name: workflows.FlushSchedulerName})
		w.jobs.RegisterActivity(w.opt.Policies)
	}
	if w.opt.Schedules != nil {
		w.runs = worker.New(c, workflows.ScheduleTaskQueue(taskQueue), w.runOptions(root))
		w.jobs.RegisterWorkflowWithOptions(workflows.ScheduledRun, workflow.RegisterOptions{Name: workflows.ScheduledRunName})
		w.runs.RegisterActivity(w.opt.Schedules)
	}
	w.chunks.RegisterActivityWithOptions(acts.MoveChunk, activity.RegisterOptions{Name: "MoveChunk"})
	w.chunks.RegisterActivityWithOptions(acts.CheckSegments, activity.RegisterOptions{Name: "CheckSegments"})
	w.chunks.RegisterActivityWithOptions(acts.CleanUp, activity.RegisterOptions{Name: "CleanUp"})
	w.chunks.RegisterActivityWithOptions(acts.RestoreSegment, activity.RegisterOptions{Name: "RestoreSegment"})
	return w, nil
}

// Start begins to poll. It returns an error if the server cannot be reached or has no such namespace.
func (w *Worker) Start() error {
	if err := w.jobs.Start(); err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	if err := w.chunks.Start(); err != nil {
		w.jobs.Stop()
		return fmt.Errorf("start worker for chunks: %w", err)
	}
	if w.runs != nil {
		if err := w.runs.Start(); err != nil {
			w.jobs.Stop()
			w.chunks.Stop()
			return fmt.Errorf("start worker for schedules: %w", err)
		}
	}
	if w.opt.Policies != nil {
		w.startScheduling(w.client)
	}
	w.opt.Logger.Info("worker started", obs.KeyQueue, w.queue, obs.KeySlots, w.opt.Slots)
	return nil
}

// Stop takes no more work and waits for what is running, at most until ctx ends or Options.ShutdownTimeout is over. Then
// it gives up the running activities, which roll back and report that they may be tried elsewhere at once.
func (w *Worker) Stop(ctx context.Context) error {
	w.stopOnce.Do(func() {
		w.schedule.end()
		go w.drain()
	})
	if w.awaitDrained(ctx) {
		return nil
	}
	w.opt.Logger.Warn("giving up running activities", obs.KeyQueue, w.queue, "running", describe(w.running(), time.Now()))
	w.giveUp(activities.ErrStopping)
	grace := time.NewTimer(w.opt.Grace)
	defer grace.Stop()
	select {
	case <-w.stopped:
		return nil
	case <-grace.C:
		return ErrStillRunning
	}
}

// awaitDrained waits until all workers have stopped, and says from time to time what for. It returns false when patience is
// over.
func (w *Worker) awaitDrained(ctx context.Context) bool {
	deadline := time.Now().Add(w.opt.ShutdownTimeout)
	patience := time.NewTimer(w.opt.ShutdownTimeout)
	defer patience.Stop()
	tick := time.NewTicker(w.opt.ReportEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stopped:
			return true
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		case <-tick.C:
			w.report(deadline)
		}
	}
}

// Run starts the worker and stops it when ctx ends. It returns early if the server turns the worker away.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.Start(); err != nil {
		return err
	}
	var fatal error
	select {
	case <-ctx.Done():
	case fatal = <-w.fatal:
	}
	return errors.Join(fatal, w.Stop(context.WithoutCancel(ctx)))
}

// Fatal receives an error when the server turns the worker away for good.
func (w *Worker) Fatal() <-chan error { return w.fatal }

// drain stops all workers side by side. Runs of schedules end at once: they only wait, and another worker goes on with that.
func (w *Worker) drain() {
	var all sync.WaitGroup
	all.Go(w.jobs.Stop)
	all.Go(w.chunks.Stop)
	if w.runs != nil {
		all.Go(w.runs.Stop)
	}
	all.Wait()
	w.opt.Logger.Info("worker stopped", obs.KeyQueue, w.queue)
	close(w.stopped)
}

func (w *Worker) jobOptions(root context.Context) worker.Options {
	o := w.options(root)
	// Few pollers serve two cores; steps wait for PostgreSQL more than they compute.
	o.MaxConcurrentWorkflowTaskPollers = 4
	o.MaxConcurrentActivityTaskPollers = 2
	o.MaxConcurrentActivityExecutionSize = 64
	o.MaxConcurrentLocalActivityExecutionSize = 64
	o.MaxConcurrentWorkflowTaskExecutionSize = 64
	return o
}

func (w *Worker) chunkOptions(root context.Context) worker.Options {
	o := w.options(root)
	o.DisableWorkflowWorker = true
	o.MaxConcurrentActivityExecutionSize = w.opt.Slots
	o.MaxConcurrentActivityTaskPollers = min(w.opt.Slots, 4)
	return o
}

// scheduledRuns is how many runs of schedules a worker has at once. Each only waits.
const scheduledRuns = 1000

func (w *Worker) runOptions(root context.Context) worker.Options {
	o := w.options(root)
	o.DisableWorkflowWorker = true
	o.MaxConcurrentActivityExecutionSize = scheduledRuns
	o.MaxConcurrentActivityTaskPollers = 2
	return o
}

func (w *Worker) options(root context.Context) worker.Options {
	return worker.Options{
		Identity:     w.opt.Identity,
		Interceptors: w.opt.Failed.interceptors(),
		// Not for versioning, which a job's long life does not go with: Temporal only shows it.
		DeploymentOptions:            worker.DeploymentOptions{Version: worker.WorkerDeploymentVersion{DeploymentName: "spillway", BuildID: w.opt.Build}},
		BackgroundActivityContext:    root,
		MaxHeartbeatThrottleInterval: w.opt.MaxHeartbeatThrottleInterval,
		// Longer than Stop waits, so that given-up activities can still report.
		WorkerStopTimeout:        w.opt.ShutdownTimeout + 2*w.opt.Grace,
		DeadlockDetectionTimeout: 5 * time.Second, // chunks may take both cores for a while
		OnFatalError: func(err error) {
			select {
			case w.fatal <- err:
			default:
			}
		},
	}
}

// Logger returns l for client.Options.Logger, from which workers and workflows take theirs.
func Logger(l *slog.Logger) log.Logger { return log.NewStructuredLogger(l) }
