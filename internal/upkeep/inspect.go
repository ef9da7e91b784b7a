package upkeep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// lastTry is the attempt from which on an object that cannot be read counts as damaged, if its storage answers otherwise. Before,
// the storage may have been away for a moment.
const lastTry = 3

// inspect reads a segment's object whole and compares it with its row of the ledger. It returns what is wrong, or nil; an
// error means that it could not look. A segment that was restored or replaced meanwhile has nothing wrong with it.
func (k *Keeper) inspect(ctx context.Context, s ledger.Segment, try int, m *meter) (*ledger.Finding, error) {
	if !s.Live() {
		return nil, nil
	}
	kind, problem, size, err := k.examine(ctx, s, try, m)
	if err != nil || problem == "" {
		return nil, err
	}
	now, err := k.ledger.SegmentByID(ctx, s.ID) // it may have been restored while we looked
	if errors.Is(err, ledger.ErrNotFound) || err == nil && !now.Live() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &ledger.Finding{
		Location: s.Location, Schema: s.Schema, Table: s.Table, Storage: s.Storage, Kind: kind, Action: ledger.ActionReported,
		SegmentID: s.ID, AttemptID: s.AttemptID, Bytes: size, Problem: problem,
	}, nil
}

func (k *Keeper) examine(ctx context.Context, s ledger.Segment, try int, m *meter) (kind, problem string, size *int64, err error) {
	store, _, err := k.stores.Store(ctx, s.Storage)
	if err != nil {
		return "", "", nil, err
	}
	key, ok := objstore.KeyOf(store, s.Location)
	if !ok {
		return ledger.KindMissing, fmt.Sprintf("its address is not one of the storage %s at %s", s.Storage, store.URL("")), nil, nil
	}
	obj, err := store.Open(ctx, key)
	if errors.Is(err, objstore.ErrNotExist) {
		// Or the whole storage is away: then its marker is, too.
		if err := k.storageAnswers(ctx, store); err != nil {
			return "", "", nil, err
		}
		return ledger.KindMissing, "there is no such object", nil, nil
	}
	if err == nil {
		n := obj.Size()
		size = &n
		problem, err = k.compare(ctx, s, obj, m)
		obj.Close()
	}
	if err != nil && ctx.Err() == nil && try >= lastTry && isStorageError(err) && k.storageAnswers(ctx, store) == nil {
		problem, err = "it cannot be read: "+err.Error(), nil
	}
	return ledger.KindDamaged, problem, size, err
}

func isStorageError(err error) bool {
	name := jobstep.ClassOf(err).Name
	return name == jobstep.ClassStorage || name == jobstep.ClassStorageFull
}

// storageAnswers reports whether a storage can be read and is ours, by its marker.
func (k *Keeper) storageAnswers(ctx context.Context, store objstore.Store) error {
	ours, err := coldstore.OwnerOf(ctx, k.ledger)
	if err != nil {
		return err
	}
	return coldstore.RequireOwner(ctx, store, ours)
}

// compare reads an object whole, twice: for its checksum, and value by value.
func (k *Keeper) compare(ctx context.Context, s ledger.Segment, obj objstore.Object, m *meter) (problem string, err error) {
	if obj.Size() != s.Bytes {
		return fmt.Sprintf("it has %d bytes, %d were registered", obj.Size(), s.Bytes), nil
	}
	r := &watched{ctx: ctx, r: obj}
	sum := sha256.New()
	if _, err := io.Copy(sum, &metered{r: io.NewSectionReader(r, 0, obj.Size()), m: m}); err != nil {
		return "", readError(ctx, err)
	}
	var wrong []string
	if got := hex.EncodeToString(sum.Sum(nil)); got != s.SHA256 {
		wrong = append(wrong, fmt.Sprintf("its sha-256 is %s, %s was registered", got, s.SHA256))
	}
	footer, err := segment.Verify(r, obj.Size())
	if r.failed() != nil {
		return "", readError(ctx, r.failed())
	}
	if err != nil {
		return strings.Join(append(wrong, err.Error()), "; "), nil
	}
	more, err := k.compareFooter(ctx, s, footer)
	return strings.Join(append(wrong, more...), "; "), err
}

func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return jobstep.Classified(jobstep.ClassStorage, fmt.Errorf("read: %w", err))
}

// compareFooter says where what a segment tells of itself differs from the ledger.
func (k *Keeper) compareFooter(ctx context.Context, s ledger.Segment, ft segment.Footer) (wrong []string, err error) {
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"segment", ft.SegmentID, s.ID.String()}, {"job", ft.JobID, s.JobID}, {"chunk", ft.Chunk, s.Chunk},
		{"schema", ft.TableSchema, s.Schema}, {"table", ft.TableName, s.Table}, {"leaf", ft.Leaf, s.Leaf},
		{"schema version", ft.SchemaVersion, s.SchemaVersion}, {"number of rows", ft.Rows, s.Rows},
	} {
		if c.got != c.want {
			wrong = append(wrong, fmt.Sprintf("its footer has the %s %v, %v was registered", c.what, c.got, c.want))
		}
	}
	if ft.SchemaVersion != s.SchemaVersion {
		return wrong, nil
	}
	text, err := k.ledger.SchemaColumns(ctx, s.Schema, s.Table, s.SchemaVersion)
	if errors.Is(err, ledger.ErrNotFound) {
		return append(wrong, fmt.Sprintf("the ledger has no version %d of the table's columns", s.SchemaVersion)), nil
	}
	if err != nil {
		return nil, err
	}
	same, err := sameColumns(text, ft.Columns)
	if err == nil && !same {
		wrong = append(wrong, fmt.Sprintf("its columns are not those of schema version %d", s.SchemaVersion))
	}
	return wrong, err
}

// sameColumns compares columns in the one form in which equal ones are equal bytes.
func sameColumns(registered json.RawMessage, columns []segment.Column) (bool, error) {
	var want []segment.Column
	if err := json.Unmarshal(registered, &want); err != nil {
		return false, jobstep.Classified(jobstep.ClassInternal, fmt.Errorf("read columns: %w", err))
	}
	a, err := json.Marshal(want)
	if err != nil {
		return false, err
	}
	b, err := json.Marshal(columns)
	return bytes.Equal(a, b), err
}

// watched reads until a context ends, and remembers the first error of the storage: the Parquet library makes it look like a
// fault of the file.
type watched struct {
	ctx context.Context
	r   io.ReaderAt

	mu  sync.Mutex
	err error
}

func (w *watched) ReadAt(b []byte, at int64) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, w.note(err)
	}
	n, err := w.r.ReadAt(b, at)
	if err != nil && !errors.Is(err, io.EOF) {
		w.note(err)
	}
	return n, err
}

func (w *watched) note(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return err
}

func (w *watched) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// metered counts what is read.
type metered struct {
	r io.Reader
	m *meter
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.m.bytes.Add(int64(n))
	return n, err
}
