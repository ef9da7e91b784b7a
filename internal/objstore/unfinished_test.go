package objstore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

// replacing begins an object in place of "d/manifest.json", as a process that may be killed does.
func replacing(t *testing.T, s objstore.Store, content string) objstore.Writer {
	t.Helper()
	w, err := s.(objstore.Replacer).CreateReplacing(t.Context(), "d/manifest.json")
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func wantUnfinished(t *testing.T, s objstore.Store, key string, want int) {
	t.Helper()
	if n, err := s.(objstore.Rivals).Unfinished(t.Context(), key); err != nil || n != want {
		t.Errorf("%d unfinished writes of %s, want %d, %v", n, key, want, err)
	}
}

// A56: what a killed process left of a manifest goes with the next one, and a process that was frozen meanwhile cannot put its older one
// in the place of that.
func TestRivals(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	s, err := objstore.OpenLocal(ctx, dir, objstore.OS{})
	if err != nil {
		t.Fatal(err)
	}
	wantUnfinished(t, s, "d/manifest.json", 0)
	replacing(t, s, "killed")
	frozen := replacing(t, s, "frozen")
	other, err := s.Create(ctx, "d/manifest.json-2")
	if err != nil {
		t.Fatal(err)
	}
	wantUnfinished(t, s, "d/manifest.json", 2)
	newer := replacing(t, s, "newer")
	later := replacing(t, s, "later")
	if _, err := newer.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	wantUnfinished(t, s, "d/manifest.json", 1) // the later one
	wantUnfinished(t, s, "d/manifest.json-2", 1)
	if _, err := frozen.Commit(ctx); !errors.Is(err, objstore.ErrNotExist) {
		t.Errorf("a writer that was overtaken: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "d/manifest.json")); err != nil || string(got) != "newer" {
		t.Errorf("content %q, %v", got, err)
	}
	for _, w := range []objstore.Writer{later, other} {
		if _, err := w.Commit(ctx); err != nil {
			t.Error(err)
		}
	}
	wantUnfinished(t, s, "d/manifest.json", 0)
}
