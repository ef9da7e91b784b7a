package jobmanagertest

import (
	"testing"

	"github.com/spillwaydb/spillway/jobmanager"
)

// ClassInterrupted is the error class of a job that was cut off with its process.
const ClassInterrupted = "interrupted"

func testInterruptedByCrash(t *testing.T, k *kit) { interrupted(t, k, true) }

func testInterruptedByStop(t *testing.T, k *kit) { interrupted(t, k, false) }

// cutOff starts a job of six chunks and ends its process when one of them is moved. The manager is that of a new process.
func (k *kit) cutOff(t *testing.T, crash bool) (jobmanager.JobID, *Script) {
	t.Helper()
	if !k.h.Abilities().Interrupts {
		t.Skip("the manager's jobs do not end with their process")
	}
	id, s := k.stopMidway(t, crash)
	k.m = k.h.Manager(t)
	s.Open()
	return id, s
}

// wantInterrupted checks that a job is known as one that was cut off, for good.
func (k *kit) wantInterrupted(t *testing.T, id jobmanager.JobID) {
	t.Helper()
	info := k.wait(t, id, jobmanager.Failed)
	if info.ErrorClass != ClassInterrupted || info.RowsFlushed != RowsPerChunk || info.StartedAt == nil || info.FinishedAt == nil || info.RequestedBy != "alice" {
		t.Errorf("%+v", info)
	}
	if got := ids(k.list(t, jobmanager.JobFilter{All: true, Statuses: []jobmanager.Status{jobmanager.Failed}})); got[id] != jobmanager.Failed {
		t.Errorf("listed %v, want %s as failed", got, id)
	}
	wantFinished(t, k.m.CancelJob(t.Context(), id), id, jobmanager.Failed)
	k.wantStatus(t, id, jobmanager.Failed) // A33
}

// A job that was cut off with its process is found by the next one and closed; the next flush goes on.
func interrupted(t *testing.T, k *kit, crash bool) {
	id, s := k.cutOff(t, crash)
	if got := ids(k.list(t, jobmanager.JobFilter{})); len(got) > 1 {
		t.Errorf("listed %v, want at most %s", got, id)
	}
	k.wantInterrupted(t, id)
	wantMoved(t, s, 1)
	s.SetChunks(5)
	k.wait(t, k.start(t, spec("events")), jobmanager.Completed)
	wantMoved(t, s, 5)
}

// Nobody has to look at the job that was cut off before the next one can start, whatever it is asked for.
func testStartAfterInterruption(t *testing.T, k *kit) {
	id, s := k.cutOff(t, true)
	s.SetChunks(5)
	other := spec("events")
	other.Params = nil
	next := k.start(t, other)
	if next == id {
		t.Fatal("the next job has the id of the one that was cut off")
	}
	k.wantStatus(t, id, jobmanager.Failed)
	k.wait(t, next, jobmanager.Completed)
	k.wantInterrupted(t, id)
}
