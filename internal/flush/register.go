package flush

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/segment"
)

// meta is what the footer says about where the rows come from. A segment has the id of the attempt that wrote it: one
// attempt writes one object.
func (a *attempt) meta() segment.Meta {
	return segment.Meta{
		SegmentID: a.id.String(), JobID: a.in.JobID, Chunk: a.in.Chunk,
		TableSchema: a.plan.doc.Schema, TableName: a.plan.doc.Name, Leaf: a.plan.part.leafName(),
		SchemaVersion: a.plan.part.SchemaVersion, PGVersion: a.f.hot.ServerVersion(),
	}
}

func (p *planPart) leafName() string { return p.Table.Schema + "." + p.Table.Name }

// register enters the segment in the ledger, in the transaction that deletes its rows.
func (a *attempt) register(ctx context.Context, sum segment.Summary) error {
	stats, err := json.Marshal(sum.Stats)
	if err != nil {
		return fmt.Errorf("write column statistics: %w", err)
	}
	types, err := json.Marshal(a.plan.schema.PGTypes())
	if err != nil {
		return fmt.Errorf("write column types: %w", err)
	}
	return a.f.ledger.RegisterSegment(ctx, a.session, ledger.Segment{
		ID: a.id, JobID: a.in.JobID, Chunk: a.in.Chunk, AttemptID: a.id,
		Schema: a.plan.doc.Schema, Table: a.plan.doc.Name, Leaf: a.plan.part.leafName(),
		Storage: a.storeName, Location: a.store.URL(objectKey(a.prefix)),
		Rows: sum.Rows, Bytes: sum.Bytes, SHA256: sum.SHA256, SchemaVersion: a.plan.part.SchemaVersion,
		ColumnStats: stats, PGTypes: types,
	})
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
