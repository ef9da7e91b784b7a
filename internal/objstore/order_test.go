package objstore

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// observed is a store that writes down its steps; names of unfinished writes become "temp".
func observed(t *testing.T) (*local, func() []string) {
	t.Helper()
	l, err := openLocal(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	l.observe = func(step, name string) {
		if strings.Contains(name, tempPrefix) {
			name = "temp"
		}
		steps = append(steps, step+" "+name)
	}
	return l, func() []string {
		s := steps
		steps = nil
		return s
	}
}

// The content is on disk before the name, the name and its folders before Commit returns.
func TestOrderOfSteps(t *testing.T) {
	t.Parallel()
	l, steps := observed(t)
	put := func(key string) func(context.Context) error {
		return func(ctx context.Context) error { return l.PutIfAbsent(ctx, key, []byte("x")) }
	}
	for _, test := range []struct {
		name string
		do   func(context.Context) error
		want []string
	}{
		{"new folders", put("a/b/k"), []string{"sync temp", "link a/b/k", "remove temp", "sync a/b", "sync .", "sync a"}},
		{"known folders", put("a/b/k2"), []string{"sync temp", "link a/b/k2", "remove temp", "sync a/b"}},
		{"no folder", put("k"), []string{"sync temp", "link k", "remove temp", "sync ."}},
		{"replace", func(ctx context.Context) error { return l.Replace(ctx, "a/b/k", nil) },
			[]string{"sync temp", "rename a/b/k", "sync a/b"}},
		{"delete", func(ctx context.Context) error { return l.Delete(ctx, "a/b/k") }, []string{"remove a/b/k", "sync a/b"}},
		{"delete again", func(ctx context.Context) error { return l.Delete(ctx, "a/b/k") }, nil},
		{"delete prefix", func(ctx context.Context) error { _, err := l.DeletePrefix(ctx, "a/b/k2"); return err },
			[]string{"remove a/b/k2", "sync a/b"}},
	} {
		if err := test.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := steps(); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

// A folder that another writer made, but has not yet synced, is synced by us.
func TestForeignFolderIsSynced(t *testing.T) {
	t.Parallel()
	l, steps := observed(t)
	ctx := t.Context()
	w, err := l.Create(ctx, "d/unfinished")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := l.PutIfAbsent(ctx, "d/k", nil); err != nil {
		t.Fatal(err)
	}
	if got := steps(); !slices.Contains(got, "sync .") {
		t.Errorf("the entry of d was not synced: %q", got)
	}
}

func TestTempNames(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"k", "d/k", "d/with-dash-", "d/.hidden"} {
		temp := tempName(key)
		if err := CheckKey(temp); err == nil {
			t.Errorf("%s is a legal key", temp)
		}
		if got, ok := finalName(temp); !ok || got != key {
			t.Errorf("finalName(%s) = %q, %v", temp, got, ok)
		}
	}
	for _, name := range []string{"k", ".tmp-", ".tmp-short", "d/.tmp--ABCDEFGHIJKL", ".tmp-d/k"} {
		if got, ok := finalName(name); ok {
			t.Errorf("finalName(%s) = %q", name, got)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	l, err := openLocal(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	page := make([]byte, 64<<10)
	b.SetBytes(16 << 20)
	b.ReportAllocs()
	for b.Loop() {
		w, err := l.Create(b.Context(), "d/k")
		if err != nil {
			b.Fatal(err)
		}
		for range 256 {
			if _, err := w.Write(page); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Abort(); err != nil {
			b.Fatal(err)
		}
	}
}
