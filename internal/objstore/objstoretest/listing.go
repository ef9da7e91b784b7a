package objstoretest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

func testListPrefix(t *testing.T, h Harness) {
	s := h.New(t)
	for _, key := range []string{"a", "ab", "a.b/c", "app/t/1-x", "app/t/1-y", "app/t/2-x", "app/t2/1-x", "b/c/d/e"} {
		put(t, s, key, key)
	}
	wantKeys(t, s, "", "a", "ab", "a.b/c", "app/t/1-x", "app/t/1-y", "app/t/2-x", "app/t2/1-x", "b/c/d/e")
	wantKeys(t, s, "a", "a", "ab", "a.b/c", "app/t/1-x", "app/t/1-y", "app/t/2-x", "app/t2/1-x")
	wantKeys(t, s, "app/t", "app/t/1-x", "app/t/1-y", "app/t/2-x", "app/t2/1-x")
	wantKeys(t, s, "app/t/", "app/t/1-x", "app/t/1-y", "app/t/2-x")
	wantKeys(t, s, "app/t/1-", "app/t/1-x", "app/t/1-y")
	wantKeys(t, s, "app/t/1-x", "app/t/1-x")
	wantKeys(t, s, "b/c", "b/c/d/e")
	wantKeys(t, s, "b/c/d/e/f")
	wantKeys(t, s, "nothing/here")
	wantKeys(t, s, "z")
	for info, err := range s.List(t.Context(), "app/t/2-x") {
		must(t, err)
		if info.Size != int64(len("app/t/2-x")) || info.ModTime.IsZero() {
			t.Errorf("listed as %+v", info)
		}
	}
}

func testListMany(t *testing.T, h Harness) {
	s := h.New(t)
	const n = 1100 // more than one page of any store
	for i := range n {
		must(t, s.PutIfAbsent(t.Context(), fmt.Sprintf("many/%04d", i), nil))
	}
	if got := len(keys(t, s, "many/")); got != n {
		t.Errorf("%d keys, want %d", got, n)
	}
	seen := 0
	for _, err := range s.List(t.Context(), "") {
		must(t, err)
		if seen++; seen == 3 {
			break
		}
	}
	if deleted, err := s.DeletePrefix(t.Context(), "many/00"); deleted != 100 || err != nil {
		t.Errorf("DeletePrefix = %d, %v, want 100", deleted, err)
	}
	if got := len(keys(t, s, "many/")); got != n-100 {
		t.Errorf("%d keys, want %d", got, n-100)
	}
}

func testDeletePrefix(t *testing.T, h Harness) {
	s := h.New(t)
	for _, key := range []string{"d/2025-at1.parquet", "d/2025-at1-2.parquet", "d/2025-at2.parquet", "e/2025-at1.parquet"} {
		put(t, s, key, "x")
	}
	if n, err := s.DeletePrefix(t.Context(), "d/2025-at1"); n != 2 || err != nil {
		t.Errorf("DeletePrefix = %d, %v, want 2", n, err)
	}
	wantKeys(t, s, "", "d/2025-at2.parquet", "e/2025-at1.parquet")
	if n, err := s.DeletePrefix(t.Context(), "d/2025-at1"); n != 0 || err != nil {
		t.Errorf("again: %d, %v, want 0", n, err)
	}
	_, err := s.DeletePrefix(t.Context(), "")
	wantErr(t, "DeletePrefix of everything", err, objstore.ErrInvalidKey)
}

// A writer that is neither committed nor aborted is what a killed process leaves.
func testCrashLeftovers(t *testing.T, h Harness) {
	s := h.New(t)
	put(t, s, "d/at1-1.parquet", "committed")
	for _, key := range []string{"d/at1-2.parquet", "d/at1-3.parquet", "d/at2-1.parquet"} {
		create(t, s, key, []byte("left behind"))
	}
	wantKeys(t, s, "", "d/at1-1.parquet")
	if _, err := s.DeletePrefix(t.Context(), "d/at1-"); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, s, "")
	if n, err := s.DeletePrefix(t.Context(), "d/at1-"); n != 0 || err != nil {
		t.Errorf("a second sweep found %d, %v", n, err)
	}
	put(t, s, "d/at2-1.parquet", "the retry") // a leftover does not block its key
	wantContent(t, s, "d/at2-1.parquet", "the retry")
}

// A process wakes up after its objects were swept: it must fail, or be found by the next sweep.
func testZombieWriter(t *testing.T, h Harness) {
	s := h.New(t)
	w := create(t, s, "d/at1", []byte("late"))
	if _, err := s.DeletePrefix(t.Context(), "d/at1"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Commit(t.Context())
	if err == nil {
		if n, err := s.DeletePrefix(t.Context(), "d/at1"); n != 1 || err != nil {
			t.Errorf("the late object: sweep = %d, %v", n, err)
		}
	}
	wantAbsent(t, s, "d/at1")
}

func testOddKeys(t *testing.T, h Harness) {
	s := h.New(t)
	odd := []string{
		"with space/and more", "percent%2F%00", "question?mark", "hash#mark", "plus+and&=", "quote'\"`", "star*[a-z]{b,c}",
		"-dash", "~tilde", ".hidden", "...", "a..b/..c", "dots./.dots", "colon:semi;", "dollar$(true)|<>",
		"tenant=1/day=2025-01-01/f", "füß/日本語/🦆", "e\u0301", "UPPER/lower", "trailing. ", " leading",
		"tmp-x", ".tmp", strings.Repeat("n", 200),
	}
	if back := "back\\slash"; h.Slashes {
		wantErr(t, back, s.PutIfAbsent(t.Context(), back, nil), objstore.ErrInvalidKey)
	} else {
		odd = append(odd, back)
	}
	urls := map[string]string{}
	for _, key := range odd {
		put(t, s, key, "content of "+key)
		if other, taken := urls[s.URL(key)]; taken {
			t.Errorf("%q and %q have one URL", key, other)
		}
		urls[s.URL(key)] = key
	}
	for _, key := range odd {
		wantContent(t, s, key, "content of "+key)
		wantKeys(t, s, key, key)
	}
	wantKeys(t, s, "", odd...)
	for _, key := range odd {
		must(t, s.Delete(t.Context(), key))
	}
	wantKeys(t, s, "")
}

func testBadKeys(t *testing.T, h Harness) {
	s := h.New(t)
	put(t, s, "there", "x")
	bad := []string{
		"", "/", "/abs", "a/", "a//b", ".", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "nul\x00", "line\nbreak", "bell\a",
		"\xff\xfe", "a/.tmp-b", ".tmp-x/y", strings.Repeat("n", 201), strings.Repeat("a/", 600) + "k",
	}
	ctx := t.Context()
	for _, key := range bad {
		_, err := s.Create(ctx, key)
		wantErr(t, fmt.Sprintf("Create(%q)", key), err, objstore.ErrInvalidKey)
		_, err = s.Open(ctx, key)
		wantErr(t, fmt.Sprintf("Open(%q)", key), err, objstore.ErrInvalidKey)
		_, err = s.Stat(ctx, key)
		wantErr(t, fmt.Sprintf("Stat(%q)", key), err, objstore.ErrInvalidKey)
		wantErr(t, fmt.Sprintf("Delete(%q)", key), s.Delete(ctx, key), objstore.ErrInvalidKey)
		wantErr(t, fmt.Sprintf("Replace(%q)", key), s.Replace(ctx, key, nil), objstore.ErrInvalidKey)
		wantErr(t, fmt.Sprintf("PutIfAbsent(%q)", key), s.PutIfAbsent(ctx, key, nil), objstore.ErrInvalidKey)
	}
	for _, prefix := range []string{"../", "a/../", "/", "a//b", "nul\x00"} {
		_, err := s.DeletePrefix(ctx, prefix)
		wantErr(t, fmt.Sprintf("DeletePrefix(%q)", prefix), err, objstore.ErrInvalidKey)
		for _, err := range s.List(ctx, prefix) {
			wantErr(t, fmt.Sprintf("List(%q)", prefix), err, objstore.ErrInvalidKey)
		}
	}
	wantKeys(t, s, "", "there")
}

func testDeepKeys(t *testing.T, h Harness) {
	s := h.New(t)
	key := strings.Repeat("deep/", 60) + "k"
	put(t, s, key, "x")
	wantContent(t, s, key, "x")
	wantKeys(t, s, strings.Repeat("deep/", 30), key)
	if n, err := s.DeletePrefix(t.Context(), strings.Repeat("deep/", 60)); n != 1 || err != nil {
		t.Errorf("DeletePrefix = %d, %v", n, err)
	}
}
