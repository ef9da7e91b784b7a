package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/internal/cli/fail"
)

func newWorker(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Run only a worker, against a Temporal cluster",
		Long: `Run only a worker: it moves chunks of the jobs of one database. Any number of workers, on any number of machines, can share
the work; each must reach the database, the storage and Temporal. TEMPORAL_* variables and profiles of Temporal's own tools count.`,
		Example: `  spillway worker --database-url postgres://spillway@db/app --temporal-address temporal:7233 --slots 8`,
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runWorker(cmd.Context(), env, &o) },
	}
	o.databaseFlags(cmd, "")
	o.storageFlag(cmd)
	o.temporalFlags(cmd, " (default: TEMPORAL_ADDRESS, or 127.0.0.1:7233)")
	o.retentionFlag(cmd)
	o.workerFlags(cmd)
	o.policyFlags(cmd)
	o.runFlags(cmd, workerMetrics)
	return cmd
}

func runWorker(ctx context.Context, env *Env, o *serverOptions) error {
	n, err := o.remoteNode(env)
	if err != nil {
		return err
	}
	if err := n.startRemote(ctx, n.openStorage, func(context.Context) error { return n.startWorker() }, n.settleStorage, n.closeInterrupted); err != nil {
		n.abandon(ctx)
		return err
	}
	fmt.Fprintf(env.Stdout, "spillway worker is ready: %d slots for %s\n", o.slots, n.database())
	return n.run(ctx)
}

// remoteNode is a node without a data directory: nothing in it is private or embedded.
func (o *serverOptions) remoteNode(env *Env) (*node, error) {
	if o.databaseURL == "" {
		return nil, &fail.Usage{Msg: "--database-url is missing", Todo: "the form is postgres://spillway@host:5432/database"}
	}
	if o.slots == 0 {
		o.slots = 1 // front has no such flag
	}
	return newNode(env, o)
}

// startRemote connects to the database and to Temporal, then takes the further steps.
func (n *node) startRemote(ctx context.Context, steps ...func(context.Context) error) error {
	if err := n.startMetrics(); err != nil {
		return err
	}
	connect := []func(context.Context) error{
		n.startTracing, n.openDatabase, func(ctx context.Context) error { return n.openTemporal(ctx, false) }, n.measure, n.startWatches,
	}
	for _, step := range append(connect, steps...) {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	n.ready.Store(true)
	return nil
}
