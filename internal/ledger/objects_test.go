package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

func objects(from, to int) []ledger.Object {
	var out []ledger.Object
	for i := from; i < to; i++ {
		out = append(out, ledger.Object{
			Key: fmt.Sprintf("app/t/%d/x.parquet", i), Location: fmt.Sprintf("file:///d/app/t/%d/x.parquet", i), SegmentID: uuid.New(), Rows: int64(i + 1), Bytes: 10,
			SHA256: "ab", PartitionValues: json.RawMessage(`{"ü": null}`), ColumnStats: json.RawMessage(`[]`),
		})
	}
	return out
}

// TestStagedObjects: what an attempt has recorded is found by whoever condemns it, and is registered by the transaction that
// commits it.
func TestStagedObjects(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	conn := exec(t, db)
	id := uuid.New()
	_, err := l.ClaimTable(t.Context(), "app", "t", job)
	must(t, err)
	must(t, l.OpenAttempt(t.Context(), conn, ledger.Attempt{ID: id, JobID: job, Chunk: 3, Storage: "default", ObjectPrefix: "app/t/nothing"}))
	begin := func() {
		_, err := conn.Exec(t.Context(), "BEGIN")
		must(t, err)
		ours, err := l.TakeAttempt(t.Context(), conn, id)
		if err != nil || !ours {
			t.Fatal(ours, err)
		}
	}
	begin()
	must(t, l.InsertChunk(t.Context(), conn, job, 3, id, 1))
	must(t, l.StageObjects(t.Context(), id, 0, []ledger.Object{{Key: "app/t/2/x.parquet"}})) // about to be written
	must(t, l.StageObjects(t.Context(), id, 1, objects(0, 3)))
	keys, err := l.StagedKeys(t.Context(), id)
	if want := []string{"app/t/0/x.parquet", "app/t/1/x.parquet", "app/t/2/x.parquet"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("keys %v, %v", keys, err)
	}
	common := ledger.Segment{JobID: job, Chunk: 3, AttemptID: id, Schema: "app", Table: "t", Leaf: "app.t", Storage: "default", SchemaVersion: 2,
		PGTypes: json.RawMessage(`{"id": "bigint"}`), Codec: "snappy"}
	n, rows, err := l.RegisterStaged(t.Context(), conn, common)
	if err != nil || n != 3 || rows != 6 {
		t.Errorf("registered %d segments of %d rows, %v", n, rows, err)
	}
	_, err = conn.Exec(t.Context(), "ROLLBACK")
	must(t, err)
	if keys, err := l.StagedKeys(t.Context(), id); err != nil || len(keys) != 3 {
		t.Errorf("after a rollback: keys %v, %v", keys, err)
	}

	begin()
	must(t, l.InsertChunk(t.Context(), conn, job, 3, id, 1))
	if n, rows, err = l.RegisterStaged(t.Context(), conn, common); err != nil || n != 3 || rows != 6 {
		t.Errorf("registered %d segments of %d rows, %v", n, rows, err)
	}
	more := objects(3, 5)
	must(t, l.RegisterObjects(t.Context(), conn, common, more))
	must(t, l.UpdateChunk(t.Context(), conn, job, 3, 15, 50, 0, 5))
	_, err = conn.Exec(t.Context(), "COMMIT")
	must(t, err)
	if left := pgtest.Value[int](t, db, "SELECT count(*) FROM spillway.attempt_objects"); left != 0 {
		t.Errorf("%d records are left", left)
	}
	var last ledger.Segment
	count := 0
	for s, err := range l.LiveSegments(t.Context(), "app", "t") {
		must(t, err)
		if s.Location == more[1].Location {
			last = s
		}
		count++
	}
	if count != 5 || last.ID != more[1].SegmentID || last.Rows != 5 || last.Codec != "snappy" || last.SchemaVersion != 2 || last.AttemptID != id || last.Leaf != "app.t" ||
		string(last.PartitionValues) != `{"ü": null}` || string(last.PGTypes) != `{"id": "bigint"}` {
		t.Errorf("%d segments, one is %+v", count, last)
	}
}

// TestCondemnedAttemptRecordsNothing: a process that woke up late is told so before it writes.
func TestCondemnedAttemptRecordsNothing(t *testing.T) {
	t.Parallel()
	l, db, p := migrated(t)
	id := uuid.New()
	must(t, l.OpenAttempt(t.Context(), p, ledger.Attempt{ID: id, JobID: job, Chunk: 0, Storage: "default", ObjectPrefix: "x"}))
	must(t, l.StageObjects(t.Context(), id, 0, objects(0, 1)))
	if v, err := l.Condemn(t.Context(), id); err != nil || v != ledger.VerdictCondemned {
		t.Fatal(v, err)
	}
	if err := l.StageObjects(t.Context(), id, 1, objects(1, 2)); !errors.Is(err, ledger.ErrAttemptGone) {
		t.Errorf("a condemned attempt records: %v", err)
	}
	if keys, err := l.StagedKeys(t.Context(), id); err != nil || len(keys) != 1 {
		t.Errorf("keys %v, %v", keys, err)
	}
	must(t, l.DropAttempt(t.Context(), id))
	if left := pgtest.Value[int](t, db, "SELECT count(*) FROM spillway.attempt_objects"); left != 0 {
		t.Errorf("%d records are left", left)
	}
}
