package workflows

import (
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
)

const (
	// FlushSchedulerName is the workflow type of FlushScheduler.
	FlushSchedulerName = "FlushScheduler"
	// SchedulerSummary is what lists of workflows show of it.
	SchedulerSummary = "flushes tables by their policies"
	// SchedulerDetails is what its page shows of it, in Markdown.
	SchedulerDetails = "Watches the tables that have a flush policy, and starts their flushes. It is no job, and never ends: workers begin it anew if somebody ends it. " +
		"To stop flushes by policies: `ALTER TABLE … PAUSE FLUSH POLICY`."
)

const (
	// watchesPerRun bounds a run's history: a watch is six events, and some news.
	watchesPerRun = 200
	// watchSilence is when a watcher counts as lost. Its tables are not watched until then.
	watchSilence = 5 * time.Second
	watchAtMost  = 15 * time.Minute
)

// SchedulerInput is the argument of FlushScheduler: what the run before it knew last.
type SchedulerInput struct {
	Last activities.PolicyReport
}

// SchedulerID returns the id of the FlushScheduler of an installation, by its task queue. No job has it: theirs name a table, with a
// dot, or the type of a job.
func SchedulerID(taskQueue string) string { return shorten(taskQueue + "/scheduler") }

// FlushScheduler keeps one watcher of policies at work, on whichever worker lives. It never ends by itself; it is no job.
func FlushScheduler(ctx workflow.Context, in SchedulerInput) error {
	watch := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: watchAtMost,
		HeartbeatTimeout:    watchSilence,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1.5, MaximumInterval: 2 * time.Second},
		Summary:             "watch policies",
	})
	var policies *activities.Policies
	for range watchesPerRun {
		workflow.SetCurrentDetails(ctx, schedulerDetails(in.Last))
		if err := workflow.ExecuteActivity(watch, policies.WatchPolicies, in.Last).Get(ctx, &in.Last); err != nil {
			return err // somebody cancelled it; workers begin another
		}
		if workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			break
		}
	}
	return workflow.NewContinueAsNewError(ctx, FlushSchedulerName, in)
}

// schedulerDetails is what the Web UI shows, in Markdown.
func schedulerDetails(r activities.PolicyReport) string {
	if r.Tables == 0 {
		return "No table has a flush policy yet: `ALTER TABLE … SET FLUSH POLICY (…)`\n"
	}
	var b strings.Builder
	// Not Fprintf: workflowcheck knows of Sprintf alone that it is deterministic.
	b.WriteString(fmt.Sprintf("**%d** tables with a policy: **%d** active, %d paused, %d failing, %d without a table; **%d** flushes run\n",
		r.Tables, r.Tables-r.Paused-r.Missing-r.Failing, r.Paused, r.Failing, r.Missing, r.Running))
	if len(r.Recent) > 0 {
		b.WriteString("\n| last started | table | because of | rows found |\n|---|---|---|---|\n")
		for _, s := range r.Recent {
			b.WriteString(fmt.Sprintf("| %s | %s | %s | %d |\n", clock(s.At), cell(s.Table), s.Why, s.Rows))
		}
	}
	if len(r.Next) > 0 {
		b.WriteString("\n| next interval ends | table |\n|---|---|\n")
		for _, n := range r.Next {
			b.WriteString(fmt.Sprintf("| %s | %s |\n", clock(n.At), cell(n.Table)))
		}
	}
	if len(r.Failed) > 0 {
		b.WriteString("\n| next try | failing table | error class | failures |\n|---|---|---|---|\n")
		for _, f := range r.Failed {
			b.WriteString(fmt.Sprintf("| %s | %s | %s | %d |\n", clock(f.NextTry), cell(f.Table), f.Class, f.Failures))
		}
		b.WriteString("\nThe texts of the errors are in `system.tables`.\n")
	}
	return b.String()
}

func clock(at time.Time) string {
	if at.IsZero() {
		return "now"
	}
	return at.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// cell keeps a name within its cell.
func cell(name string) string {
	return "`" + strings.NewReplacer("|", "\\|", "`", "'", "\n", " ", "\r", " ").Replace(name) + "`"
}
