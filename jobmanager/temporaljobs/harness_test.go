package temporaljobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(temporaltest.Stop(), pgtest.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// flusher does the work of jobmanagertest on a memLedger.
type flusher struct {
	work   *jobmanagertest.Work
	ledger *memLedger
	alive  context.Context // ends when the process that runs it crashes
	finish func(flush.FinishInput)
}

func (f *flusher) script(jobID string) *jobmanagertest.Script {
	id, err := jobmanager.ParseJobID(jobID)
	if err != nil {
		panic(err)
	}
	return f.work.Table(id.Table)
}

func (f *flusher) Plan(_ context.Context, in flush.PlanInput) (flush.PlanResult, error) {
	n := 0
	f.ledger.update(in.JobID, func(t *ledger.Totals) {
		if !t.Planned {
			t.ChunksTotal = int64(f.script(in.JobID).Plan())
			t.Planned, t.Generation, t.RowsEstimate = true, 1, t.ChunksTotal*jobmanagertest.RowsPerChunk
		}
		n = int(t.ChunksTotal)
	})
	return flush.PlanResult{Generation: in.Generation, Chunks: n, RowsEstimate: int64(n * jobmanagertest.RowsPerChunk), Parallelism: jobmanagertest.Parallelism}, nil
}

func (f *flusher) RunChunk(ctx context.Context, in flush.ChunkInput, progress func(flush.Checkpoint)) (flush.ChunkResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.alive, func() { cancel(errors.New("crash")) })()
	progress(flush.Checkpoint{Step: flush.StepCopying, AttemptID: uuid.NewString()})
	f.ledger.update(in.JobID, func(t *ledger.Totals) { t.Started, t.Attempt = true, max(t.Attempt, in.Attempt) })
	err := f.script(in.JobID).RunChunk(ctx, in.Chunk, in.Attempt)
	var bad *jobmanagertest.Failure
	if errors.As(err, &bad) {
		return flush.ChunkResult{}, &flush.ClassifiedError{Class: bad.Class, Err: errors.New("the value of a row")}
	}
	if err != nil {
		return flush.ChunkResult{}, err
	}
	f.ledger.update(in.JobID, func(t *ledger.Totals) {
		t.Rows += jobmanagertest.RowsPerChunk
		t.Bytes += 1000
		t.Segments++
		t.ChunksDone++
	})
	return flush.ChunkResult{Rows: jobmanagertest.RowsPerChunk, Bytes: 1000, Segments: 1}, nil
}

func (f *flusher) Residue(context.Context, flush.ResidueInput) (flush.ResidueResult, error) {
	return flush.ResidueResult{}, nil
}
func (f *flusher) Publish(context.Context, string) error { return nil }
func (f *flusher) Sweep(context.Context, string) (flush.SweepResult, error) {
	return flush.SweepResult{}, nil
}

func (f *flusher) Finish(_ context.Context, in flush.FinishInput) (flush.FinishResult, error) {
	if f.finish != nil {
		f.finish(in)
	}
	class := &in.Class
	if in.Class == "" {
		class = nil
	}
	row := f.ledger.finish(ledger.HistoryRow{
		JobID: in.JobID, Status: in.Status, ErrorClass: class, RowsLeft: in.RowsLeft, WorkflowID: in.WorkflowID, RunID: in.RunID,
		CreatedAt: in.CreatedAt, StartedAt: in.StartedAt, CancelledAt: in.CancelledAt,
	}, in.RequestID)
	return flush.FinishResult{Status: row.Status, Rows: row.RowsFlushed, Bytes: row.BytesWritten, Segments: row.Segments}, nil
}

// harness is an installation of its own on the server that the tests share.
type harness struct {
	name   string
	client client.Client
	work   *jobmanagertest.Work
	ledger *memLedger
	tuning workflows.Tuning
	finish func(flush.FinishInput)

	worker *worker.Worker
	crash  func() // ends the worker's process, as far as anybody can see
}

func build(t *testing.T, w *jobmanagertest.Work) jobmanagertest.Harness { return newHarness(t, w, nil) }

func newHarness(t *testing.T, w *jobmanagertest.Work, finish func(flush.FinishInput)) *harness {
	t.Helper()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	h := &harness{
		name:   "test " + uuid.NewString(),
		client: temporaltest.Client(t),
		work:   w,
		ledger: newMemLedger(),
		finish: finish,
		tuning: workflows.Tuning{
			ChunksPerRun: jobmanagertest.ChunksPerRun,
			Attempts:     jobmanagertest.Attempts,
			Backoff:      time.Millisecond,
			Heartbeat:    2 * time.Second,
		},
	}
	h.StartWorker(t)
	t.Cleanup(func() {
		if h.worker != nil {
			h.StopWorker(t, false)
		}
	})
	return h
}

func (h *harness) Abilities() jobmanagertest.Abilities {
	return jobmanagertest.Abilities{Restart: true, Slots: true}
}

func (h *harness) Manager(t testing.TB) jobmanager.JobManager { return h.manager(t, h.client) }

func (h *harness) manager(t testing.TB, c client.Client) *temporaljobs.Manager {
	t.Helper()
	m, err := temporaljobs.New(c, h.ledger, &temporaljobs.Options{
		Installation: h.name,
		UIBaseURL:    "http://ui.test/",
		Types:        map[jobmanager.JobType]temporaljobs.Type{workflows.FlushType: temporaljobs.Flush(validate, h.tuning)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func validate(spec jobmanager.JobSpec) error {
	if spec.Table.Name == "invalid" {
		return &jobmanager.SpecError{Msg: "no"}
	}
	return nil
}

// StartWorker starts a worker on a connection of its own, which a crash cuts.
func (h *harness) StartWorker(t testing.TB) {
	t.Helper()
	srv := temporaltest.Shared(t)
	var dead atomic.Bool
	c, err := client.Dial(client.Options{
		HostPort:  srv.Address(),
		Namespace: srv.Namespace(),
		Logger:    worker.Logger(slog.New(slog.DiscardHandler)),
		// The shortest there is: system.workers shows what heartbeats tell.
		WorkerHeartbeatInterval: time.Second,
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				if dead.Load() {
					return serviceerror.NewInvalidArgument("dead") // not retried
				}
				return invoke(ctx, method, req, reply, cc, opts...)
			}),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	alive, die := context.WithCancel(context.Background())
	h.crash = func() { dead.Store(true); die() }
	h.worker = h.newWorker(t, c, alive)
	t.Cleanup(func() { die(); c.Close() })
}

func (h *harness) newWorker(t testing.TB, c client.Client, alive context.Context) *worker.Worker {
	t.Helper()
	acts := activities.New(&flusher{work: h.work, ledger: h.ledger, alive: alive, finish: h.finish}, &activities.Options{HeartbeatInterval: 100 * time.Millisecond})
	w, err := worker.New(c, workflows.TaskQueue(h.name), acts, &worker.Options{
		Slots:           jobmanagertest.Slots,
		ShutdownTimeout: time.Minute,
		Build:           "test build",
		Logger:          slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (h *harness) StopWorker(t testing.TB, crash bool) {
	t.Helper()
	if crash {
		h.crash()
	}
	now, cancel := context.WithCancel(context.Background())
	cancel() // give up what runs, at once
	if err := h.worker.Stop(now); err != nil {
		t.Errorf("stop worker: %v", err)
	}
	h.worker = nil
}

// A48
func TestConformance(t *testing.T) {
	t.Parallel()
	jobmanagertest.Run(t, build)
}
