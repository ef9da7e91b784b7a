package flush_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// take takes app.t for a new local job, and plans it.
func (r *rig) take(force bool) (*job, ledger.Hold, error) {
	r.t.Helper()
	j := &job{rig: r, id: "flush:app.t:" + uuid.NewString(), request: r.request()}
	hold, err := r.f.TakeTable(context.Background(), ledger.Claim{Schema: "app", Table: "t", JobID: j.id, RequestID: uuid.MustParse(j.request)}, force)
	if err != nil {
		return j, hold, err
	}
	j.plan, err = r.f.Plan(context.Background(), jobstep.PlanInput{JobID: j.id, RequestID: j.request, Generation: 1, Claimed: true})
	return j, hold, err
}

func wantHeldBy(t *testing.T, err error, id string) {
	t.Helper()
	var held *ledger.HeldError
	if !errors.As(err, &held) || held.Claim.JobID != id {
		t.Errorf("error %v, want one that names %s", err, id)
	}
}

// One job at a time moves rows of a table, whoever manages it.
func TestOneJobPerTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(1000))
	ctx := context.Background()
	local, hold, err := r.take(false)
	must(t, err)
	if _, _, err := r.take(true); err == nil {
		t.Error("a second local job took the table")
	} else {
		wantHeldBy(t, err, local.id)
	}
	remote := &job{rig: r, id: "flush:app.t:" + uuid.NewString(), request: r.request()}
	_, err = r.f.Plan(ctx, jobstep.PlanInput{JobID: remote.id, RequestID: remote.request, Generation: 1})
	wantHeldBy(t, err, local.id)
	if c := jobstep.ClassOf(err); c.Name != jobstep.ClassBusy || !c.Retryable {
		t.Errorf("class %+v", c)
	}
	if closed, err := r.f.CloseInterrupted(ctx); err != nil || len(closed) != 0 {
		t.Errorf("a job that lives was closed: %v, %v", closed, err)
	}
	local.run()
	hold.Release()

	// And the other way round.
	remote.plan, err = r.f.Plan(ctx, jobstep.PlanInput{JobID: remote.id, RequestID: remote.request, Generation: 1})
	must(t, err)
	_, _, err = r.take(false)
	wantHeldBy(t, err, remote.id)
	remote.run()
	local, hold, err = r.take(false)
	must(t, err)
	local.run()
	hold.Release()
}

// A local job whose process died in mid-chunk is closed as interrupted by whoever comes next, and its attempt is settled.
func TestDeadLocalJob(t *testing.T) {
	t.Parallel()
	next := map[string]func(r *rig) error{
		"start of up": func(r *rig) error { _, err := r.f.CloseInterrupted(context.Background()); return err },
		"local start": func(r *rig) error {
			j, hold, err := r.take(false)
			j.finish("completed", nil)
			hold.Release()
			return err
		},
		"temporal plan": func(r *rig) error { r.newJob().finish("completed", nil); return nil },
	}
	for name, come := range next {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, events, fill(2000))
			r.params["chunk_bytes"] = "64kB"
			ctx := context.Background()
			dead, hold, err := r.take(false)
			must(t, err)
			moved, err := dead.chunk(0)
			must(t, err)
			zombie := r.openAttempt(dead, 1)
			hold.Release() // as PostgreSQL does for a process that died
			must(t, come(r))

			h, found, err := r.ledger.History(ctx, dead.id)
			if err != nil || !found || h.Status != "failed" || h.ErrorClass == nil || *h.ErrorClass != jobstep.ClassInterrupted || h.RowsFlushed != moved.Rows || h.StartedAt == nil {
				t.Errorf("recorded: %+v, %v, %v", h, found, err)
			}
			if _, err := zombie.Exec(ctx, "COMMIT"); err == nil {
				t.Error("the dead job's transaction has committed")
			}
			if _, err := dead.chunk(2); jobstep.ClassOf(err).Name != jobstep.ClassInterrupted {
				t.Errorf("the dead job moves on: %v", err)
			}
			all, hold, err := r.take(false)
			must(t, err)
			defer hold.Release()
			all.run()
			if r.hotCount() != 0 {
				t.Errorf("%d rows are hot", r.hotCount())
			}
		})
	}
}

// openAttempt begins an attempt at a chunk of a job, as far as its fence, and leaves it there.
func (r *rig) openAttempt(j *job, chunk int) *hot.Session {
	r.t.Helper()
	ctx := context.Background()
	s, err := r.hot.Session(ctx, "spillway:"+j.id+":1", nil)
	must(r.t, err)
	r.t.Cleanup(s.Close)
	id := uuid.New()
	must(r.t, r.ledger.OpenAttempt(ctx, s, ledger.Attempt{ID: id, JobID: j.id, Chunk: chunk, Storage: "default", ObjectPrefix: "app/t/dead-" + id.String()}))
	must(r.t, s.Begin(ctx, &hot.Move{Schema: "app", Table: "t", Columns: []string{"id"}}))
	if ours, err := r.ledger.TakeAttempt(ctx, s, id); err != nil || !ours {
		r.t.Fatal(ours, err)
	}
	must(r.t, r.ledger.InsertChunk(ctx, s, j.id, chunk, id, 1))
	return s
}

// A table is taken by force from a job of Temporal's, which then moves nothing more although it lives.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(2000))
	r.params["chunk_bytes"] = "64kB"
	ctx := context.Background()
	old := r.newJob()
	_, err := old.chunk(0)
	must(t, err)
	begun := r.openAttempt(old, 1)
	_, _, err = r.take(false)
	wantHeldBy(t, err, old.id)
	local, hold, err := r.take(true)
	must(t, err)
	defer hold.Release()
	if _, err := begun.Exec(ctx, "COMMIT"); err == nil {
		t.Error("the old job's transaction has committed")
	}
	if _, err := old.chunk(2); jobstep.ClassOf(err).Name != jobstep.ClassInterrupted {
		t.Errorf("the old job moves on: %v", err)
	}
	for generation := 1; generation <= 2; generation++ {
		_, err := r.f.Plan(ctx, jobstep.PlanInput{JobID: old.id, RequestID: old.request, Generation: generation})
		if c := jobstep.ClassOf(err).Name; !slices.Contains([]string{jobstep.ClassInterrupted, jobstep.ClassBusy}, c) {
			t.Errorf("generation %d: the old job takes its table back: %v", generation, err)
		}
	}
	if res := old.finish("completed", nil); res.Status != "failed" {
		t.Errorf("the old job ends as %s, though failed is recorded", res.Status)
	}
	local.run()
	if r.hotCount() != 0 {
		t.Errorf("%d rows are hot", r.hotCount())
	}
}
