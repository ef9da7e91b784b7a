package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// writer writes the manifest of one storage, a line for each segment: a table of a hundred thousand of them takes no more memory
// than one of ten, where the store takes what comes piece by piece.
type writer struct {
	out         objstore.Writer
	line        []byte
	rows, bytes int64
	segments    int
}

// publishAt writes the manifests of a table from one snapshot of the ledger: in the storages that hold segments of it, and in those
// given.
func (p *Publisher) publishAt(ctx context.Context, schema, table, key string, storages []string) (err error) {
	head, err := p.manifestHead(ctx, schema, table)
	if err != nil {
		return err
	}
	open := map[string]*writer{} // by storage
	defer func() {
		for _, m := range open {
			err = errors.Join(err, m.out.Abort()) // after Commit it does nothing
		}
	}()
	// The list of segments holds a connection: whoever asked the ledger for a storage meanwhile would want a second one, and wait for
	// ever where all that there are do the same.
	holding, err := p.ledger.LiveStorages(ctx, schema, table)
	if err != nil {
		return err
	}
	for _, name := range append(holding, storages...) {
		if open[name] != nil {
			continue
		}
		if open[name], err = p.openManifest(ctx, name, key, head); err != nil {
			delete(open, name)
			return err
		}
	}
	for s, err := range p.ledger.LiveSegments(ctx, schema, table) {
		if err != nil {
			return err
		}
		m := open[s.Storage]
		if m == nil {
			return jobstep.Classified(jobstep.ClassLock, fmt.Errorf("the first segment came to storage %s while its manifest was written", s.Storage))
		}
		if err := m.add(s); err != nil {
			return err
		}
	}
	for _, m := range open {
		if err := m.commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) openManifest(ctx context.Context, storage, key string, head []byte) (*writer, error) {
	store, _, err := p.stores.Store(ctx, storage)
	if err != nil {
		return nil, err
	}
	m := &writer{out: &gathering{store: store, key: key}}
	if r, ok := store.(objstore.Replacer); ok {
		if m.out, err = r.CreateReplacing(ctx, key); err != nil {
			return nil, err
		}
	}
	if _, err := m.out.Write(head); err != nil {
		return nil, errors.Join(err, m.out.Abort())
	}
	return m, nil
}

func (m *writer) commit(ctx context.Context) error {
	if _, err := fmt.Fprintf(m.out, "\n  ],\n  \"rows\": %d,\n  \"bytes\": %d\n}\n", m.rows, m.bytes); err != nil {
		return err
	}
	return fault.Do(ctx, fault.Manifest, func() error { _, err := m.out.Commit(ctx); return err })
}

// gathering writes an object to a store that takes it only as a whole.
type gathering struct {
	bytes.Buffer
	store objstore.Store
	key   string
}

func (g *gathering) Commit(ctx context.Context) (objstore.Info, error) {
	return objstore.Info{Key: g.key, Size: int64(g.Len())}, g.store.Replace(ctx, g.key, g.Bytes())
}

func (g *gathering) Abort() error { return nil }

// manifestHead is everything before the first segment.
func (p *Publisher) manifestHead(ctx context.Context, schema, table string) ([]byte, error) {
	inst, err := p.ledger.Installation(ctx, "")
	if err != nil {
		return nil, err
	}
	versions, err := p.manifestSchemas(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	b := []byte("{")
	for i, field := range []struct {
		name  string
		value any
	}{
		{"format_version", version}, {"namespace", schema}, {"table", table}, {"installation_id", inst.ID.String()},
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

func (p *Publisher) manifestSchemas(ctx context.Context, schema, table string) ([]Schema, error) {
	versions, err := p.ledger.SchemaVersions(ctx, schema, table)
	if err != nil {
		return nil, err
	}
	out := make([]Schema, len(versions))
	for i, v := range versions {
		var columns []segment.Column
		if err := json.Unmarshal(v.Columns, &columns); err != nil {
			return nil, fmt.Errorf("read schema version %d: %w", v.Version, err)
		}
		ids := segment.FieldIDs(columns)
		out[i] = Schema{Version: v.Version, Columns: make([]Column, len(columns))}
		for k, c := range columns {
			out[i].Columns[k] = Column{FieldID: ids[k], Name: c.Name, Type: c.Declared}
		}
	}
	return out, nil
}

func (m *writer) add(s ledger.Segment) error {
	text, err := json.Marshal(Segment{
		SegmentID: s.ID.String(), Location: s.Location, JobID: s.JobID, Chunk: s.Chunk, Leaf: s.Leaf, PartitionValues: s.PartitionValues, Rows: s.Rows,
		Bytes: s.Bytes, SHA256: s.SHA256, Codec: s.Codec, SchemaVersion: s.SchemaVersion, CreatedAt: s.CreatedAt.UTC(),
	})
	if err != nil {
		return err
	}
	m.line = m.line[:0]
	if m.segments > 0 {
		m.line = append(m.line, ',')
	}
	m.line = append(append(m.line, "\n    "...), text...)
	m.segments++
	m.rows += s.Rows
	m.bytes += s.Bytes
	_, err = m.out.Write(m.line)
	return err
}
