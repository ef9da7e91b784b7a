package jobmanagertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/jobmanager"
)

// Abilities says what a harness can do.
type Abilities struct {
	Restart    bool // workers stop and start again while jobs live
	Interrupts bool // jobs end with the process that runs them, and are closed by whoever comes next
	Slots      bool // workers have slots, and jobs wait for them
}

// Harness is one installation, with a worker of Slots slots that runs. Every chunk of its jobs goes through the Work that
// it was built with; a chunk adds RowsPerChunk rows and a segment. Jobs have the type "flush" and change their tables.
// A table named "invalid" is refused with *jobmanager.SpecError.
type Harness interface {
	Abilities() Abilities
	// Manager returns a manager of the installation; each call may return another one.
	Manager(t testing.TB) jobmanager.JobManager
	// StopWorker stops the worker as a crash would, if crash is set, and otherwise as a planned stop that gives up what
	// runs. StartWorker starts one again. Where jobs end with their process (Interrupts), that process is what they stop
	// and start, and Manager returns one of the new process from then on.
	StopWorker(t testing.TB, crash bool)
	StartWorker(t testing.TB)
}

// What harnesses and tests agree on.
const (
	RowsPerChunk = 10
	Slots        = 2
	Parallelism  = 2 // chunks of a job at once
	ChunksPerRun = 4 // managers that split long jobs split after so many
	Attempts     = 3 // tries at a chunk
)

// Run runs the suite. build makes a harness for one test and cleans up when the test ends.
func Run(t *testing.T, build func(t *testing.T, w *Work) Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, *kit)
	}{
		{"Completes", testCompletes},
		{"EmptyCompletes", testEmptyCompletes},
		{"InvalidSpec", testInvalidSpec},
		{"StartTwice", testStartTwice},
		{"HundredStartsAtOnce", testHundredStarts},
		{"BusyWithAnotherSpec", testBusy},
		{"StartAfterTheEnd", testStartAfterTheEnd},
		{"TablesApart", testTablesApart},
		{"UnknownJob", testUnknownJob},
		{"CancelBeforeStart", testCancelBeforeStart},
		{"CancelInMidChunk", testCancelInMidChunk},
		{"CancelIsNotInstant", testCancelIsNotInstant},
		{"CancelAfterTheEnd", testCancelAfterTheEnd},
		{"CancelOneOfSeveral", testCancelOneOfSeveral},
		{"Fails", testFails},
		{"RetriesEnd", testRetriesEnd},
		{"Retried", testRetried},
		{"LongJob", testLongJob},
		{"CancelLongJob", testCancelLongJob},
		{"CancelAtSeams", testCancelAtSeams},
		{"List", testList},
		{"ListLimit", testListLimit},
		{"WaitContextEnds", testWaitContextEnds},
		{"SlotsAndPending", testSlots},
		{"SmallBehindGiant", testSmallBehindGiant},
		{"SeveralManagers", testSeveralManagers},
		{"WorkerStops", testWorkerStops},
		{"WorkerCrashes", testWorkerCrashes},
		{"CancelWithoutSlot", testCancelWithoutSlot},
		{"StartsAfterTheEndAtOnce", testStartsAfterTheEnd},
		{"EndsAreRecorded", testEndsAreRecorded},
		{"ContextEnded", testContextEnded},
		{"InterruptedByCrash", testInterruptedByCrash},
		{"InterruptedByStop", testInterruptedByStop},
		{"StartAfterInterruption", testStartAfterInterruption},
		{"PauseInMidChunk", testPauseInMidChunk},
		{"PauseRepeated", testPauseRepeated},
		{"ResumeWhilePausing", testResumeWhilePausing},
		{"PauseBeforeStart", testPauseBeforeStart},
		{"PauseAndResumeWithoutWorker", testPauseAndResumeWithoutWorker},
		{"PausePending", testPausePending},
		{"PauseAcrossStop", testPauseAcrossStop},
		{"PauseAcrossCrash", testPauseAcrossCrash},
		{"CrashWhilePausing", testCrashWhilePausing},
		{"PauseLongJob", testPauseLongJob},
		{"PauseAtSeams", testPauseAtSeams},
		{"CancelWhilePaused", testCancelWhilePaused},
		{"CancelWhilePausing", testCancelWhilePausing},
		{"PauseWhileCancelling", testPauseWhileCancelling},
		{"PauseUnknownJob", testPauseUnknownJob},
		{"PauseAfterTheEnd", testPauseAfterTheEnd},
		{"StartWhilePaused", testStartWhilePaused},
		{"PauseSeveralManagers", testPauseSeveralManagers},
		{"PauseOneOfSeveral", testPauseOneOfSeveral},
		{"ResumeAsLastChunkLands", testResumeAsLastChunkLands},
		{"PauseAsLastChunkLands", testPauseAsLastChunkLands},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := NewWork()
			h := build(t, w)
			tc.run(t, &kit{Work: w, h: h, m: h.Manager(t)})
		})
	}
}

// kit is what a test works with.
type kit struct {
	*Work
	h Harness
	m jobmanager.JobManager
}

func table(name string) jobmanager.Table { return jobmanager.Table{Namespace: "app", Name: name} }

func spec(name string) jobmanager.JobSpec {
	return jobmanager.JobSpec{
		Type:        "flush",
		Table:       table(name),
		Params:      map[string]string{"where": "kind = 'x'"},
		Statement:   "FLUSH TABLE app." + name,
		RequestedBy: "alice",
		Trigger:     jobmanager.TriggerCommand,
	}
}

// start starts a job that must be new.
func (k *kit) start(t *testing.T, s jobmanager.JobSpec) jobmanager.JobID {
	t.Helper()
	got, err := k.m.StartJob(t.Context(), s)
	if err != nil {
		t.Fatalf("start %s: %v", s.Table, err)
	}
	if got.Existing {
		t.Fatalf("start %s: found %s, want a new job", s.Table, got.ID)
	}
	return got.ID
}

func (k *kit) status(t *testing.T, id jobmanager.JobID) jobmanager.JobInfo {
	t.Helper()
	info, err := k.m.JobStatus(t.Context(), id)
	if err != nil {
		t.Fatalf("status of %s: %v", id, err)
	}
	if info.ID != id {
		t.Fatalf("status of %s is that of %s", id, info.ID)
	}
	return info
}

func (k *kit) wantStatus(t *testing.T, id jobmanager.JobID, want jobmanager.Status) {
	t.Helper()
	if got := k.status(t, id).Status; got != want {
		t.Fatalf("job %s is %s, want %s", id, got, want)
	}
}

func (k *kit) cancel(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	if err := k.m.CancelJob(t.Context(), id); err != nil {
		t.Fatalf("cancel %s: %v", id, err)
	}
}

// wait waits for the end of a job, by polling if the manager has no better way.
func (k *kit) wait(t *testing.T, id jobmanager.JobID, want jobmanager.Status) jobmanager.JobInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	info, err := waitFor(ctx, k.m, id)
	if err != nil {
		t.Fatalf("wait for %s: %v", id, err)
	}
	if info.Status != want {
		t.Fatalf("job %s ended as %s (%s), want %s", id, info.Status, info.ErrorClass, want)
	}
	return info
}

func waitFor(ctx context.Context, m jobmanager.JobManager, id jobmanager.JobID) (jobmanager.JobInfo, error) {
	if w, ok := m.(jobmanager.Waiter); ok {
		return w.WaitJob(ctx, id)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := m.JobStatus(ctx, id)
		if err != nil || info.Status.Terminal() {
			return info, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return info, ctx.Err()
		}
	}
}

// list returns the listed jobs, each of which must be listed once.
func (k *kit) list(t *testing.T, f jobmanager.JobFilter) []jobmanager.JobInfo {
	t.Helper()
	return listOf(t, k.m, f)
}

func listOf(t *testing.T, m jobmanager.JobManager, f jobmanager.JobFilter) []jobmanager.JobInfo {
	t.Helper()
	var infos []jobmanager.JobInfo
	seen := map[jobmanager.JobID]bool{}
	for info, err := range m.ListJobs(t.Context(), f) {
		if err != nil {
			t.Fatalf("list %+v: %v", f, err)
		}
		if seen[info.ID] {
			t.Errorf("list %+v: %s is listed twice", f, info.ID)
		}
		seen[info.ID] = true
		infos = append(infos, info)
	}
	for i := 1; i < len(infos); i++ {
		if infos[i].CreatedAt.After(infos[i-1].CreatedAt) {
			t.Errorf("list %+v: %s is newer than %s before it", f, infos[i].ID, infos[i-1].ID)
		}
	}
	return infos
}

func ids(infos []jobmanager.JobInfo) map[jobmanager.JobID]jobmanager.Status {
	out := make(map[jobmanager.JobID]jobmanager.Status, len(infos))
	for _, i := range infos {
		out[i.ID] = i.Status
	}
	return out
}

func unknownID() jobmanager.JobID {
	return jobmanager.JobID{Type: "flush", Table: table("events"), UUID: uuid.New()}
}

// wantMoved checks that every chunk was moved once.
func wantMoved(t *testing.T, s *Script, n int) {
	t.Helper()
	got, err := s.Moved()
	if err != nil {
		t.Error(err)
	} else if got != n {
		t.Errorf("%d chunks were moved, want %d", got, n)
	}
}

func wantFinished(t *testing.T, err error, id jobmanager.JobID, status jobmanager.Status) {
	t.Helper()
	var fin *jobmanager.FinishedError
	if !errors.As(err, &fin) || fin.ID != id || fin.Status != status {
		t.Errorf("error %v, want FinishedError with %s", err, status)
	}
}

// inParallel runs n functions at once and returns their errors joined.
func inParallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := f(i); err != nil {
				errs[i] = fmt.Errorf("caller %d: %w", i, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
