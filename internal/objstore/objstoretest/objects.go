package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

func testCreateCommitRead(t *testing.T, h Harness) {
	s := h.New(t)
	w := create(t, s, "app/events/one.parquet", []byte("hello, "))
	_, err := io.WriteString(w, "world")
	must(t, err)
	info, err := w.Commit(t.Context())
	must(t, err)
	if info.Key != "app/events/one.parquet" || info.Size != 12 || info.ModTime.IsZero() {
		t.Errorf("Commit = %+v", info)
	}
	wantContent(t, s, "app/events/one.parquet", "hello, world")
	wantKeys(t, s, "", "app/events/one.parquet")
	wantAbsent(t, s, "app/events")
	wantAbsent(t, s, "app/events/one.parquet/below")
	wantAbsent(t, s, "app/events/two.parquet")

	obj, err := s.Open(t.Context(), "app/events/one.parquet")
	must(t, err)
	defer obj.Close()
	part := make([]byte, 5)
	if n, err := obj.ReadAt(part, 7); string(part[:n]) != "world" || (err != nil && !errors.Is(err, io.EOF)) {
		t.Errorf("ReadAt(7) = %q, %v", part[:n], err)
	}
	if n, err := obj.ReadAt(part, 10); string(part[:n]) != "ld" || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt(10) = %q, %v, want the rest and EOF", part[:n], err)
	}
}

func testEmptyObject(t *testing.T, h Harness) {
	s := h.New(t)
	put(t, s, "empty", "")
	wantContent(t, s, "empty", "")
}

// Pieces smaller and larger than any buffer, and never of a round size.
func testLargeObject(t *testing.T, h Harness) {
	s := h.New(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 5<<20+17)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	w := create(t, s, "large", nil)
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN([]int{7, 5000, 1 << 20}[rnd.IntN(3)]))
		_, err := w.Write(rest[:n])
		must(t, err)
		rest = rest[n:]
	}
	_, err := w.Commit(t.Context())
	must(t, err)
	got, err := read(t.Context(), s, "large")
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back as %d other ones", len(data), len(got))
	}
}

func testInvisible(t *testing.T, h Harness) {
	s := h.New(t)
	w := create(t, s, "d/k", []byte("unfinished"))
	wantAbsent(t, s, "d/k")
	wantKeys(t, s, "")
	wantKeys(t, s, "d/")
	must(t, w.Abort())
	wantAbsent(t, s, "d/k")
	if n, err := s.DeletePrefix(t.Context(), "d/"); n != 0 || err != nil {
		t.Errorf("after Abort %d leftovers, %v", n, err)
	}
}

func testWriterStates(t *testing.T, h Harness) {
	s := h.New(t)
	w := create(t, s, "k", []byte("x"))
	_, err := w.Commit(t.Context())
	must(t, err)
	must(t, w.Abort())
	must(t, w.Abort())
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("second Commit: no error")
	}
	if _, err := w.Write([]byte("y")); err == nil {
		t.Error("Write after Commit: no error")
	}
	wantContent(t, s, "k", "x")

	w = create(t, s, "aborted", []byte("x"))
	must(t, w.Abort())
	must(t, w.Abort())
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("Commit after Abort: no error")
	}
	if _, err := w.Write([]byte("y")); err == nil {
		t.Error("Write after Abort: no error")
	}
	wantAbsent(t, s, "aborted")
}

func testKeyTaken(t *testing.T, h Harness) {
	s := h.New(t)
	early := create(t, s, "k", []byte("second"))
	put(t, s, "k", "first")
	_, err := early.Commit(t.Context())
	wantErr(t, "Commit of a taken key", err, objstore.ErrExists)
	must(t, early.Abort())
	_, err = create(t, s, "k", []byte("third")).Commit(t.Context())
	wantErr(t, "Commit of a taken key", err, objstore.ErrExists)
	wantContent(t, s, "k", "first")
	wantKeys(t, s, "", "k")
}

func testConcurrentCreate(t *testing.T, h Harness) {
	s := h.New(t)
	const writers = 16
	content := func(i int) string { return strings.Repeat(fmt.Sprintf("writer %d ", i), 1000) }
	results := make([]error, writers)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range writers {
		w := create(t, s, "a/b/k", []byte(content(i)))
		wg.Go(func() {
			<-begin
			_, results[i] = w.Commit(context.WithoutCancel(t.Context()))
		})
	}
	close(begin)
	wg.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("writers %d and %d both won", winner, i)
		default:
			wantErr(t, "losing Commit", err, objstore.ErrExists)
		}
	}
	if winner < 0 {
		t.Fatal("nobody won")
	}
	wantContent(t, s, "a/b/k", content(winner))
	if n, err := s.DeletePrefix(t.Context(), "a/b/k"); n != 1 || err != nil {
		t.Errorf("DeletePrefix = %d, %v: losers left something behind", n, err)
	}
}

func testConcurrentFolders(t *testing.T, h Harness) {
	s := h.New(t)
	var wg sync.WaitGroup
	want := make([]string, 24)
	for i := range want {
		want[i] = fmt.Sprintf("x/y/%d/z/k%d", i%3, i)
		wg.Go(func() {
			if err := s.PutIfAbsent(t.Context(), want[i], []byte("v")); err != nil {
				t.Errorf("%s: %v", want[i], err)
			}
		})
	}
	wg.Wait()
	wantKeys(t, s, "", want...)
}

func testPutIfAbsent(t *testing.T, h Harness) {
	s := h.New(t)
	must(t, s.PutIfAbsent(t.Context(), "d/k", []byte("one")))
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(t.Context(), "d/k", []byte("two")), objstore.ErrExists)
	wantContent(t, s, "d/k", "one")
	wantKeys(t, s, "", "d/k")
}

func testReplace(t *testing.T, h Harness) {
	s := h.New(t)
	must(t, s.Replace(t.Context(), "d/manifest.json", []byte("one")))
	wantContent(t, s, "d/manifest.json", "one")
	must(t, s.Replace(t.Context(), "d/manifest.json", []byte("number two")))
	wantContent(t, s, "d/manifest.json", "number two")
	wantKeys(t, s, "", "d/manifest.json")
}

// testReplaceInPieces: what is there stays until Commit, and after Abort.
func testReplaceInPieces(t *testing.T, h Harness) {
	s := h.New(t)
	r, ok := s.(objstore.Replacer)
	if !ok {
		t.Skip("the store replaces objects as a whole only")
	}
	for i, content := range []string{"one", "number two"} {
		before := "none"
		if i > 0 {
			before = "one"
			wantContent(t, s, "d/manifest.json", before)
		}
		w, err := r.CreateReplacing(t.Context(), "d/manifest.json")
		must(t, err)
		for _, c := range content {
			_, err := w.Write([]byte(string(c)))
			must(t, err)
		}
		if i > 0 {
			wantContent(t, s, "d/manifest.json", before)
		}
		_, err = w.Commit(t.Context())
		must(t, err)
		wantContent(t, s, "d/manifest.json", content)
	}
	w, err := r.CreateReplacing(t.Context(), "d/manifest.json")
	must(t, err)
	_, err = w.Write([]byte("three"))
	must(t, err)
	must(t, w.Abort())
	wantContent(t, s, "d/manifest.json", "number two")
	_, err = r.CreateReplacing(t.Context(), "../x")
	wantErr(t, "CreateReplacing", err, objstore.ErrInvalidKey)
}

func testReplaceWhileRead(t *testing.T, h Harness) {
	s := h.New(t)
	old, young := strings.Repeat("o", 100_000), strings.Repeat("y", 50_000)
	must(t, s.Replace(t.Context(), "k", []byte(old)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 40 {
			data := old
			if i%2 == 0 {
				data = young
			}
			if err := s.Replace(t.Context(), "k", []byte(data)); err != nil {
				t.Errorf("Replace: %v", err)
				return
			}
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		if got, err := read(t.Context(), s, "k"); err != nil || (string(got) != old && string(got) != young) {
			t.Fatalf("read %d bytes, %v: neither the old nor the new content", len(got), err)
		}
	}
}

func testDelete(t *testing.T, h Harness) {
	s := h.New(t)
	put(t, s, "d/k", "x")
	put(t, s, "d/k2", "y")
	must(t, s.Delete(t.Context(), "d/k"))
	must(t, s.Delete(t.Context(), "d/k"))
	must(t, s.Delete(t.Context(), "never/was"))
	must(t, s.Delete(t.Context(), "d")) // a folder is no object
	wantAbsent(t, s, "d/k")
	wantKeys(t, s, "", "d/k2")
	put(t, s, "d/k", "again")
	wantContent(t, s, "d/k", "again")
}
