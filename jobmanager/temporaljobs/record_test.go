package temporaljobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spillwaydb/spillway/activities"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/policy"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/jobmanager/jobmanagertest"
	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/tests/await"
	"github.com/spillwaydb/spillway/worker"
	"github.com/spillwaydb/spillway/workflows"
)

var record = flag.String("record", "", "record the histories that workflows replays, under the name of this release; `make replay`")

// replayFolder is where package workflows looks for histories.
const replayFolder = "../../workflows/testdata/replay"

// recorder is what a scenario works with.
type recorder struct {
	*harness
	m *temporaljobs.Manager
}

// scenarios are the ways of a job, each to its end. Their names are those of the files.
var scenarios = map[string]func(*testing.T, *recorder, *jobmanagertest.Script) jobmanager.JobID{
	"empty": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetChunks(0)
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"completed": func(t *testing.T, r *recorder, _ *jobmanagertest.Script) jobmanager.JobID {
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"restored": func(t *testing.T, r *recorder, _ *jobmanagertest.Script) jobmanager.JobID {
		return r.ends(t, mustStart(t, r.m, jobmanager.JobSpec{Type: workflows.RestoreType, Table: events}), jobmanager.Completed)
	},
	"verified": func(t *testing.T, r *recorder, _ *jobmanagertest.Script) jobmanager.JobID {
		return r.ends(t, mustStart(t, r.m, jobmanager.JobSpec{Type: workflows.VerifyType, Table: events}), jobmanager.Completed)
	},
	"cleaned": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		r.work.Table(jobmanager.Table{}).SetChunks(2)
		return r.ends(t, mustStart(t, r.m, jobmanager.JobSpec{Type: workflows.CleanupType}), jobmanager.Completed)
	},
	"failed": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetFailure(func(int, int) error { return &jobmanagertest.Failure{Class: jobstep.ClassUnrepresentable} })
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Failed)
	},
	"retried": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetFailure(func(_, attempt int) error {
			if attempt == 1 {
				return &jobmanagertest.Failure{Class: jobstep.ClassConnection, Retryable: true}
			}
			return nil
		})
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"replanned": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		var changed atomic.Bool
		s.SetFailure(func(int, int) error {
			if changed.CompareAndSwap(false, true) {
				return &jobmanagertest.Failure{Class: jobstep.ClassReplan}
			}
			return nil
		})
		id := r.held(t, s)
		s.Open()
		return r.ends(t, id, jobmanager.Completed)
	},
	"residue": func(t *testing.T, r *recorder, _ *jobmanagertest.Script) jobmanager.JobID {
		r.residue = func(in jobstep.ResidueInput) jobstep.ResidueResult {
			if in.Pass > 1 {
				return jobstep.ResidueResult{RowsLeft: 1}
			}
			return jobstep.ResidueResult{RowsLeft: 5, Plan: &jobstep.PlanResult{Generation: 2, FirstChunk: 3, Chunks: 1}}
		}
		r.restart(t)
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"cancelled": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		id := r.held(t, s)
		r.cancel(t, id)
		return r.ends(t, id, jobmanager.Cancelled)
	},
	"cancelled-before-start": func(t *testing.T, r *recorder, _ *jobmanagertest.Script) jobmanager.JobID {
		r.StopWorker(t, false)
		id := mustStart(t, r.m, flushOf(events))
		r.cancel(t, id)
		r.StartWorker(t)
		return r.ends(t, id, jobmanager.Cancelled)
	},
	"paused": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		id := r.paused(t, s)
		r.setPaused(t, id, false)
		return r.ends(t, id, jobmanager.Completed)
	},
	"paused-without-worker": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		r.StopWorker(t, false)
		id := mustStart(t, r.m, flushOf(events))
		r.setPaused(t, id, true)
		r.StartWorker(t)
		r.await(t, id, jobmanager.Paused)
		r.setPaused(t, id, false)
		return r.ends(t, id, jobmanager.Completed)
	},
	"paused-and-restarted": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		id := r.paused(t, s)
		r.restart(t)
		r.setPaused(t, id, false)
		return r.ends(t, id, jobmanager.Completed)
	},
	"paused-and-cancelled": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		id := r.paused(t, s)
		r.cancel(t, id)
		return r.ends(t, id, jobmanager.Cancelled)
	},
	"continued": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetChunks(2*jobmanagertest.ChunksPerRun + 1)
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"continued-and-paused": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetChunks(2 * jobmanagertest.ChunksPerRun)
		s.Hold()
		id := mustStart(t, r.m, flushOf(events))
		s.Pass(jobmanagertest.ChunksPerRun)
		for range jobmanagertest.ChunksPerRun + jobmanagertest.Parallelism {
			s.AwaitBegun(t)
		}
		r.setPaused(t, id, true)
		s.Open()
		r.await(t, id, jobmanager.Paused)
		r.setPaused(t, id, false)
		return r.ends(t, id, jobmanager.Completed)
	},
	"throttled": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		s.SetChunks(jobmanagertest.ChunksPerRun + 2)
		var looks atomic.Int32
		r.manners = &jobstep.Manners{MaxRowsPerSecond: 5 * jobmanagertest.RowsPerChunk, ChecksLoad: true}
		r.busy = func() jobstep.Load {
			if looks.Add(1) > 1 {
				return jobstep.Load{}
			}
			return jobstep.Load{LagBytes: 512 << 20}
		}
		r.restart(t)
		return r.ends(t, mustStart(t, r.m, flushOf(events)), jobmanager.Completed)
	},
	"stopped": func(t *testing.T, r *recorder, s *jobmanagertest.Script) jobmanager.JobID {
		id := r.held(t, s)
		r.restart(t)
		s.Open()
		return r.ends(t, id, jobmanager.Completed)
	},
}

// TestRecordHistories runs every scenario on a real server, with the product's worker and activities, and writes down
// what came of it. It does nothing unless it is asked to: a history that changes with the code proves nothing.
func TestRecordHistories(t *testing.T) {
	if *record == "" {
		t.Skip("histories are recorded by `make replay`, once per release")
	}
	for name, run := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := jobmanagertest.NewWork()
			s := w.Table(events)
			s.SetChunks(3)
			r := &recorder{harness: newHarness(t, w, nil)}
			r.m = r.manager(t, r.client)
			r.write(t, name, run(t, r, s))
		})
	}
}

// held starts a job and waits until two of its chunks are in flight, which are held.
func (r *recorder) held(t *testing.T, s *jobmanagertest.Script) jobmanager.JobID {
	s.Hold()
	id := mustStart(t, r.m, flushOf(events))
	s.AwaitBegun(t)
	s.AwaitBegun(t)
	return id
}

// paused starts a job and pauses it after its first two chunks.
func (r *recorder) paused(t *testing.T, s *jobmanagertest.Script) jobmanager.JobID {
	id := r.held(t, s)
	r.setPaused(t, id, true)
	s.Open()
	r.await(t, id, jobmanager.Paused)
	return id
}

func (r *recorder) setPaused(t *testing.T, id jobmanager.JobID, paused bool) {
	t.Helper()
	ask := r.m.ResumeJob
	if paused {
		ask = r.m.PauseJob
	}
	if err := ask(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func (r *recorder) cancel(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	if err := r.m.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func (r *recorder) restart(t *testing.T) {
	r.StopWorker(t, false)
	r.StartWorker(t)
}

func (r *recorder) await(t *testing.T, id jobmanager.JobID, want jobmanager.Status) {
	t.Helper()
	await.Until(t, "the job is "+string(want), func() bool {
		info, err := r.m.JobStatus(t.Context(), id)
		return err == nil && info.Status == want
	})
}

func (r *recorder) ends(t *testing.T, id jobmanager.JobID, want jobmanager.Status) jobmanager.JobID {
	t.Helper()
	mustWait(t, r.m, id, want)
	return id
}

// TestRecordSchedules does the same for runs of schedules, with an activity that ends as it is told.
func TestRecordSchedules(t *testing.T) {
	if *record == "" {
		t.Skip("histories are recorded by `make replay`, once per release")
	}
	ends := map[string]func(context.Context, workflows.ScheduleInput) (activities.ScheduleResult, error){
		"scheduled": func(context.Context, workflows.ScheduleInput) (activities.ScheduleResult, error) {
			return activities.ScheduleResult{Status: "completed", Completed: 1}, nil
		},
		"scheduled-and-failed": func(context.Context, workflows.ScheduleInput) (activities.ScheduleResult, error) {
			return activities.ScheduleResult{}, temporal.NewNonRetryableApplicationError("error of class privilege", "privilege", nil)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{harness: newHarness(t, jobmanagertest.NewWork(), nil)}
			queue := r.name + "-" + name
			flows := sdkworker.New(r.client, queue, sdkworker.Options{})
			flows.RegisterWorkflowWithOptions(workflows.ScheduledRun, workflow.RegisterOptions{Name: workflows.ScheduledRunName})
			runs := sdkworker.New(r.client, workflows.ScheduleTaskQueue(queue), sdkworker.Options{DisableWorkflowWorker: true})
			runs.RegisterActivityWithOptions(end, activity.RegisterOptions{Name: "RunSchedule"})
			for _, w := range []sdkworker.Worker{flows, runs} {
				if err := w.Start(); err != nil {
					t.Fatal(err)
				}
				defer w.Stop()
			}
			run, err := r.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: queue, TaskQueue: queue}, workflows.ScheduledRunName,
				workflows.ScheduleInput{Name: "nightly", ID: "01a21ae8-7bc3-7428-945a-ab49c6df8615"})
			if err != nil {
				t.Fatal(err)
			}
			if err := run.Get(t.Context(), nil); (err != nil) != strings.HasSuffix(name, "failed") {
				t.Fatal(err)
			}
			r.writeRuns(t, name, queue, run.GetRunID())
		})
	}
}

// write writes the histories of a job's runs.
func (r *recorder) write(t *testing.T, name string, id jobmanager.JobID) {
	mutating := id.Type == workflows.FlushType || id.Type == workflows.RestoreType
	r.writeRuns(t, name, workflows.WorkflowID(r.name, mutating, id.Type, id.Table), id.UUID.String())
}

// newsEvery is a watcher of policies that always has something new to tell.
type newsEvery struct{ told atomic.Int32 }

func (n *newsEvery) Lags() []policy.Lag { return nil }

func (n *newsEvery) Run(ctx context.Context, told func(policy.Report) bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		r := policy.Report{Tables: int(n.told.Add(1)), Recent: []policy.Start{{Table: "app.events", JobID: "flush:app.events:1", Why: policy.ByRows, Rows: 10}}}
		if !told(r) {
			return
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// TestRecordScheduler records a FlushScheduler that tells news three times and is cancelled, for it has no end of its own.
func TestRecordScheduler(t *testing.T) {
	if *record == "" {
		t.Skip("histories are recorded by `make replay`, once per release")
	}
	h := newHarness(t, jobmanagertest.NewWork(), nil)
	r := &recorder{harness: h}
	news := &newsEvery{}
	acts, err := activities.NewPolicies(news, &activities.PolicyOptions{TellEvery: time.Millisecond, Heartbeat: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	queue := workflows.TaskQueue(h.name) + "/watch"
	w := sdkworker.New(h.client, queue, sdkworker.Options{})
	w.RegisterWorkflowWithOptions(workflows.FlushScheduler, workflow.RegisterOptions{Name: workflows.FlushSchedulerName})
	w.RegisterActivity(acts)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if err := worker.EnsureScheduler(t.Context(), h.client, queue); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "news are told", func() bool { return news.told.Load() >= 3 })
	id := workflows.SchedulerID(queue)
	run := h.client.GetWorkflow(t.Context(), id, "").GetRunID()
	if err := h.client.CancelWorkflow(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	_ = h.client.GetWorkflow(t.Context(), id, run).Get(t.Context(), nil) // it says that it was cancelled
	r.writeRuns(t, "scheduler", id, run)
}

// writeRuns writes the histories of a run and of those that continued it. Those of a release that is out are never written anew.
func (r *recorder) writeRuns(t *testing.T, name, wid, run string) {
	for n := 1; run != ""; n++ {
		h := r.closedHistory(t, wid, run)
		last := h.Events[len(h.Events)-1]
		run = last.GetWorkflowExecutionContinuedAsNewEventAttributes().GetNewExecutionRunId()
		scrub(h.ProtoReflect())
		file := filepath.Join(replayFolder, fmt.Sprintf("%s-%s-run%d.json", *record, name, n))
		if _, err := os.Stat(file); err == nil && *record != "unreleased" {
			t.Fatalf("%s exists: the histories of a release are recorded once", file)
		}
		if err := os.WriteFile(file, encode(t, h), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// encode writes a history as JSON, one event per line.
func encode(t *testing.T, h *historypb.History) []byte {
	t.Helper()
	out := bytes.NewBufferString("{\"events\": [\n")
	for i, ev := range h.Events {
		text, err := protojson.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(out, text); err != nil { // protojson's own spaces differ from build to build
			t.Fatal(err)
		}
		if i < len(h.Events)-1 {
			out.WriteString(",")
		}
		out.WriteString("\n")
	}
	out.WriteString("]}\n")
	return out.Bytes()
}

// closedHistory returns the history of a run once it has its last event.
func (r *recorder) closedHistory(t *testing.T, workflowID, runID string) *historypb.History {
	t.Helper()
	h := &historypb.History{}
	// A long poll, for the job's end is told before its workflow closes.
	it := r.client.GetWorkflowHistory(t.Context(), workflowID, runID, true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		ev, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, ev)
	}
	return h
}

// scrub removes what tells of the machine that recorded a history.
func scrub(m protoreflect.Message) {
	if q, ok := m.Interface().(*taskqueuepb.TaskQueue); ok && q.GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		q.Name = "sticky" // has the name of the host
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				if f.MapValue().Message() != nil {
					scrub(v.Message())
				}
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				scrub(v.List().Get(i).Message())
			}
		case f.IsList():
		case f.Message() != nil:
			scrub(v.Message())
		case f.Name() == "identity", f.Name() == "build_id", f.Name() == "binary_checksum":
			m.Set(f, protoreflect.ValueOfString("spillway"))
		}
		return true
	})
}
