package command

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
	"github.com/spillwaydb/spillway/internal/policy"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/workflows"
)

// policyFlags belong to every process that has a worker. The hidden ones are for those who try policies out.
func (o *serverOptions) policyFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.flushOnShutdown, "flush-on-shutdown", false, "on a graceful stop, first flush all tables that have an active policy, within --shutdown-timeout")
	f.DurationVar(&o.policyTick, "policy-tick", time.Second, "how often the policies are looked at")
	f.DurationVar(&o.policyBackoff, "policy-backoff", policy.DefaultBackoff, "how long a table rests whose flush failed; it doubles with each failure, up to an hour")
	for _, name := range []string{"policy-tick", "policy-backoff"} {
		_ = f.MarkHidden(name) // the flags are there
	}
}

// checkPolicies refuses settings that no watcher can have.
func (o *serverOptions) checkPolicies() error {
	if o.policyTick < 0 || o.policyBackoff < 0 {
		return fail.Usagef("--policy-tick and --policy-backoff: expected more than 0")
	}
	return nil
}

// policyStarter starts the flushes of policies through the manager of jobs, as everybody does.
type policyStarter struct{ jobs *temporaljobs.Manager }

var (
	_ policy.Starter = policyStarter{}
	_ policy.Waiter  = policyStarter{}
)

// StartFlush implements policy.Starter.
func (s policyStarter) StartFlush(ctx context.Context, d ledger.Duty, p policy.Policy) (string, error) {
	started, err := s.jobs.StartJob(ctx, jobmanager.JobSpec{
		Type: workflows.FlushType, Table: jobmanager.Table{Namespace: d.Schema, Name: d.Table}, Params: p.Flush,
		Statement: d.Statement, RequestedBy: d.SetBy, Trigger: jobmanager.TriggerPolicy,
	})
	var busy *jobmanager.BusyError
	var spec *jobmanager.SpecError
	switch {
	case err == nil:
		return started.ID.String(), nil
	case errors.As(err, &busy):
		return "", &policy.BusyError{JobID: busy.Running.String()}
	case errors.As(err, &spec):
		return "", &policy.StartError{Class: "invalid", Err: err}
	}
	return "", err
}

// WaitFlush implements policy.Waiter.
func (s policyStarter) WaitFlush(ctx context.Context, jobID string) (string, error) {
	id, err := jobmanager.ParseJobID(jobID)
	if err != nil {
		return "", err
	}
	info, err := s.jobs.WaitJob(ctx, id)
	return string(info.Status), err
}

// newWatcher makes a watcher of this database's policies.
func (n *node) newWatcher() (*policy.Watcher, error) {
	return policy.New(n.ledger, n.db, policyStarter{n.jobs}, &policy.Options{Tick: n.opt.policyTick, Backoff: n.opt.policyBackoff, Logger: n.log})
}

// watchPolicies makes what a worker needs to watch the policies.
func (n *node) watchPolicies() (*activities.Policies, error) {
	w, err := n.newWatcher()
	if err != nil {
		return nil, err
	}
	p, err := activities.NewPolicies(w, nil)
	if err != nil {
		return nil, err
	}
	n.policies.Store(p)
	return p, nil
}

// flushBeforeStop flushes the tables that have an active policy, if that is wanted, and says what it waits for. What it cannot
// finish in time goes on at the next start, or on another worker.
func (n *node) flushBeforeStop(ctx context.Context) {
	if !n.opt.flushOnShutdown || n.jobs == nil {
		return
	}
	begin := time.Now()
	defer func() { n.spent = time.Since(begin) }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.opt.shutdownTimeout)
	defer cancel()
	fmt.Fprintf(n.env.Stderr, "flushing the tables that have a policy, at most %s; press Ctrl-C again to stop at once\n", n.opt.shutdownTimeout)
	w, err := n.newWatcher()
	if err != nil {
		n.log.Error("cannot flush before the stop", obs.KeyErr, err)
		return
	}
	var mu sync.Mutex
	done, undone, err := w.FlushAll(ctx, policyStarter{n.jobs}, func(f policy.Flushed) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(n.env.Stderr, flushedText(f))
	})
	if err != nil {
		n.log.Error("cannot flush before the stop", obs.KeyErr, err)
	}
	fmt.Fprintf(n.env.Stderr, "tables flushed before the stop: %d\n", done)
	for _, f := range undone {
		n.log.Warn("not flushed before the stop", obs.KeyTable, f.Table, obs.KeyJob, f.JobID, obs.KeyStatus, f.Status, obs.KeyErr, f.Err)
	}
}

// flushedText is a line about one table.
func flushedText(f policy.Flushed) string {
	var busy *policy.BusyError
	switch {
	case errors.As(f.Err, &busy):
		return fmt.Sprintf("%s: waiting for job %s", f.Table, busy.JobID)
	case errors.Is(f.Err, context.DeadlineExceeded):
		return fmt.Sprintf("%s: job %s has not ended in time; it goes on later", f.Table, f.JobID)
	case f.Err != nil:
		return fmt.Sprintf("%s: %v", f.Table, f.Err)
	case f.Status == "":
		return fmt.Sprintf("%s: job %s", f.Table, f.JobID)
	}
	return fmt.Sprintf("%s: job %s %s", f.Table, f.JobID, f.Status)
}
