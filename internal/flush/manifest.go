package flush

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/segment"
)

// manifestText is a manifest as it is being written: a line for each segment, so that a table of a hundred thousand takes no
// more memory than its text.
type manifestText struct {
	text        []byte
	rows, bytes int64
	segments    int
}

// manifests writes the manifests of a table, by the names of the storages that hold segments of it, and of those given.
func (f *Flusher) manifests(ctx context.Context, schema, table string, storages []string) (map[string]*manifestText, error) {
	head, err := f.manifestHead(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	all := map[string]*manifestText{}
	for _, name := range storages {
		all[name] = &manifestText{text: bytes.Clone(head)}
	}
	for s, err := range f.ledger.LiveSegments(ctx, schema, table) {
		if err != nil {
			return nil, err
		}
		m := all[s.Storage]
		if m == nil {
			m = &manifestText{text: bytes.Clone(head)}
			all[s.Storage] = m
		}
		if err := m.add(s); err != nil {
			return nil, err
		}
	}
	for _, m := range all {
		m.text = fmt.Appendf(m.text, "\n  ],\n  \"rows\": %d,\n  \"bytes\": %d\n}\n", m.rows, m.bytes)
	}
	return all, nil
}

// manifestHead is everything before the first segment.
func (f *Flusher) manifestHead(ctx context.Context, schema, table string) ([]byte, error) {
	inst, err := f.ledger.Installation(ctx, "")
	if err != nil {
		return nil, err
	}
	versions, err := f.manifestSchemas(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	b := []byte("{")
	for i, field := range []struct {
		name  string
		value any
	}{
		{"format_version", manifestVersion}, {"namespace", schema}, {"table", table}, {"installation_id", inst.ID.String()},
		{"generated_at", time.Now().UTC()}, {"schema_versions", versions},
	} {
		text, err := json.Marshal(field.value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "\n  %q: %s", field.name, text)
	}
	return append(b, ",\n  \"segments\": ["...), nil
}

func (f *Flusher) manifestSchemas(ctx context.Context, schema, table string) ([]ManifestSchema, error) {
	versions, err := f.ledger.SchemaVersions(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	out := make([]ManifestSchema, len(versions))
	for i, v := range versions {
		var columns []segment.Column
		if err := json.Unmarshal(v.Columns, &columns); err != nil {
			return nil, fmt.Errorf("read schema version %d: %w", v.Version, err)
		}
		ids := segment.FieldIDs(columns)
		out[i] = ManifestSchema{Version: v.Version, Columns: make([]ManifestColumn, len(columns))}
		for k, c := range columns {
			out[i].Columns[k] = ManifestColumn{FieldID: ids[k], Name: c.Name, Type: c.Declared}
		}
	}
	return out, nil
}

func (m *manifestText) add(s ledger.Segment) error {
	line, err := json.Marshal(ManifestSegment{
		SegmentID: s.ID.String(), Location: s.Location, JobID: s.JobID, Chunk: s.Chunk, Leaf: s.Leaf, PartitionValues: s.PartitionValues, Rows: s.Rows,
		Bytes: s.Bytes, SHA256: s.SHA256, Codec: s.Codec, SchemaVersion: s.SchemaVersion, CreatedAt: s.CreatedAt.UTC(),
	})
	if err != nil {
		return err
	}
	if m.segments > 0 {
		m.text = append(m.text, ',')
	}
	m.text = append(append(m.text, "\n    "...), line...)
	m.segments++
	m.rows += s.Rows
	m.bytes += s.Bytes
	return nil
}
