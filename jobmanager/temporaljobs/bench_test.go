package temporaljobs_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/internal/embedtemporal"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest/steptest"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

// benchServer is a server with a store in a file, as 'up' has it: syncing that file is most of what a step costs.
func benchServer(b *testing.B) client.Client {
	b.Helper()
	srv, err := embedtemporal.Start(b.Context(), &embedtemporal.Options{DataDir: b.TempDir(), NoUI: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = srv.Stop() })
	c, err := client.Dial(client.Options{HostPort: srv.Address(), Logger: worker.Logger(slog.New(slog.DiscardHandler)),
		ConnectionOptions: client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	if err := embedtemporal.EnsureSearchAttributes(b.Context(), c, srv.Namespace(), workflows.SearchAttributes()); err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkEmptyFlush compares a flush that finds nothing, from StartJob to the end of WaitJob, with a workflow of one
// activity that does nothing, on the same server and with manager and worker in one process.
func BenchmarkEmptyFlush(b *testing.B) {
	c := benchServer(b)
	b.Run("bare", func(b *testing.B) {
		w := sdkworker.New(c, "bare", sdkworker.Options{})
		w.RegisterWorkflowWithOptions(bareWorkflow, workflow.RegisterOptions{Name: "bare"})
		w.RegisterActivityWithOptions(func(context.Context) error { return nil }, activity.RegisterOptions{Name: "nothing"})
		if err := w.Start(); err != nil {
			b.Fatal(err)
		}
		defer w.Stop()
		for b.Loop() {
			run, err := c.ExecuteWorkflow(b.Context(), client.StartWorkflowOptions{ID: uuid.NewString(), TaskQueue: "bare"}, "bare")
			if err == nil {
				err = run.Get(b.Context(), nil)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("flush/real", func(b *testing.B) {
		r := newReal(b, c)
		r.db.Exec(b, `INSERT INTO app.events SELECT i, 'note ' || i FROM generate_series(1, 1000) AS i`)
		spec := jobmanager.JobSpec{Type: workflows.FlushType, Table: events}
		first := true
		for b.Loop() {
			s, err := r.manager.StartJob(b.Context(), spec)
			if err != nil {
				b.Fatal(err)
			}
			if info, err := r.manager.WaitJob(b.Context(), s.ID); err != nil || info.Status != jobmanager.Completed || info.RowsFlushed != 0 && !first {
				b.Fatal(info.Status, info.RowsFlushed, err)
			}
			if first {
				r.db.Exec(b, `TRUNCATE app.events`)
				first = false
			}
		}
	})
	for _, chunks := range []int{0, 1} {
		b.Run(fmt.Sprintf("flush/chunks=%d", chunks), func(b *testing.B) {
			work := jobmanagertest.NewWork()
			h := &harness{name: fmt.Sprint("bench", chunks), client: c, work: work, ledger: steptest.NewLedger()}
			w := h.newWorker(b, c, context.Background())
			defer func() { _ = w.Stop(context.Background()) }()
			m := h.manager(b, c)
			work.Table(events).SetChunks(chunks)
			for b.Loop() {
				s, err := m.StartJob(b.Context(), flushOf(events))
				if err != nil {
					b.Fatal(err)
				}
				if info, err := m.WaitJob(b.Context(), s.ID); err != nil || info.Status != jobmanager.Completed {
					b.Fatal(info.Status, err)
				}
			}
		})
	}
}

func bareWorkflow(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1e9})
	return workflow.ExecuteActivity(ctx, "nothing").Get(ctx, nil)
}
