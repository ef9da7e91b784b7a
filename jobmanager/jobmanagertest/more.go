package jobmanagertest

import (
	"context"
	"errors"
	"testing"

	"github.com/spillwaydb/spillway/jobmanager"
)

// A26, A49: a job that waits for a slot is cancelled without one.
func testCancelWithoutSlot(t *testing.T, k *kit) {
	if !k.h.Abilities().Slots {
		t.Skip("the manager has no slots")
	}
	others := fillSlots(t, k)
	s := k.Table(table("events"))
	s.SetChunks(3)
	id := k.start(t, spec("events"))
	k.wantStatus(t, id, jobmanager.Pending)
	if got := ids(k.list(t, jobmanager.JobFilter{Statuses: []jobmanager.Status{jobmanager.Pending}})); len(got) != 1 || got[id] != jobmanager.Pending {
		t.Errorf("listed %v, want %s as pending", got, id)
	}
	k.cancel(t, id)
	if info := k.wait(t, id, jobmanager.Cancelled); info.CancelledAt == nil || info.RowsFlushed != 0 {
		t.Errorf("%+v", info)
	}
	wantMoved(t, s, 0)
	for _, other := range others {
		k.wantStatus(t, other, jobmanager.Running)
		k.Table(other.Table).Open()
		k.wait(t, other, jobmanager.Completed)
	}
}

// A6, A8: whoever meets a job at its end gets that job or a new one, never an error, and never one that had ended before.
func testStartsAfterTheEnd(t *testing.T, k *kit) {
	for range 5 {
		first := k.start(t, spec("events"))
		again := make([]jobmanager.Started, 8)
		if err := inParallel(len(again), func(i int) (err error) {
			again[i], err = k.m.StartJob(t.Context(), spec("events"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		fresh := map[jobmanager.JobID]int{first: 1}
		for _, s := range again {
			if !s.Existing {
				fresh[s.ID]++
			}
		}
		for _, s := range again {
			if fresh[s.ID] != 1 {
				t.Errorf("%d callers were told that they started %s, want 1", fresh[s.ID], s.ID)
			}
			k.wait(t, s.ID, jobmanager.Completed)
		}
	}
}

// A33: however a job ends, its end stays as it was first seen, in its status and in every list.
func testEndsAreRecorded(t *testing.T, k *kit) {
	want := map[jobmanager.JobID]jobmanager.JobInfo{}
	want1 := func(id jobmanager.JobID, status jobmanager.Status) { want[id] = k.wait(t, id, status) }
	want1(k.start(t, spec("empty")), jobmanager.Completed)

	full := k.Table(table("full"))
	full.SetChunks(2)
	want1(k.start(t, spec("full")), jobmanager.Completed)

	bad := k.Table(table("bad"))
	bad.SetChunks(2)
	bad.SetFailure(func(chunk, _ int) error { return &Failure{Class: "data"} })
	want1(k.start(t, spec("bad")), jobmanager.Failed)

	killed := k.Table(table("killed"))
	killed.SetChunks(2)
	killed.Hold()
	id := k.start(t, spec("killed"))
	killed.AwaitBegun(t)
	k.cancel(t, id)
	want1(id, jobmanager.Cancelled)

	for id, first := range want {
		for _, ask := range []func() error{
			func() error { return k.m.CancelJob(t.Context(), id) },
			func() error {
				if p, ok := k.m.(jobmanager.Pauser); ok {
					return errors.Join(p.PauseJob(t.Context(), id), p.ResumeJob(t.Context(), id))
				}
				return &jobmanager.FinishedError{ID: id, Status: first.Status}
			},
		} {
			wantFinished(t, ask(), id, first.Status)
		}
		now := k.status(t, id)
		if now.Status != first.Status || now.RowsFlushed != first.RowsFlushed || now.ErrorClass != first.ErrorClass ||
			now.FinishedAt == nil || !now.FinishedAt.Equal(*first.FinishedAt) || !now.CreatedAt.Equal(first.CreatedAt) || now.Phase != "" {
			t.Errorf("%s was seen to end as %+v, and is now %+v", id, first, now)
		}
	}
	got := ids(k.list(t, jobmanager.JobFilter{All: true}))
	if len(got) != len(want) {
		t.Errorf("listed %v, want %d jobs", got, len(want))
	}
	for id, first := range want {
		if got[id] != first.Status {
			t.Errorf("%s is listed as %q, want %s", id, got[id], first.Status)
		}
	}
	if live := k.list(t, jobmanager.JobFilter{}); len(live) != 0 {
		t.Errorf("no job is active, yet listed are %v", ids(live))
	}
}

// A caller whose context has ended gets an error that says so, and changes nothing.
func testContextEnded(t *testing.T, k *kit) {
	s := k.Table(table("events"))
	s.SetChunks(1)
	s.Hold()
	id := k.start(t, spec("events"))
	s.AwaitBegun(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.m.JobStatus(ctx, id); err == nil {
		t.Error("status: no error")
	}
	if _, err := k.m.StartJob(ctx, spec("other")); err == nil {
		t.Error("start: no error")
	}
	sawError := false
	for _, err := range k.m.ListJobs(ctx, jobmanager.JobFilter{All: true}) {
		sawError = sawError || err != nil
	}
	if !sawError {
		t.Error("list: no error")
	}
	k.wantStatus(t, id, jobmanager.Running)
	s.Open()
	k.wait(t, id, jobmanager.Completed)
	if got := k.list(t, jobmanager.JobFilter{All: true}); len(got) != 1 {
		t.Errorf("listed %v, want %s alone", ids(got), id)
	}
}
