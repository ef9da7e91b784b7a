package flush

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
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
	key := objectKey(a.prefix)
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
		Storage: a.storeName, SchemaVersion: a.plan.part.SchemaVersion, PGTypes: types, Codec: a.plan.arrangement.codec(),
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

// segmentColumn hands what the catalog says of a column to the encoder.
func segmentColumn(c hot.Column, key, asText bool) segment.Column {
	return segment.Column{
		Name: c.Name, TypeOID: c.TypeOID, BaseOID: c.BaseOID, TypMod: c.TypMod, TypeName: c.TypeName, TypeSchema: c.TypeSchema,
		TypeKind: c.TypeKind, Declared: c.Declared, Domain: c.Domain, Collation: c.Collation, NotNull: c.NotNull, HasElem: c.HasElem, Key: key, AttNum: c.Number,
		Extension: c.Extension, Elem: segmentElem(c.Elem), Attributes: segmentAttributes(c.Attributes), AsText: asText,
	}
}

func segmentType(t *hot.Type) segment.Type {
	return segment.Type{
		TypeOID: t.TypeOID, BaseOID: t.BaseOID, TypMod: t.TypMod, TypeName: t.TypeName, TypeSchema: t.TypeSchema, TypeKind: t.TypeKind,
		Declared: t.Declared, Domain: t.Domain, Collation: t.Collation, Extension: t.Extension,
		Elem: segmentElem(t.Elem), Attributes: segmentAttributes(t.Attributes),
	}
}

func segmentElem(t *hot.Type) *segment.Type {
	if t == nil {
		return nil
	}
	elem := segmentType(t)
	return &elem
}

func segmentAttributes(list []hot.Attribute) []segment.Attribute {
	var out []segment.Attribute
	for i := range list {
		out = append(out, segment.Attribute{Name: list[i].Name, AttNum: list[i].Number, Type: segmentType(&list[i].Type)})
	}
	return out
}
