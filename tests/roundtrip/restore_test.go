package roundtrip

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/tests/audit"
)

// restoreStep: all rows come back as they were. First some of them, so that what stays cold is written once more, then the rest.
func restoreStep(t *testing.T, r *rig, m *moved) {
	back := r.restore(t, m.name, map[string]string{"where": "((n % 2) = 0)"})
	audit.Check(t, r.db.SuperURL, "app", m.name, m.before)
	back += r.restore(t, m.name, nil)
	audit.Check(t, r.db.SuperURL, "app", m.name, m.before)
	if back != int64(len(m.want)) {
		t.Errorf("%d rows came back, want %d", back, len(m.want))
	}
	m.compare(t, "the restored table", r.print(t, m.name))
}

// restore brings rows of a table back with the steps that every job takes, and returns how many.
func (r *rig) restore(t *testing.T, table string, params map[string]string) (rows int64) {
	t.Helper()
	ctx := context.Background()
	request := uuid.New()
	job := jobmanager.JobID{Type: "restore", Table: jobmanager.Table{Namespace: pgtest.Schema, Name: table}, UUID: uuid.New()}.String()
	must(t, r.ledger.PutRequest(ctx, ledger.Request{ID: request, JobType: "restore", Schema: pgtest.Schema, Table: table, Params: params, Trigger: "command"}))
	plan, err := r.flusher.PlanRestore(ctx, jobstep.PlanInput{JobID: job, RequestID: request.String(), Generation: 1})
	must(t, err)
	for n := range plan.Chunks {
		res, err := r.flusher.RestoreSegment(ctx, jobstep.ChunkInput{JobID: job, Chunk: plan.FirstChunk + n, Attempt: 1}, nil)
		must(t, err)
		rows += res.Rows
	}
	must(t, r.flusher.Publish(ctx, job))
	_, err = r.flusher.Finish(ctx, jobstep.FinishInput{JobID: job, RequestID: request.String(), Status: "completed"})
	must(t, err)
	return rows
}
