package flush

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/segment"
)

// meta is what the footer says about where the rows come from.
func (a *attempt) meta(segmentID uuid.UUID) segment.Meta {
	return segment.Meta{
		SegmentID: segmentID.String(), JobID: a.in.JobID, Chunk: a.in.Chunk,
		TableSchema: a.plan.doc.Schema, TableName: a.plan.doc.Name, Leaf: a.plan.part.leafName(),
		SchemaVersion: a.plan.part.SchemaVersion, PGVersion: a.f.hot.ServerVersion(),
	}
}

// objectOf describes the only object of an attempt. Its segment has the id of the attempt.
func (a *attempt) objectOf(sum segment.Summary) (ledger.Object, error) {
	stats, err := json.Marshal(sum.Stats)
	if err != nil {
		return ledger.Object{}, fmt.Errorf("write column statistics: %w", err)
	}
	key := layout.ObjectKey(a.prefix)
	return ledger.Object{Key: key, SegmentID: a.id, Location: a.store.URL(key), Rows: sum.Rows, Bytes: sum.Bytes, SHA256: sum.SHA256, ColumnStats: stats}, nil
}

func (p *planPart) leafName() string { return p.Table.Schema + "." + p.Table.Name }

// register enters the chunk's segments in the ledger, in the transaction that deletes their rows.
func (a *attempt) register(ctx context.Context, w written) error {
	types, err := json.Marshal(a.plan.schema.PGTypes())
	if err != nil {
		return fmt.Errorf("write column types: %w", err)
	}
	common := ledger.Segment{
		JobID: a.in.JobID, Chunk: a.in.Chunk, AttemptID: a.id, Schema: a.plan.doc.Schema, Table: a.plan.doc.Name, Leaf: a.plan.part.leafName(),
		Storage: a.storeName, SchemaVersion: a.plan.part.SchemaVersion, PGTypes: types, Codec: a.plan.arrangement.Codec(),
	}
	if len(w.objects) > 0 {
		if err := a.f.ledger.RegisterObjects(ctx, a.session, common, w.objects); err != nil {
			return err
		}
	}
	if w.staged == 0 {
		return nil
	}
	segments, rows, err := a.f.ledger.RegisterStaged(ctx, a.session, common)
	if err == nil && (segments != w.staged || rows != w.stagedRows) {
		err = jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("register segments: %d of %d rows were recorded, expected %d of %d", segments, rows, w.staged, w.stagedRows))
	}
	return err
}
