package jobmanagertest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spillwaydb/spillway/jobmanager"
)

// A2, A3
func testCompletes(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(3)
	s.Hold()
	id := k.start(t, spec("events"))
	if id.Type != "flush" || id.Table != table("events") {
		t.Errorf("job id %s", id)
	}
	s.AwaitBegun(t)
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	info := k.wait(t, id, jobmanager.Completed)
	if info.RowsFlushed != 3*RowsPerChunk || info.Segments != 3 || info.ChunksDone != 3 || info.Progress() != 1 {
		t.Errorf("%+v", info)
	}
	if info.RequestedBy != "alice" || info.Statement != "FLUSH TABLE app.events" || info.Trigger != jobmanager.TriggerCommand {
		t.Errorf("asked by %q with %q, trigger %q", info.RequestedBy, info.Statement, info.Trigger)
	}
	if info.CreatedAt.IsZero() || info.StartedAt == nil || info.FinishedAt == nil || info.CancelledAt != nil {
		t.Errorf("times: created %v, started %v, finished %v, cancelled %v", info.CreatedAt, info.StartedAt, info.FinishedAt, info.CancelledAt)
	}
	wantMoved(t, s, 3)
}

// A4
func testEmptyCompletes(t *testing.T, k *kit) {
	id := k.start(t, spec("events"))
	info := k.wait(t, id, jobmanager.Completed)
	if info.RowsFlushed != 0 || info.Segments != 0 {
		t.Errorf("%+v", info)
	}
}

// A9
func testInvalidSpec(t *testing.T, k *kit) {
	for name, s := range map[string]jobmanager.JobSpec{
		"type":      {Type: "bake", Table: table("events")},
		"name":      {Type: "flush", Table: jobmanager.Table{Name: "events"}},
		"validator": {Type: "flush", Table: table("invalid")},
	} {
		_, err := k.m.StartJob(t.Context(), s)
		var bad *jobmanager.SpecError
		if !errors.As(err, &bad) {
			t.Errorf("%s: error %v, want a SpecError", name, err)
		}
	}
	if l := k.list(t, jobmanager.JobFilter{All: true}); len(l) != 0 {
		t.Errorf("jobs of invalid specs: %v", ids(l))
	}
}

// A6
func testStartTwice(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	again := spec("events")
	again.RequestedBy, again.Statement = "bob", "flush table app.events;" // who asks, and in which words, does not matter
	for range 2 {                                                         // the first may come while the job is still pending
		got, err := k.m.StartJob(t.Context(), again)
		if err != nil || got.ID != id || !got.Existing {
			t.Fatalf("second start: %+v, %v; want the job %s", got, err, id)
		}
	}
	s.AwaitBegun(t)
	if got, err := k.m.StartJob(t.Context(), again); err != nil || got.ID != id || !got.Existing {
		t.Fatalf("start while running: %+v, %v; want the job %s", got, err, id)
	}
	s.Open()
	if info := k.wait(t, id, jobmanager.Completed); info.RequestedBy != "alice" {
		t.Errorf("requested by %q", info.RequestedBy)
	}
}

// A6
func testHundredStarts(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	const n = 100
	managers := []jobmanager.JobManager{k.m, k.h.Manager(t), k.h.Manager(t)}
	got := make([]jobmanager.Started, n)
	err := inParallel(n, func(i int) (err error) {
		got[i], err = managers[i%len(managers)].StartJob(t.Context(), spec("events"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fresh := 0
	for _, g := range got {
		if g.ID != got[0].ID {
			t.Fatalf("two jobs: %s and %s", got[0].ID, g.ID)
		}
		if !g.Existing {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d callers were told that they started the job, want 1", fresh)
	}
	s.Open()
	k.wait(t, got[0].ID, jobmanager.Completed)
}

// A62
func testBusy(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	other := spec("events")
	other.Params = map[string]string{"where": "kind = 'y'"}
	_, err := k.m.StartJob(t.Context(), other)
	var busy *jobmanager.BusyError
	if !errors.As(err, &busy) || busy.Running != id || busy.Table != table("events") {
		t.Fatalf("error %v, want a BusyError that names %s", err, id)
	}
	s.Open()
	k.wait(t, id, jobmanager.Completed)
	k.wait(t, k.start(t, other), jobmanager.Completed)
}

// A8: whoever saw the end of a job gets a new one.
func testStartAfterTheEnd(t *testing.T, k *kit) {
	seen := map[jobmanager.JobID]bool{}
	for range 10 {
		id := k.start(t, spec("events"))
		if seen[id] {
			t.Fatalf("job %s was started twice", id)
		}
		seen[id] = true
		k.wait(t, id, jobmanager.Completed)
	}
	for id := range seen {
		k.wantStatus(t, id, jobmanager.Completed)
	}
	if l := k.list(t, jobmanager.JobFilter{All: true}); len(l) != len(seen) {
		t.Errorf("%d jobs are listed, want %d", len(l), len(seen))
	}
}

// A7
func testTablesApart(t *testing.T, k *kit) {
	names := []string{"a", "b.c", `d"e/f`, "é%20"}
	var started []jobmanager.JobID
	for _, name := range names {
		k.Table(table(name)).SetChunks(2)
		started = append(started, k.start(t, spec(name)))
	}
	for i, id := range started {
		k.wait(t, id, jobmanager.Completed)
		parsed, err := jobmanager.ParseJobID(id.String())
		if err != nil || parsed.Table != table(names[i]) {
			t.Errorf("%s parses to %v, %v", id, parsed, err)
		}
		wantMoved(t, k.Table(table(names[i])), 2)
	}
}

// A27
func testUnknownJob(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	otherTable, otherType := id, id
	otherTable.Table = table("other")
	otherType.Type = "restore"
	for name, unknown := range map[string]jobmanager.JobID{
		"uuid": unknownID(), "table": otherTable, "type": otherType, "zero": {},
	} {
		if _, err := k.m.JobStatus(t.Context(), unknown); !errors.Is(err, jobmanager.ErrJobNotFound) {
			t.Errorf("status by another %s: %v", name, err)
		}
		if err := k.m.CancelJob(t.Context(), unknown); !errors.Is(err, jobmanager.ErrJobNotFound) {
			t.Errorf("cancel by another %s: %v", name, err)
		}
		if w, ok := k.m.(jobmanager.Waiter); ok {
			if _, err := w.WaitJob(t.Context(), unknown); !errors.Is(err, jobmanager.ErrJobNotFound) {
				t.Errorf("wait by another %s: %v", name, err)
			}
		}
	}
	s.AwaitBegun(t)
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	k.wait(t, id, jobmanager.Completed)
}

// A26: a job that has no slot yet can be cancelled.
func testCancelBeforeStart(t *testing.T, k *kit) {
	if !k.h.Abilities().Restart {
		t.Skip("the harness cannot stop its worker")
	}
	k.h.StopWorker(t, false)
	k.Table(table("events")).SetChunks(1)
	id := k.start(t, spec("events"))
	k.wantStatus(t, id, jobmanager.Pending)
	if got := ids(k.list(t, jobmanager.JobFilter{})); got[id] != jobmanager.Pending {
		t.Errorf("listed as %q, want pending", got[id])
	}
	k.cancel(t, id)
	k.wantStatus(t, id, jobmanager.Cancelling)
	if got := ids(k.list(t, jobmanager.JobFilter{})); got[id] != jobmanager.Cancelling {
		t.Errorf("listed as %q, want cancelling", got[id])
	}
	k.h.StartWorker(t)
	if info := k.wait(t, id, jobmanager.Cancelled); info.CancelledAt == nil {
		t.Error("no cancelled_at")
	}
	wantMoved(t, k.Table(table("events")), 0)
}

// A26
func testCancelInMidChunk(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(10)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	s.Pass(1)
	s.AwaitBegun(t)
	s.AwaitBegun(t) // one has ended, so there are rows to report
	k.cancel(t, id)
	info := k.wait(t, id, jobmanager.Cancelled)
	if info.CancelledAt == nil || info.FinishedAt == nil || info.RowsFlushed != RowsPerChunk {
		t.Errorf("%+v", info)
	}
	wantMoved(t, s, 1)
	s.Open()
	s.SetChunks(2)
	if next := k.start(t, spec("events")); next == id {
		t.Error("the next job has the id of the cancelled one")
	} else {
		k.wait(t, next, jobmanager.Completed)
	}
	k.wantStatus(t, id, jobmanager.Cancelled) // A33
}

func testCancelIsNotInstant(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.SetStubborn()
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	for range 2 { // a repeated cancel is harmless
		k.cancel(t, id)
		k.wantStatus(t, id, jobmanager.Cancelling)
		if got := ids(k.list(t, jobmanager.JobFilter{})); got[id] != jobmanager.Cancelling {
			t.Errorf("listed as %q, want cancelling", got[id])
		}
	}
	s.Open()
	// What was committed counts, whatever was asked meanwhile.
	if info := k.wait(t, id, jobmanager.Cancelled); info.RowsFlushed != RowsPerChunk || info.StartedAt == nil {
		t.Errorf("%d rows flushed, want %d; started at %v", info.RowsFlushed, RowsPerChunk, info.StartedAt)
	}
}

// A27, A33
func testCancelAfterTheEnd(t *testing.T, k *kit) {
	done := k.start(t, spec("events"))
	k.wait(t, done, jobmanager.Completed)
	wantFinished(t, k.m.CancelJob(t.Context(), done), done, jobmanager.Completed)
	k.wantStatus(t, done, jobmanager.Completed)

	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	cancelled := k.start(t, spec("events"))
	s.AwaitBegun(t)
	wantFinished(t, k.m.CancelJob(t.Context(), done), done, jobmanager.Completed) // not the running one
	k.wantStatus(t, cancelled, jobmanager.Running)
	k.cancel(t, cancelled)
	k.wait(t, cancelled, jobmanager.Cancelled)
	wantFinished(t, k.m.CancelJob(t.Context(), cancelled), cancelled, jobmanager.Cancelled)
}

// A28
func testCancelOneOfSeveral(t *testing.T, k *kit) {
	var all []jobmanager.JobID
	for i := range Slots {
		s := k.Table(table(fmt.Sprint("t", i)))
		s.SetChunks(1)
		s.Hold()
		all = append(all, k.start(t, spec(fmt.Sprint("t", i))))
		s.AwaitBegun(t)
	}
	k.cancel(t, all[0])
	if info := k.wait(t, all[0], jobmanager.Cancelled); info.StartedAt == nil {
		t.Error("a job that was cancelled in its first chunk has no start time")
	}
	for i, id := range all[1:] {
		k.wantStatus(t, id, jobmanager.Running)
		k.Table(table(fmt.Sprint("t", i+1))).Open()
		k.wait(t, id, jobmanager.Completed)
	}
}

// A19, A32
func testFails(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	tries := 0
	s.SetFailure(func(int, int) error { tries++; return &Failure{Class: "unrepresentable"} })
	id := k.start(t, spec("events"))
	info := k.wait(t, id, jobmanager.Failed)
	if info.ErrorClass != "unrepresentable" || info.StartedAt == nil || info.FinishedAt == nil {
		t.Errorf("class %q, started %v, finished %v", info.ErrorClass, info.StartedAt, info.FinishedAt)
	}
	if tries != 1 {
		t.Errorf("%d tries at what no retry cures", tries)
	}
	wantFinished(t, k.m.CancelJob(t.Context(), id), id, jobmanager.Failed)
}

// A31, A32
func testRetriesEnd(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	tries := 0
	s.SetFailure(func(int, int) error { tries++; return &Failure{Class: "storage_full", Retryable: true} })
	if info := k.wait(t, k.start(t, spec("events")), jobmanager.Failed); info.ErrorClass != "storage_full" {
		t.Errorf("class %q", info.ErrorClass)
	}
	if tries != Attempts {
		t.Errorf("%d tries, want %d", tries, Attempts)
	}
	s.SetFailure(nil) // repaired
	k.wait(t, k.start(t, spec("events")), jobmanager.Completed)
}

func testRetried(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(2)
	s.SetFailure(func(_, attempt int) error {
		if attempt < Attempts {
			return &Failure{Class: "connection", Retryable: true}
		}
		return nil
	})
	if info := k.wait(t, k.start(t, spec("events")), jobmanager.Completed); info.Attempt != Attempts {
		t.Errorf("attempt %d, want %d", info.Attempt, Attempts)
	}
	wantMoved(t, s, 2)
}

// A63
func testLongJob(t *testing.T, k *kit) {
	const chunks = 5 * ChunksPerRun
	s := k.Table(table("events"))
	s.SetChunks(chunks)
	s.Hold()
	id := k.start(t, spec("events"))
	created := k.status(t, id).CreatedAt
	for i := range chunks {
		s.AwaitBegun(t)
		info := k.status(t, id)
		if info.Status != jobmanager.Running || !info.CreatedAt.Equal(created) {
			t.Fatalf("after %d chunks: %s, created at %v", i, info.Status, info.CreatedAt)
		}
		if got, err := k.m.StartJob(t.Context(), spec("events")); err != nil || got.ID != id || !got.Existing {
			t.Fatalf("after %d chunks: start found %+v, %v", i, got, err)
		}
		if got := ids(k.list(t, jobmanager.JobFilter{})); len(got) != 1 || got[id] != jobmanager.Running {
			t.Fatalf("after %d chunks: listed %v", i, got)
		}
		s.Pass(1)
	}
	info := k.wait(t, id, jobmanager.Completed)
	if info.RowsFlushed != chunks*RowsPerChunk || info.ChunksDone != chunks || !info.CreatedAt.Equal(created) {
		t.Errorf("%+v", info)
	}
	wantMoved(t, s, chunks)
}

// A63
func testCancelLongJob(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(5 * ChunksPerRun)
	s.Hold()
	id := k.start(t, spec("events"))
	for range 2*ChunksPerRun + 1 {
		s.AwaitBegun(t)
		s.Pass(1)
	}
	k.cancel(t, id)
	k.wait(t, id, jobmanager.Cancelled)
	if got := ids(k.list(t, jobmanager.JobFilter{All: true})); len(got) != 1 || got[id] != jobmanager.Cancelled {
		t.Errorf("listed %v", got)
	}
}

// A63: a cancel is not lost wherever it meets a long job, at the seams between its runs least of all.
func testCancelAtSeams(t *testing.T, k *kit) {
	for n := ChunksPerRun - 1; n <= ChunksPerRun+2; n++ {
		name := fmt.Sprint("t", n)
		s := k.Table(table(name))
		s.SetChunks(100 * ChunksPerRun)
		s.Hold()
		s.Pass(4 * ChunksPerRun) // more than Temporal moves meanwhile; a faster manager is cancelled behind them
		id := k.start(t, spec(name))
		for range n {
			s.AwaitBegun(t)
		}
		k.cancel(t, id)
		if info := k.wait(t, id, jobmanager.Cancelled); info.ChunksDone > 4*ChunksPerRun {
			t.Errorf("cancelled after %d chunks, the job did %d", n, info.ChunksDone)
		}
	}
}
