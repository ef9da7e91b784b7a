package flush_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
)

// A job that was terminated in mid-chunk gets the end that it could not record: its attempt is settled, what it moved is
// published, and its table is free. The first end stays.
func TestFillIn(t *testing.T) {
	t.Parallel()
	r := newRig(t, events, fill(2000))
	r.params["chunk_bytes"] = "64kB"
	ctx := context.Background()
	j := r.newJob()
	moved, err := j.chunk(0)
	must(t, err)
	zombie := r.openAttempt(j, 1)
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	in := jobstep.EndInput{
		FinishInput: jobstep.FinishInput{JobID: j.id, RequestID: j.request, Status: "cancelled", Class: "terminated", WorkflowID: "w", RunID: "r", CreatedAt: at.Add(-time.Hour), CancelledAt: &at},
		FinishedAt:  at, Error: "by force",
	}
	for range 2 {
		must(t, r.f.FillIn(ctx, in))
		in.Status = "failed"
	}
	h, found, err := r.ledger.History(ctx, j.id)
	if err != nil || !found || h.Status != "cancelled" || !h.FinishedAt.Equal(at) || h.RowsFlushed != moved.Rows || h.Schema != "app" || h.WorkflowID != "w" ||
		h.Error == nil || *h.Error != "by force" || h.ErrorClass == nil || *h.ErrorClass != "terminated" {
		t.Errorf("recorded: %+v, %v, %v", h, found, err)
	}
	if _, err := zombie.Exec(ctx, "COMMIT"); err == nil {
		t.Error("the job's transaction has committed after its end")
	}
	if found, _ := filepath.Glob(filepath.Join(r.dir, "app", "t", "manifest.json")); len(found) != 1 {
		t.Errorf("manifests: %v", found)
	} else if text, err := os.ReadFile(found[0]); err != nil || len(text) == 0 {
		t.Error(err)
	}
	next, hold, err := r.take(false)
	must(t, err)
	next.run()
	hold.Release()

	// Nothing but its id is known of a job whose request is gone.
	lost := jobstep.EndInput{FinishInput: jobstep.FinishInput{JobID: "flush:app.t:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", RequestID: "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", Status: "failed", Class: "timeout",
		CreatedAt: at}, JobType: "flush", Schema: "app", Table: "t", FinishedAt: at}
	must(t, r.f.FillIn(ctx, lost))
	if h, found, err := r.ledger.History(ctx, lost.JobID); err != nil || !found || h.Status != "failed" || h.Table != "t" {
		t.Errorf("without its request: %+v, %v, %v", h, found, err)
	}
}

// A job that looks after what is cold has a plan of another kind, which names no table to publish. Its end is recorded all the same.
func TestFillInUpkeep(t *testing.T) {
	t.Parallel()
	r, paths := flushed(t)
	ctx := context.Background()
	manifest := filepath.Join(r.dir, "app", "t", layout.ManifestName)
	before, err := os.Stat(manifest)
	must(t, err)
	plans := map[string]func(in jobstep.PlanInput) error{
		jobstep.VerifyType: func(in jobstep.PlanInput) error {
			if _, err := r.k.PlanVerify(ctx, in); err != nil {
				return err
			}
			_, err := r.k.CheckSegments(ctx, jobstep.ChunkInput{JobID: in.JobID, Attempt: 1}, nil)
			return err
		},
		jobstep.CleanupType: func(in jobstep.PlanInput) error {
			if _, err := r.k.PlanCleanup(ctx, in); err != nil {
				return err
			}
			_, err := r.k.CleanUp(ctx, jobstep.ChunkInput{JobID: in.JobID, Attempt: 1}, nil)
			return err
		},
	}
	for kind, plan := range plans {
		for _, planned := range []bool{true, false} {
			schema, table, params := "app", "t", map[string]string(nil)
			if kind == jobstep.CleanupType {
				schema, table, params = "", "", map[string]string{"objects": `["file://` + paths[0] + `"]`}
			}
			in := jobstep.PlanInput{JobID: kind + ":" + uuid.NewString(), RequestID: r.ask(kind, schema, table, params), Generation: 1}
			chunks := int64(0)
			if planned {
				must(t, plan(in))
				chunks = 1
			}
			at := time.Now().UTC().Truncate(time.Millisecond)
			must(t, r.f.FillIn(ctx, jobstep.EndInput{FinishInput: jobstep.FinishInput{JobID: in.JobID, RequestID: in.RequestID, Status: "failed", Class: "timeout", CreatedAt: at},
				JobType: kind, Schema: schema, Table: table, FinishedAt: at}))
			h, found, err := r.ledger.History(ctx, in.JobID)
			if err != nil || !found || h.JobType != kind || h.Table != table || h.Status != "failed" || h.ChunksDone != chunks || h.RowsFlushed != 0 {
				t.Errorf("%s: %+v, %v, %v", kind, h, found, err)
			}
		}
	}
	after, err := os.Stat(manifest)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("a manifest was published")
	}
}
