package jobmanagertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/jobmanager"
)

// pauser returns the manager's ability to pause jobs, and skips the test if it has none.
func (k *kit) pauser(t *testing.T) jobmanager.Pauser {
	t.Helper()
	p, ok := k.m.(jobmanager.Pauser)
	if !ok {
		t.Skip("the manager cannot pause jobs")
	}
	return p
}

func (k *kit) pause(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	if err := k.pauser(t).PauseJob(t.Context(), id); err != nil {
		t.Fatalf("pause %s: %v", id, err)
	}
}

func (k *kit) resume(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	if err := k.pauser(t).ResumeJob(t.Context(), id); err != nil {
		t.Fatalf("resume %s: %v", id, err)
	}
}

// await polls until a job that lives has a status.
func (k *kit) await(t *testing.T, id jobmanager.JobID, want jobmanager.Status) jobmanager.JobInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		info := k.status(t, id)
		if info.Status == want {
			return info
		}
		if info.Status.Terminal() {
			t.Fatalf("job %s ended as %s (%s), want %s", id, info.Status, info.ErrorClass, want)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("job %s is still %s, want %s", id, info.Status, want)
		}
	}
}

// wantListed checks that exactly one live job is listed, as status.
func (k *kit) wantListed(t *testing.T, id jobmanager.JobID, status jobmanager.Status) {
	t.Helper()
	for _, f := range []jobmanager.JobFilter{{}, {Statuses: []jobmanager.Status{status}}} {
		if got := ids(k.list(t, f)); len(got) != 1 || got[id] != status {
			t.Errorf("listed %v, want %s as %s", got, id, status)
		}
	}
}

// wantStill checks that a paused job begins nothing more while another one runs from its start to its end.
func (k *kit) wantStill(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	name := "beside " + uuid.NewString()
	k.Table(table(name)).SetChunks(1)
	k.wait(t, k.start(t, spec(name)), jobmanager.Completed)
	k.wantStatus(t, id, jobmanager.Paused)
	if n := k.Table(id.Table).Begun(); n != 0 {
		t.Errorf("%d chunks of the paused job %s have begun", n, id)
	}
}

// startPausing starts a job of six chunks and pauses it in the first two. They are held, and so are those after them.
func (k *kit) startPausing(t *testing.T) (jobmanager.JobID, *Script) {
	t.Helper()
	s := k.Table(table("events"))
	s.SetChunks(6)
	s.Hold()
	id := k.start(t, spec("events"))
	for range Parallelism {
		s.AwaitBegun(t)
	}
	k.pause(t, id)
	k.wantStatus(t, id, jobmanager.Pausing)
	return id, s
}

// startPaused starts a job of six chunks and pauses it after the first two. The others will not be held.
func (k *kit) startPaused(t *testing.T) (jobmanager.JobID, *Script) {
	t.Helper()
	id, s := k.startPausing(t)
	s.Open()
	k.await(t, id, jobmanager.Paused)
	return id, s
}

// A30: what has begun ends and commits, nothing else begins, and a resume goes on from there.
func testPauseInMidChunk(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPausing(t)
	k.wantListed(t, id, jobmanager.Pausing)
	wantMoved(t, s, 0)
	s.Pass(1)
	k.wantStatus(t, id, jobmanager.Pausing)
	s.Open()
	info := k.await(t, id, jobmanager.Paused)
	if info.ChunksDone != Parallelism || info.RowsFlushed != Parallelism*RowsPerChunk || info.FinishedAt != nil || info.StartedAt == nil {
		t.Errorf("%+v", info)
	}
	k.wantListed(t, id, jobmanager.Paused)
	k.wantStill(t, id)
	wantMoved(t, s, Parallelism)

	s.Hold()
	k.resume(t, id)
	s.AwaitBegun(t)
	k.wantStatus(t, id, jobmanager.Running)
	k.wantListed(t, id, jobmanager.Running)
	s.Open()
	if info := k.wait(t, id, jobmanager.Completed); info.RowsFlushed != 6*RowsPerChunk {
		t.Errorf("%d rows, want %d", info.RowsFlushed, 6*RowsPerChunk)
	}
	wantMoved(t, s, 6)
}

// A30: repeating a pause or a resume changes nothing.
func testPauseRepeated(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPausing(t)
	k.pause(t, id)
	k.wantStatus(t, id, jobmanager.Pausing)
	s.Open()
	k.await(t, id, jobmanager.Paused)
	k.pause(t, id)
	k.wantStatus(t, id, jobmanager.Paused)
	s.Hold()
	for range 2 {
		k.resume(t, id)
		k.wantStatus(t, id, jobmanager.Running)
	}
	s.AwaitBegun(t)
	k.resume(t, id)
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

func testResumeWhilePausing(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPausing(t)
	s.Pass(1)
	k.resume(t, id)
	k.wantStatus(t, id, jobmanager.Running)
	s.AwaitBegun(t) // one of the two is still held: the job did not have to become paused first
	s.Open()
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

// pauseUnseen starts a job of three chunks while no worker runs, and pauses it.
func (k *kit) pauseUnseen(t *testing.T) (jobmanager.JobID, *Script) {
	t.Helper()
	p := k.pauser(t)
	if !k.h.Abilities().Restart {
		t.Skip("the harness cannot stop its worker")
	}
	k.h.StopWorker(t, false)
	s := k.Table(table("events"))
	s.SetChunks(3)
	id := k.start(t, spec("events"))
	err := p.PauseJob(t.Context(), id)
	if errors.Is(err, jobmanager.ErrUnavailable) {
		k.h.StartWorker(t)
		t.Skip("the manager takes no pause while no worker runs")
	}
	if err != nil {
		t.Fatal(err)
	}
	return id, s
}

// A30: a job that no worker has seen yet is paused before it begins.
func testPauseBeforeStart(t *testing.T, k *kit) {
	id, s := k.pauseUnseen(t)
	st := k.status(t, id).Status
	if st != jobmanager.Pausing && st != jobmanager.Paused {
		t.Errorf("the job is %s, want pausing or paused", st)
	}
	k.wantListed(t, id, st)
	k.h.StartWorker(t)
	k.await(t, id, jobmanager.Paused)
	k.wantStill(t, id)
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 3)
}

// A30: who takes a pause back before a worker saw it has a job that runs.
func testPauseAndResumeWithoutWorker(t *testing.T, k *kit) {
	id, s := k.pauseUnseen(t)
	k.resume(t, id)
	k.h.StartWorker(t)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 3)
}

// A30, A49: a job whose chunks wait for slots can be paused. Chunks that wait in the queue may count as begun.
func testPausePending(t *testing.T, k *kit) {
	k.pauser(t)
	if !k.h.Abilities().Slots {
		t.Skip("the manager has no slots")
	}
	others := fillSlots(t, k)
	s := k.Table(table("events"))
	s.SetChunks(6)
	id := k.start(t, spec("events"))
	k.wantStatus(t, id, jobmanager.Pending)
	k.pause(t, id)
	if st := k.status(t, id).Status; st != jobmanager.Pausing && st != jobmanager.Paused {
		t.Errorf("the job is %s, want pausing or paused", st)
	}
	for _, other := range others {
		k.Table(other.Table).Open()
		k.wait(t, other, jobmanager.Completed)
	}
	k.await(t, id, jobmanager.Paused)
	if n, err := s.Moved(); n > Parallelism || err != nil {
		t.Errorf("%d chunks were moved, want at most %d; %v", n, Parallelism, err)
	}
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

// fillSlots starts jobs that hold every slot.
func fillSlots(t *testing.T, k *kit) []jobmanager.JobID {
	t.Helper()
	var held []jobmanager.JobID
	for i := range Slots {
		name := fmt.Sprint("busy", i)
		s := k.Table(table(name))
		s.SetChunks(1)
		s.Hold()
		held = append(held, k.start(t, spec(name)))
		s.AwaitBegun(t)
	}
	return held
}

// A30
func testPauseAcrossStop(t *testing.T, k *kit) { pauseAcross(t, k, false) }

// A30, A34
func testPauseAcrossCrash(t *testing.T, k *kit) { pauseAcross(t, k, true) }

func pauseAcross(t *testing.T, k *kit, crash bool) {
	k.pauser(t)
	if !k.h.Abilities().Restart {
		t.Skip("the harness cannot restart its worker")
	}
	id, s := k.startPaused(t)
	k.h.StopWorker(t, crash)
	k.wantStatus(t, id, jobmanager.Paused)
	k.h.StartWorker(t)
	k.wantStill(t, id)
	k.wantListed(t, id, jobmanager.Paused)
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

// A30, A34: chunks that were cut off by a crash may be tried again; others do not begin.
func testCrashWhilePausing(t *testing.T, k *kit) {
	k.pauser(t)
	if !k.h.Abilities().Restart {
		t.Skip("the harness cannot restart its worker")
	}
	id, s := k.startPausing(t)
	k.h.StopWorker(t, true)
	k.h.StartWorker(t)
	s.Open()
	k.await(t, id, jobmanager.Paused)
	if n, err := s.Moved(); n > Parallelism || err != nil {
		t.Errorf("%d chunks were moved, want at most %d; %v", n, Parallelism, err)
	}
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

// A30, A63: a long job may be paused and resumed as often as one likes, and stays the same job.
func testPauseLongJob(t *testing.T, k *kit) {
	k.pauser(t)
	const chunks = 4*ChunksPerRun + 1
	s := k.Table(table("events"))
	s.SetChunks(chunks)
	s.Hold()
	id := k.start(t, spec("events"))
	created := k.status(t, id).CreatedAt
	for {
		s.AwaitBegun(t)
		k.pause(t, id)
		s.Open()
		info := k.await(t, id, jobmanager.Paused)
		for s.Begun() > 0 { // they were in flight when the pause came
			s.AwaitBegun(t)
		}
		if !info.CreatedAt.Equal(created) {
			t.Fatalf("after %d chunks: created at %v, want %v", info.ChunksDone, info.CreatedAt, created)
		}
		if got, err := k.m.StartJob(t.Context(), spec("events")); err != nil || got.ID != id || !got.Existing {
			t.Fatalf("after %d chunks: start found %+v, %v", info.ChunksDone, got, err)
		}
		k.wantListed(t, id, jobmanager.Paused)
		if info.ChunksDone == chunks {
			break
		}
		s.Hold()
		k.resume(t, id)
	}
	k.resume(t, id)
	if info := k.wait(t, id, jobmanager.Completed); info.RowsFlushed != chunks*RowsPerChunk || !info.CreatedAt.Equal(created) {
		t.Errorf("%+v", info)
	}
	wantMoved(t, s, chunks)
}

// A30, A63: a pause is not lost wherever it meets a long job, at the seams between its runs least of all.
func testPauseAtSeams(t *testing.T, k *kit) {
	k.pauser(t)
	for n := ChunksPerRun - 1; n <= ChunksPerRun+2; n++ {
		name := fmt.Sprint("t", n)
		s := k.Table(table(name))
		s.SetChunks(1 << 20) // more than the fastest manager moves meanwhile
		id := k.start(t, spec(name))
		for range 2 { // once more in a later run
			for range n {
				s.AwaitBegun(t)
			}
			k.pause(t, id)
			k.await(t, id, jobmanager.Paused)
			for s.Begun() > 0 {
				s.AwaitBegun(t)
			}
			k.wantListed(t, id, jobmanager.Paused)
			k.resume(t, id)
		}
		s.AwaitBegun(t)
		k.cancel(t, id)
		k.wait(t, id, jobmanager.Cancelled)
	}
}

// A26, A30
func testCancelWhilePaused(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPaused(t)
	k.cancel(t, id)
	info := k.wait(t, id, jobmanager.Cancelled)
	if info.CancelledAt == nil || info.RowsFlushed != Parallelism*RowsPerChunk {
		t.Errorf("%+v", info)
	}
	wantMoved(t, s, Parallelism)
	if next := k.start(t, spec("events")); next == id {
		t.Error("the next job has the id of the cancelled one")
	} else {
		k.wait(t, next, jobmanager.Completed) // not paused
	}
	k.wantStatus(t, id, jobmanager.Cancelled)
}

// A26, A30
func testCancelWhilePausing(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPausing(t)
	k.cancel(t, id)
	k.wait(t, id, jobmanager.Cancelled)
	wantMoved(t, s, 0)
}

// A30: the cancel wins.
func testPauseWhileCancelling(t *testing.T, k *kit) {
	k.pauser(t)
	s := k.Table(table("events"))
	s.SetChunks(6)
	s.SetStubborn()
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	k.cancel(t, id)
	k.pause(t, id)
	k.wantStatus(t, id, jobmanager.Cancelling)
	k.resume(t, id)
	k.wantStatus(t, id, jobmanager.Cancelling)
	k.wantListed(t, id, jobmanager.Cancelling)
	s.Open()
	k.wait(t, id, jobmanager.Cancelled)
}

// A27, A30
func testPauseUnknownJob(t *testing.T, k *kit) {
	p := k.pauser(t)
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	otherTable, otherType := id, id
	otherTable.Table = table("other")
	otherType.Type = "restore"
	for name, unknown := range map[string]jobmanager.JobID{
		"uuid": unknownID(), "table": otherTable, "type": otherType, "zero": {},
	} {
		if err := p.PauseJob(t.Context(), unknown); !errors.Is(err, jobmanager.ErrJobNotFound) {
			t.Errorf("pause by another %s: %v", name, err)
		}
		if err := p.ResumeJob(t.Context(), unknown); !errors.Is(err, jobmanager.ErrJobNotFound) {
			t.Errorf("resume by another %s: %v", name, err)
		}
	}
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	k.wait(t, id, jobmanager.Completed)
}

// A27, A30, A33
func testPauseAfterTheEnd(t *testing.T, k *kit) {
	p := k.pauser(t)
	done := k.start(t, spec("events"))
	k.wait(t, done, jobmanager.Completed)
	wantFinished(t, p.PauseJob(t.Context(), done), done, jobmanager.Completed)
	wantFinished(t, p.ResumeJob(t.Context(), done), done, jobmanager.Completed)

	cancelled, _ := k.startPaused(t)
	wantFinished(t, p.PauseJob(t.Context(), done), done, jobmanager.Completed)
	wantFinished(t, p.ResumeJob(t.Context(), done), done, jobmanager.Completed) // not the paused one
	k.wantStatus(t, cancelled, jobmanager.Paused)
	k.cancel(t, cancelled)
	k.wait(t, cancelled, jobmanager.Cancelled)
	wantFinished(t, p.PauseJob(t.Context(), cancelled), cancelled, jobmanager.Cancelled)
	wantFinished(t, p.ResumeJob(t.Context(), cancelled), cancelled, jobmanager.Cancelled)
	k.wantStatus(t, done, jobmanager.Completed)
}

// A62: a paused job keeps its table; the same request finds it, and does not wake it.
func testStartWhilePaused(t *testing.T, k *kit) {
	k.pauser(t)
	id, s := k.startPaused(t)
	if got, err := k.m.StartJob(t.Context(), spec("events")); err != nil || got.ID != id || !got.Existing {
		t.Errorf("start found %+v, %v; want the paused job %s", got, err, id)
	}
	other := spec("events")
	other.Params = map[string]string{"where": "kind = 'y'"}
	_, err := k.m.StartJob(t.Context(), other)
	var busy *jobmanager.BusyError
	if !errors.As(err, &busy) || busy.Running != id {
		t.Errorf("error %v, want a BusyError that names %s", err, id)
	}
	k.wantStill(t, id)
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
	wantMoved(t, s, 6)
}

// A30, A51
func testPauseSeveralManagers(t *testing.T, k *kit) {
	k.pauser(t)
	id, _ := k.startPaused(t)
	other := k.h.Manager(t)
	if info, err := other.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Paused {
		t.Errorf("another manager sees %s, %v", info.Status, err)
	}
	if got := ids(listOf(t, other, jobmanager.JobFilter{})); got[id] != jobmanager.Paused {
		t.Errorf("another manager lists %v", got)
	}
	if err := other.(jobmanager.Pauser).ResumeJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	k.wait(t, id, jobmanager.Completed)
}

// A30: only the one that was named is paused.
func testPauseOneOfSeveral(t *testing.T, k *kit) {
	k.pauser(t)
	id, _ := k.startPaused(t)
	s := k.Table(table("other"))
	s.SetChunks(2)
	k.wait(t, k.start(t, spec("other")), jobmanager.Completed)
	k.wantStatus(t, id, jobmanager.Paused)
	k.resume(t, id)
	k.wait(t, id, jobmanager.Completed)
}

// A30: a resume that meets the last chunk's end is not lost.
func testResumeAsLastChunkLands(t *testing.T, k *kit) {
	p := k.pauser(t)
	for i := range 10 {
		name := fmt.Sprint("t", i)
		s := k.Table(table(name))
		s.SetChunks(1)
		s.Hold()
		id := k.start(t, spec(name))
		s.AwaitBegun(t)
		k.pause(t, id)
		both := []func() error{
			func() error { s.Open(); return nil },
			func() error { return p.ResumeJob(t.Context(), id) },
		}
		if err := inParallel(len(both), func(i int) error { return both[i]() }); err != nil {
			t.Fatal(err)
		}
		k.wait(t, id, jobmanager.Completed)
		wantMoved(t, s, 1)
	}
}

// A30, A33: a pause that meets the last chunk's end holds the job or comes too late.
func testPauseAsLastChunkLands(t *testing.T, k *kit) {
	p := k.pauser(t)
	for i := range 10 {
		name := fmt.Sprint("t", i)
		s := k.Table(table(name))
		s.SetChunks(1)
		s.Hold()
		id := k.start(t, spec(name))
		s.AwaitBegun(t)
		var fin *jobmanager.FinishedError
		both := []func() error{
			func() error { s.Open(); return nil },
			func() error { return p.PauseJob(t.Context(), id) },
		}
		if err := inParallel(len(both), func(i int) error { return both[i]() }); err != nil && !errors.As(err, &fin) {
			t.Fatal(err)
		}
		can := []jobmanager.Status{jobmanager.Running, jobmanager.Pausing, jobmanager.Paused, jobmanager.Completed}
		if st := k.status(t, id).Status; !slices.Contains(can, st) {
			t.Errorf("the job is %s", st)
		}
		if err := p.ResumeJob(t.Context(), id); err != nil && !errors.As(err, &fin) {
			t.Fatal(err)
		}
		k.wait(t, id, jobmanager.Completed)
		wantMoved(t, s, 1)
	}
}
