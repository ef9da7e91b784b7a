package workflows

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/spillwaydb/spillway/activities"
)

const replayFolder = "testdata/replay"

// outcomes are the ways of a job of which each release leaves a history.
var outcomes = []string{
	"empty", "completed", "failed", "retried", "replanned", "residue", "stopped", "cancelled", "cancelled-before-start",
	"paused", "paused-without-worker", "paused-and-restarted", "paused-and-cancelled", "continued", "continued-and-paused", "throttled",
	"restored", "verified", "cleaned", "scheduler", "scheduled", "scheduled-and-failed",
}

var quiet = log.NewStructuredLogger(slog.New(slog.DiscardHandler))

func histories(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(replayFolder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories in %s: %v", replayFolder, err)
	}
	return files
}

// Every history that a release has left is replayed by the workflow of today. If this fails, a job that was started by an older
// spillway would be stuck: see docs/decisions/0009-workflow-versions.md. Never change a history to make it pass.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, file := range histories(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if err := newReplayer().ReplayWorkflowHistoryFromJSONFile(quiet, file); err != nil {
				t.Error(err)
			}
		})
	}
}

// newReplayer knows the workflows of today.
func newReplayer() worker.WorkflowReplayer { return register(worker.NewWorkflowReplayer()) }

func register(r worker.WorkflowReplayer) worker.WorkflowReplayer {
	for name, w := range map[string]any{
		FlushJobName: FlushJob, RestoreJobName: RestoreJob, VerifyJobName: VerifyJob, CleanupJobName: CleanupJob,
		FlushSchedulerName: FlushScheduler, ScheduledRunName: ScheduledRun,
	} {
		r.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: name})
	}
	return r
}

// A worker that is traced sees headers that a job which was started without has not, and the other way round: neither is a change
// of the workflow.
func TestReplayTraced(t *testing.T) {
	t.Parallel()
	traced, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{Tracer: trace.NewTracerProvider().Tracer("test"), DisableBaggage: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range histories(t) {
		r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{Interceptors: []interceptor.WorkerInterceptor{traced}})
		if err != nil {
			t.Fatal(err)
		}
		register(r)
		if err := r.ReplayWorkflowHistoryFromJSONFile(quiet, file); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
	}
}

// A job that is alive while the binary is replaced has a history that ends in the middle. So each one is also replayed cut off
// behind each of its workflow tasks: the steps that were taken until then have to come out the same.
func TestReplayFromEveryStep(t *testing.T) {
	t.Parallel()
	cuts := 0
	for _, file := range histories(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		h, err := client.HistoryFromJSON(bytes.NewReader(text), client.HistoryJSONOptions{})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i, ev := range h.Events {
			if ev.GetEventType() != enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED || i == 0 {
				continue
			}
			cuts++
			part := &historypb.History{Events: h.Events[:i+1]}
			if err := newReplayer().ReplayWorkflowHistory(quiet, part); err != nil {
				t.Errorf("%s, cut off after event %d: %v", filepath.Base(file), ev.GetEventId(), err)
			}
		}
	}
	if cuts < 100 {
		t.Errorf("only %d places to cut at", cuts)
	}
}

// A release that left a history of one outcome left one of each.
func TestReplayKnowsEveryOutcome(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^(.+?)-(` + strings.Join(outcomes, "|") + `)-run\d+\.json$`)
	seen := map[string]map[string]bool{}
	for _, file := range histories(t) {
		m := name.FindStringSubmatch(filepath.Base(file))
		if m == nil {
			t.Errorf("%s: expected <release>-<outcome>-run<n>.json", file)
			continue
		}
		if seen[m[1]] == nil {
			seen[m[1]] = map[string]bool{}
		}
		seen[m[1]][m[2]] = true
	}
	for release, has := range seen {
		for _, o := range outcomes {
			if !has[o] {
				t.Errorf("%s has no history of the outcome %s", release, o)
			}
		}
	}
}

// Histories tell of jobs, not of the machine that recorded them, and hold no predicates and no values of rows.
func TestHistoriesTellNothingElse(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	machine := regexp.MustCompile(`/(root|home|tmp|var|Users)/|\d@` + regexp.QuoteMeta(host) + `|` + regexp.QuoteMeta(host) + `:[0-9a-f]{8}-`)
	content := regexp.MustCompile(`secret|= ?4711|value of a row`)
	payload := regexp.MustCompile(`"data":"([^"]*)"`)
	identity := regexp.MustCompile(`"(?:identity|buildId|binaryChecksum)":"([^"]*)"`)
	for _, file := range histories(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range identity.FindAllSubmatch(text, -1) {
			if string(m[1]) != "spillway" {
				t.Errorf("%s tells who recorded it: %s", file, m[0])
			}
		}
		for _, m := range payload.FindAllSubmatch(text, -1) {
			data, err := base64.StdEncoding.DecodeString(string(m[1]))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			text = append(append(text, '\n'), data...)
		}
		for _, bad := range []*regexp.Regexp{machine, content} {
			if found := bad.Find(text); found != nil {
				t.Errorf("%s holds %q", file, found)
			}
		}
	}
}

// The replay bites: a workflow that takes its steps in another order is found out by every history but those that end at once.
func TestReplayFindsAChange(t *testing.T) {
	t.Parallel()
	changed := func(ctx workflow.Context, in FlushInput) error {
		j, err := newJob(ctx, flushKind, in)
		if err != nil {
			return err
		}
		j.watchCancel(ctx)
		if err := j.publish(ctx); err != nil {
			return err
		}
		return j.step(j.stepOptions(ctx, "look for rows left"), steps.FindResidue, activities.ResidueInput{JobID: j.id}, nil)
	}
	for _, file := range histories(t) {
		r := worker.NewWorkflowReplayer()
		for _, name := range []string{FlushJobName, RestoreJobName, VerifyJobName, CleanupJobName, FlushSchedulerName, ScheduledRunName} {
			r.RegisterWorkflowWithOptions(changed, workflow.RegisterOptions{Name: name})
		}
		if err := r.ReplayWorkflowHistoryFromJSONFile(quiet, file); err == nil {
			t.Errorf("%s replays with a workflow that does something else", file)
		}
	}
}
