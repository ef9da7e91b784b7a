package jobmanagertest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/jobmanager"
)

func testList(t *testing.T, k *kit) {
	k.wait(t, k.start(t, spec("a")), jobmanager.Completed)
	done := k.list(t, jobmanager.JobFilter{All: true})[0].ID
	s := k.Table(table("b"))
	s.SetChunks(1)
	s.Hold()
	live := k.start(t, spec("b"))
	s.AwaitBegun(t)
	strange := jobmanager.JobID{Type: live.Type, Table: live.Table, UUID: done.UUID}
	for name, c := range map[string]struct {
		filter jobmanager.JobFilter
		want   []jobmanager.JobID
	}{
		"zero":       {jobmanager.JobFilter{}, []jobmanager.JobID{live}},
		"all":        {jobmanager.JobFilter{All: true}, []jobmanager.JobID{live, done}},
		"completed":  {jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Completed}}, []jobmanager.JobID{done}},
		"running":    {jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Running}, All: true}, []jobmanager.JobID{live}},
		"both":       {jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Running, jobmanager.Completed}}, []jobmanager.JobID{live, done}},
		"paused":     {jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Paused}}, nil},
		"table a":    {jobmanager.JobFilter{All: true, Table: table("a")}, []jobmanager.JobID{done}},
		"namespace":  {jobmanager.JobFilter{All: true, Table: jobmanager.Table{Namespace: "app"}}, []jobmanager.JobID{live, done}},
		"other type": {jobmanager.JobFilter{All: true, Type: "restore"}, nil},
		"ids":        {jobmanager.JobFilter{All: true, IDs: []jobmanager.JobID{done, strange}}, []jobmanager.JobID{done}},
		"live id":    {jobmanager.JobFilter{IDs: []jobmanager.JobID{live}}, []jobmanager.JobID{live}},
		"ended id":   {jobmanager.JobFilter{IDs: []jobmanager.JobID{done}}, nil},
		"unknown id": {jobmanager.JobFilter{IDs: []jobmanager.JobID{strange}}, nil},
		"targets":    {jobmanager.JobFilter{All: true, Targets: []string{"app.a", "app.b"}}, []jobmanager.JobID{live, done}},
		"target":     {jobmanager.JobFilter{Targets: []string{"app.b"}}, []jobmanager.JobID{live}},
		"no target":  {jobmanager.JobFilter{Targets: []string{"app.'%\\"}}, nil},
		"live type":  {jobmanager.JobFilter{Type: live.Type, Targets: []string{"app.b"}}, []jobmanager.JobID{live}},
		"limit":      {jobmanager.JobFilter{All: true, Limit: 1}, []jobmanager.JobID{live}},
	} {
		got := k.list(t, c.filter)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, ids(got), c.want)
			continue
		}
		for i, info := range got {
			if info.ID != c.want[i] {
				t.Errorf("%s: %v, want %v", name, ids(got), c.want)
			}
		}
	}
	s.Open()
	k.wait(t, live, jobmanager.Completed)
	if l := k.list(t, jobmanager.JobFilter{}); len(l) != 0 {
		t.Errorf("no job is active, yet listed are %v", ids(l))
	}
}

func testListLimit(t *testing.T, k *kit) {
	var all []jobmanager.JobID
	for i := range 7 {
		id := k.start(t, spec(fmt.Sprint("t", i)))
		k.wait(t, id, jobmanager.Completed)
		all = append(all, id)
	}
	for limit := range len(all) + 2 {
		got := k.list(t, jobmanager.JobFilter{All: true, Limit: limit})
		want := min(limit, len(all))
		if limit == 0 {
			want = len(all)
		}
		if len(got) != want {
			t.Errorf("limit %d: %d jobs", limit, len(got))
		}
		for i, info := range got {
			if info.ID != all[len(all)-1-i] {
				t.Errorf("limit %d: job %d is %s, want %s", limit, i, info.ID, all[len(all)-1-i])
			}
		}
	}
	for range k.m.ListJobs(t.Context(), jobmanager.JobFilter{All: true}) {
		break // a caller may stop at any time
	}
}

func testWaitContextEnds(t *testing.T, k *kit) {
	w, ok := k.m.(jobmanager.Waiter)
	if !ok {
		t.Skip("the manager is no Waiter")
	}
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := w.WaitJob(ctx, id)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if _, err := k.m.StartJob(ctx, spec("other")); err == nil {
		t.Error("a start with a context that has ended succeeded")
	}
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	k.wait(t, id, jobmanager.Completed)
}

// A49
func testSlots(t *testing.T, k *kit) {
	if !k.h.Abilities().Slots {
		t.Skip("the manager has no slots")
	}
	const jobs = 5 * Slots
	for i := range jobs {
		s := k.Table(table(fmt.Sprint("t", i)))
		s.SetChunks(2)
		s.Hold()
	}
	var all []jobmanager.JobID
	for i := range jobs {
		all = append(all, k.start(t, spec(fmt.Sprint("t", i))))
	}
	for range Slots {
		k.AwaitBegun(t)
	}
	pending := 0
	for _, id := range all {
		if k.status(t, id).Status == jobmanager.Pending {
			pending++
		}
	}
	if pending < jobs-Slots {
		t.Errorf("%d jobs are pending, want at least %d", pending, jobs-Slots)
	}
	for i := range jobs {
		k.Table(table(fmt.Sprint("t", i))).Open()
	}
	for _, id := range all {
		k.wait(t, id, jobmanager.Completed)
	}
	if k.Most() > Slots {
		t.Errorf("%d chunks at once, want at most %d", k.Most(), Slots)
	}
}

// A49
func testSmallBehindGiant(t *testing.T, k *kit) {
	giant, small := k.Table(table("giant")), k.Table(table("small"))
	giant.SetChunks(1000)
	giant.Hold()
	giantID := k.start(t, spec("giant"))
	giant.AwaitBegun(t)
	small.SetChunks(1)
	smallID := k.start(t, spec("small"))
	k.awaitPlanned(t, smallID)
	k.AwaitBegun(t)
	for range Parallelism * 4 { // a few chunks of the giant are all that may come before
		giant.Pass(1)
		k.AwaitBegun(t)
	}
	k.wait(t, smallID, jobmanager.Completed)
	k.wantStatus(t, giantID, jobmanager.Running)
	k.cancel(t, giantID)
	k.wait(t, giantID, jobmanager.Cancelled)
}

// awaitPlanned waits until a job may begin its chunks: before that nobody can be fair to it.
func (k *kit) awaitPlanned(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		info := k.status(t, id)
		if info.Phase == "moving" || info.Status != jobmanager.Pending {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("job %s is still %s, %q", id, info.Status, info.Phase)
		}
	}
}

// A51
func testSeveralManagers(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	other := k.h.Manager(t)
	if info, err := other.JobStatus(t.Context(), id); err != nil || info.Status != jobmanager.Running {
		t.Errorf("another manager sees %s, %v", info.Status, err)
	}
	if err := other.CancelJob(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	k.wait(t, id, jobmanager.Cancelled)
	if got := ids(listOf(t, other, jobmanager.JobFilter{All: true})); got[id] != jobmanager.Cancelled {
		t.Errorf("another manager lists %v", got)
	}
}

// A38
func testWorkerStops(t *testing.T, k *kit) { restart(t, k, false) }

// A34
func testWorkerCrashes(t *testing.T, k *kit) { restart(t, k, true) }

// stopMidway starts a job of six chunks, stops the worker when one of them is moved, and starts another. The chunks are held.
func (k *kit) stopMidway(t *testing.T, crash bool) (jobmanager.JobID, *Script) {
	t.Helper()
	s := k.Table(table("events"))
	s.SetChunks(6)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	s.Pass(1)
	s.AwaitBegun(t)
	s.AwaitBegun(t)
	k.h.StopWorker(t, crash)
	if st := k.status(t, id).Status; st.Terminal() {
		t.Fatalf("a stop ended the job as %s", st)
	}
	k.h.StartWorker(t)
	return id, s
}

func restart(t *testing.T, k *kit, crash bool) {
	if !k.h.Abilities().Restart {
		t.Skip("the harness cannot restart its worker")
	}
	id, s := k.stopMidway(t, crash)
	s.Open()
	info := k.wait(t, id, jobmanager.Completed)
	if info.RowsFlushed != 6*RowsPerChunk {
		t.Errorf("%d rows, want %d", info.RowsFlushed, 6*RowsPerChunk)
	}
	wantMoved(t, s, 6)
}
