package flush

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spillwaydb/spillway/internal/ledger"
)

// ManifestName is the file beside a table's segments that lists them for readers without PostgreSQL.
const ManifestName = "manifest.json"

// manifestVersion is the version of the format that docs/format.md describes.
const manifestVersion = 1

// Manifest is a copy of the ledger's list of a table's cold segments in one storage.
type Manifest struct {
	FormatVersion  int               `json:"format_version"`
	Namespace      string            `json:"namespace"`
	Table          string            `json:"table"`
	InstallationID string            `json:"installation_id"`
	GeneratedAt    time.Time         `json:"generated_at"`
	Rows           int64             `json:"rows"`
	Bytes          int64             `json:"bytes"`
	Segments       []ManifestSegment `json:"segments"`
}

// ManifestSegment is one segment in a manifest.
type ManifestSegment struct {
	SegmentID     string    `json:"segment_id"`
	Location      string    `json:"location"`
	JobID         string    `json:"job_id"`
	Chunk         int       `json:"chunk"`
	Leaf          string    `json:"leaf"`
	Rows          int64     `json:"rows"`
	Bytes         int64     `json:"bytes"`
	SHA256        string    `json:"sha256"`
	SchemaVersion int       `json:"schema_version"`
	CreatedAt     time.Time `json:"created_at"`
}

// Publish rewrites the manifest of a job's table from the ledger.
func (f *Flusher) Publish(ctx context.Context, jobID string) error {
	err := f.publishJob(ctx, jobID)
	if err != nil {
		f.recordFailure(ctx, jobID, nil, 1, err)
	}
	return err
}

func (f *Flusher) publishJob(ctx context.Context, jobID string) error {
	last, err := f.ledger.LastPlan(ctx, jobID)
	if err != nil {
		return err
	}
	doc, err := readPlan(last)
	if err != nil {
		return err
	}
	if doc.Restore != nil {
		return f.PublishTable(ctx, doc.Schema, doc.Name, doc.Restore.Storages...)
	}
	return f.PublishTable(ctx, doc.Schema, doc.Name)
}

// PublishTable rewrites the manifests of a table from the ledger, one in each storage that holds segments of it, and in those
// named, which may hold none any more. The ledger is the truth: whatever the file said before is replaced as a whole.
func (f *Flusher) PublishTable(ctx context.Context, schema, table string, storages ...string) error {
	byStorage := map[string][]ledger.Segment{}
	for _, name := range storages {
		byStorage[name] = nil
	}
	for s, err := range f.ledger.LiveSegments(ctx, schema, table) {
		if err != nil {
			return err
		}
		byStorage[s.Storage] = append(byStorage[s.Storage], s)
	}
	key, err := ManifestKey(schema, table)
	if err != nil {
		return classified(ClassInvalid, err)
	}
	for storage, list := range byStorage {
		if err := f.publishTo(ctx, storage, key, manifestOf(schema, table, list)); err != nil {
			return fmt.Errorf("publish manifest of %s.%s: %w", schema, table, err)
		}
	}
	return nil
}

// ManifestKey is where a storage holds the manifest of a table.
func ManifestKey(schema, table string) (string, error) {
	dir, err := ExpandPath("{namespace}/{table}", map[string]string{"namespace": schema, "table": table})
	return dir + "/" + ManifestName, err
}

func manifestOf(schema, table string, list []ledger.Segment) *Manifest {
	m := &Manifest{FormatVersion: manifestVersion, Namespace: schema, Table: table, GeneratedAt: time.Now().UTC(), Segments: []ManifestSegment{}}
	for _, s := range list {
		m.Rows += s.Rows
		m.Bytes += s.Bytes
		m.Segments = append(m.Segments, ManifestSegment{
			SegmentID: s.ID.String(), Location: s.Location, JobID: s.JobID, Chunk: s.Chunk, Leaf: s.Leaf, Rows: s.Rows, Bytes: s.Bytes,
			SHA256: s.SHA256, SchemaVersion: s.SchemaVersion, CreatedAt: s.CreatedAt.UTC(),
		})
	}
	return m
}

func (f *Flusher) publishTo(ctx context.Context, storage, key string, m *Manifest) error {
	store, _, err := f.stores.Store(ctx, storage)
	if err != nil {
		return err
	}
	inst, err := f.ledger.Installation(ctx, "")
	if err != nil {
		return err
	}
	m.InstallationID = inst.ID.String()
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return store.Replace(ctx, key, append(text, '\n'))
}
