package flush_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// heldStore gives no answer to its first upload, and stores it only when arrive is called, as a network does that holds a request back.
type heldStore struct {
	objstore.Store
	o *heldOpen
}

type heldOpen struct {
	mu    sync.Mutex // small files are put several at once
	held  bool
	key   string
	bytes []byte
	store objstore.Store
}

func (o *heldOpen) open(ctx context.Context, location string) (objstore.Store, error) {
	s, err := objstore.Open(ctx, location)
	o.store = s
	return &heldStore{s, o}, err
}

func (o *heldOpen) arrive(t *testing.T) {
	t.Helper()
	if !o.held {
		t.Fatal("no upload was held back")
	}
	must(t, o.store.PutIfAbsent(t.Context(), o.key, o.bytes))
}

func (s *heldStore) Create(ctx context.Context, key string) (objstore.Writer, error) {
	w, err := s.Store.Create(ctx, key)
	return &heldWriter{Writer: w, o: s.o, key: key}, err
}

func (s *heldStore) PutIfAbsent(ctx context.Context, key string, data []byte) error {
	if s.o.hold(key, data) {
		return s.o.unanswered(key)
	}
	return s.Store.PutIfAbsent(ctx, key, data)
}

// hold keeps the first upload of a segment.
func (o *heldOpen) hold(key string, data []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held || !strings.HasSuffix(key, ".parquet") {
		return false
	}
	o.held, o.key, o.bytes = true, key, bytes.Clone(data)
	return true
}

func (o *heldOpen) unanswered(key string) error {
	return &objstore.Error{Op: "commit", URL: o.store.URL(key), Kind: objstore.ErrUnanswered, Err: context.DeadlineExceeded}
}

type heldWriter struct {
	objstore.Writer
	o    *heldOpen
	key  string
	text bytes.Buffer
}

func (w *heldWriter) Write(p []byte) (int, error) {
	w.text.Write(p)
	return w.Writer.Write(p)
}

func (w *heldWriter) Commit(ctx context.Context) (objstore.Info, error) {
	if w.o.hold(w.key, w.text.Bytes()) {
		if err := w.Abort(); err != nil {
			return objstore.Info{}, err
		}
		return objstore.Info{}, w.o.unanswered(w.key)
	}
	return w.Writer.Commit(ctx)
}

// A31 A35: an upload that was given up arrives after its attempt was cleaned up. The attempt is still known, so the next sweep removes
// the object.
func TestLateUpload(t *testing.T) {
	t.Parallel()
	for name, params := range map[string]map[string]string{
		"one file":        {},
		"small files":     {"partition_by": "tenant"},
		"many large ones": {"file_bytes": "64kB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, events, fill(1000))
			r.params = params
			late := &heldOpen{}
			r.f = r.flusher(late.open)
			j := r.newJob()
			_, err := j.chunk(0)
			if class := jobstep.ClassOf(err); class.Name != jobstep.ClassStorage || !class.Retryable {
				t.Fatalf("error %v of class %+v, want storage", err, class)
			}
			j.run()
			late.arrive(t)
			if res, err := r.f.Sweep(t.Context(), j.id); err != nil || res.Deleted != 1 { // as the job's end does, and CLEANUP
				t.Errorf("the sweep deleted %d objects, want 1: %v", res.Deleted, err)
			}
			// The audit that ends the test wants no stray object.
		})
	}
}
