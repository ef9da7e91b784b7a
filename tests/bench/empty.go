package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	temporal "go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

const (
	bareQueue  = "bench-bare"
	emptyPairs = 50
)

// bareWorkflow is the least that a workflow can do and still do something: one activity.
func bareWorkflow(ctx workflow.Context) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	return workflow.ExecuteActivity(ctx, bareActivity).Get(ctx, nil)
}

func bareActivity(context.Context) error { return nil }

// measureEmpty times the flush of a table without rows, from the statement to the end of its workflow, and beside it a
// bare workflow on the same server, awaited in the same way.
func measureEmpty(ctx context.Context, u *upChild, rep *report) error {
	t := table{name: "nothing", columns: []column{{"id", "bigint", "i"}}}
	if err := execAll(ctx, u.b.super, append([]string{"DROP TABLE IF EXISTS app.nothing", "CREATE TABLE app.nothing (id bigint PRIMARY KEY)"}, u.b.granting(t)...)...); err != nil {
		return err
	}
	front, err := u.connect(ctx)
	if err != nil {
		return err
	}
	defer front.close()
	c, err := temporal.DialContext(ctx, temporal.Options{
		HostPort: u.address, Namespace: u.space, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		return fmt.Errorf("connect to Temporal: %w", err)
	}
	defer c.Close()
	w := worker.New(c, bareQueue, worker.Options{})
	w.RegisterWorkflow(bareWorkflow)
	w.RegisterActivity(bareActivity)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()

	var flushes, waits, bares []time.Duration
	for i := range emptyPairs + 5 {
		flush, err := calmly(ctx, func() error { return emptyFlush(ctx, front, c, t) })
		if err != nil {
			return err
		}
		bare, err := calmly(ctx, func() error { return bareRun(ctx, c, i) })
		if err != nil {
			return err
		}
		wait, err := calmly(ctx, func() error { _, err := front.flushAndWait(ctx, t, ""); return err })
		if err != nil {
			return err
		}
		if i >= 5 {
			flushes, bares, waits = append(flushes, flush), append(bares, bare), append(waits, wait)
		}
	}
	f := latency("empty flush, end to end", 50, flushes)
	f.PeerIs, f.Peer = "bare workflow", milliseconds(bares)
	f.Ratios = []float64{f.Shown / median(f.Peer)}
	f.Note = fmt.Sprintf("FLUSH … WITH (wait = true) answers after %s ms", spread(median(milliseconds(waits)), milliseconds(waits), ""))
	rep.add(f.judge(atMost(3, "×"), atMost(1.5, "×")))
	return nil
}

// calmly times what it does, after a rest: Temporal still writes when a workflow has ended, and the next should not pay.
func calmly(ctx context.Context, do func() error) (time.Duration, error) {
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return 0, err
	}
	begin := time.Now()
	err := do()
	return time.Since(begin), err
}

// emptyFlush starts the flush over the wire and waits for its workflow as any Temporal client would.
func emptyFlush(ctx context.Context, front *client, c temporal.Client, t table) error {
	if _, err := front.row(ctx, "FLUSH TABLE app."+t.name); err != nil {
		return err
	}
	id := workflows.WorkflowID(database, true, workflows.FlushType, jobmanager.Table{Namespace: "app", Name: t.name})
	return c.GetWorkflow(ctx, id, "").Get(ctx, nil)
}

func bareRun(ctx context.Context, c temporal.Client, i int) error {
	run, err := c.ExecuteWorkflow(ctx, temporal.StartWorkflowOptions{ID: fmt.Sprintf("bench-bare-%d", i), TaskQueue: bareQueue}, bareWorkflow)
	if err != nil {
		return err
	}
	return run.Get(ctx, nil)
}
