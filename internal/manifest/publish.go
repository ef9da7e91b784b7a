package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"time"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/layout"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/obs"
)

// version is the version of the format that docs/format.md describes.
const version = 1

// Manifest is a copy of the ledger's list of a table's cold segments in one storage. Rows and bytes stand behind the segments,
// for they are known when these have been written.
type Manifest struct {
	FormatVersion  int       `json:"format_version"`
	Namespace      string    `json:"namespace"`
	Table          string    `json:"table"`
	InstallationID string    `json:"installation_id"`
	GeneratedAt    time.Time `json:"generated_at"`
	SchemaVersions []Schema  `json:"schema_versions"`
	Segments       []Segment `json:"segments"`
	Rows           int64     `json:"rows"`
	Bytes          int64     `json:"bytes"`
}

// Schema is one list of columns under which rows of the table went cold.
type Schema struct {
	Version int      `json:"version"`
	Columns []Column `json:"columns"`
}

// Column is a column as readers need to know it. A column keeps its field id when it is renamed.
type Column struct {
	FieldID int    `json:"field_id"`
	Name    string `json:"name"`
	Type    string `json:"type"`
}

// Segment is one segment in a manifest.
type Segment struct {
	SegmentID       string          `json:"segment_id"`
	Location        string          `json:"location"`
	JobID           string          `json:"job_id"`
	Chunk           int             `json:"chunk"`
	Leaf            string          `json:"leaf"`
	PartitionValues json.RawMessage `json:"partition_values"`
	Rows            int64           `json:"rows"`
	Bytes           int64           `json:"bytes"`
	SHA256          string          `json:"sha256"`
	Codec           string          `json:"codec"`
	SchemaVersion   int             `json:"schema_version"`
	CreatedAt       time.Time       `json:"created_at"`
}

// Publisher writes manifests from the ledger.
type Publisher struct {
	ledger *ledger.Ledger
	stores coldstore.Stores
	log    *slog.Logger
}

// New makes a Publisher.
func New(l *ledger.Ledger, stores coldstore.Stores, log *slog.Logger) *Publisher {
	return &Publisher{ledger: l, stores: stores, log: log}
}

// Publish rewrites the manifests of a table from the ledger, one in each storage that holds segments of it, and in those
// named, which may hold none any more. The ledger is the truth: whatever the file said before is replaced as a whole.
func (p *Publisher) Publish(ctx context.Context, schema, table string, storages ...string) error {
	key, err := layout.ManifestKey(schema, table)
	if err != nil {
		return jobstep.Classified(jobstep.ClassInvalid, err)
	}
	if err := p.publishCurrent(ctx, schema, table, key, storages); err != nil {
		return fmt.Errorf("publish manifest of %s.%s: %w", schema, table, err)
	}
	return nil
}

// maxPublishes bounds how often a manifest is written because the ledger went on meanwhile. Who changed it publishes, too.
const maxPublishes = 5

// publishCurrent writes the manifests, and again if the ledger went on meanwhile: a process that was frozen before its manifest took
// its name would leave an old list in place of a newer one.
func (p *Publisher) publishCurrent(ctx context.Context, schema, table, key string, storages []string) error {
	before, err := p.ledger.SegmentsState(ctx, schema, table)
	if err != nil {
		return err
	}
	var lost error
	for range maxPublishes {
		holding, err := p.ledger.LiveStorages(ctx, schema, table)
		if err != nil {
			return err
		}
		storages = append(storages, holding...) // next time, one of them may hold nothing any more, and list what it held
		lost = p.publishAt(ctx, schema, table, key, storages)
		if lost != nil && !errors.Is(lost, objstore.ErrNotExist) { // somebody who began later was faster: objstore.Rivals
			return lost
		}
		written := before
		if before, err = p.ledger.SegmentsState(ctx, schema, table); err != nil || lost == nil && before == written {
			return err
		}
	}
	return lost
}

// Refresh writes those manifests again whose writers left unfinished files behind, killed ones for good and live ones for now, and those
// that are not what the ledger says: the last try of a job may have met a full disk. What cannot be done with one does not keep the
// others, and the next one may do it.
func (p *Publisher) Refresh(ctx context.Context) error {
	ours, err := coldstore.OwnerOf(ctx, p.ledger)
	if err != nil {
		return err
	}
	places, err := p.ledger.ColdPlaces(ctx)
	if err != nil {
		return err
	}
	stores := map[string]objstore.Store{} // by name; nil: it cannot be used now
	for _, at := range places {
		store, looked := stores[at.Storage]
		if !looked {
			store = p.owned(ctx, at.Storage, ours)
			stores[at.Storage] = store
		}
		if store == nil {
			continue
		}
		if err := p.refresh(ctx, store, at); err != nil {
			p.log.Warn("could not write a manifest again", obs.KeyStorage, at.Storage, obs.KeyClass, jobstep.ClassOf(err).Name)
		}
	}
	return ctx.Err()
}

// owned opens a storage that is marked as ours; nil, and a word in the log, if that cannot be.
func (p *Publisher) owned(ctx context.Context, name string, ours objstore.Owner) objstore.Store {
	store, _, err := p.stores.Store(ctx, name)
	if err == nil {
		err = coldstore.RequireOwner(ctx, store, ours)
	}
	if err != nil {
		p.log.Warn("could not look at manifests", obs.KeyStorage, name, obs.KeyClass, jobstep.ClassOf(err).Name)
		return nil
	}
	return store
}

func (p *Publisher) refresh(ctx context.Context, store objstore.Store, at ledger.ColdPlace) error {
	key, err := layout.ManifestKey(at.Schema, at.Table)
	if err != nil {
		return err
	}
	unfinished := 0
	if rivals, ok := store.(objstore.Rivals); ok {
		if unfinished, err = rivals.Unfinished(ctx, key); err != nil {
			return err
		}
	}
	if unfinished == 0 {
		if stale, err := isStale(ctx, store, key, at.ColdTotals); err != nil || !stale {
			return err
		}
	}
	return p.Publish(ctx, at.Schema, at.Table, at.Storage)
}

// ending is how a manifest ends: its totals.
var ending = regexp.MustCompile(`"rows": (\d+),\s*"bytes": (\d+)\s*}\s*$`)

// endingBytes hold the ending of every manifest: two numbers of 20 digits at most, and what stands around them.
const endingBytes = 256

// isStale reports whether the totals at the end of a manifest are not those of the ledger. To compare all of it would be to read a list
// of all segments.
func isStale(ctx context.Context, store objstore.Store, key string, want ledger.ColdTotals) (bool, error) {
	object, err := store.Open(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		return want.Segments > 0, nil
	}
	if err != nil {
		return false, err
	}
	defer object.Close()
	text := make([]byte, min(object.Size(), endingBytes))
	if _, err := object.ReadAt(text, object.Size()-int64(len(text))); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	m := ending.FindSubmatch(text)
	return m == nil || string(m[1]) != strconv.FormatInt(want.Rows, 10) || string(m[2]) != strconv.FormatInt(want.Bytes, 10), nil
}
