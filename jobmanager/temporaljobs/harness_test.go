package temporaljobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/embedtemporal/temporaltest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(asWorker); text != "" {
		fmt.Fprintln(os.Stderr, workerMain(text))
		os.Exit(1)
	}
	code := m.Run()
	if err := errors.Join(temporaltest.Stop(), pgtest.Stop()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// harness is an installation of its own on the server that the tests share.
type harness struct {
	name    string
	client  client.Client
	work    *jobmanagertest.Work
	ledger  *steptest.Ledger
	tuning  workflows.Tuning
	finish  func(jobstep.FinishInput)
	residue func(jobstep.ResidueInput) jobstep.ResidueResult // of workers that start from now on
	manners *jobstep.Manners                                 // the same
	busy    func() jobstep.Load                              // the same

	worker *worker.Worker
	crash  func() // ends the worker's process, as far as anybody can see
}

func build(t *testing.T, w *jobmanagertest.Work) jobmanagertest.Harness { return newHarness(t, w, nil) }

func newHarness(t *testing.T, w *jobmanagertest.Work, finish func(jobstep.FinishInput)) *harness {
	t.Helper()
	temporaltest.SearchAttributes(t, workflows.SearchAttributes())
	h := &harness{
		name:   "test " + uuid.NewString(),
		client: temporaltest.Client(t),
		work:   w,
		ledger: steptest.NewLedger(),
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

// heldFlush is an installation with a flush of so many chunks. They are held, and the first of them has begun.
func heldFlush(t *testing.T, chunks int) (*harness, *temporaljobs.Manager, *jobmanagertest.Script, jobmanager.JobID) {
	t.Helper()
	w := jobmanagertest.NewWork()
	h := newHarness(t, w, nil)
	m := h.manager(t, h.client)
	s := w.Table(events)
	s.SetChunks(chunks)
	s.Hold()
	id := mustStart(t, m, flushOf(events))
	s.AwaitBegun(t)
	return h, m, s, id
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
		Types: map[jobmanager.JobType]temporaljobs.Type{
			workflows.CleanupType: temporaljobs.Cleanup(validate, h.tuning),
			workflows.FlushType:   temporaljobs.Flush(validate, h.tuning),
			workflows.RestoreType: temporaljobs.Restore(validate, h.tuning),
			workflows.VerifyType:  temporaljobs.Verify(validate, h.tuning),
		},
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
	alive, die := context.WithCancel(context.Background())
	c, err := client.Dial(client.Options{
		HostPort:  srv.Address(),
		Namespace: srv.Namespace(),
		Logger:    worker.Logger(slog.New(slog.DiscardHandler)),
		// The shortest there is: system.workers shows what heartbeats tell.
		WorkerHeartbeatInterval: time.Second,
		ConnectionOptions: client.ConnectionOptions{DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				ctx, cut := context.WithCancel(ctx)
				defer cut()
				defer context.AfterFunc(alive, cut)() // a poll that waits ends too
				err := alive.Err()
				if err == nil {
					err = invoke(ctx, method, req, reply, cc, opts...)
				}
				if alive.Err() != nil {
					return serviceerror.NewInvalidArgument("dead") // not retried
				}
				return err
			}),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.crash = die
	h.worker = h.newWorker(t, c, alive)
	t.Cleanup(func() { die(); c.Close() })
}

func (h *harness) newWorker(t testing.TB, c client.Client, alive context.Context) *worker.Worker {
	t.Helper()
	steps := &steptest.Steps{Work: h.work, Ledger: h.ledger, Alive: alive, Finishing: h.finish, Looking: h.residue, Manners: h.manners, Busy: h.busy}
	acts := activities.New(steps, &activities.Options{Keeper: steps, HeartbeatInterval: 100 * time.Millisecond})
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
