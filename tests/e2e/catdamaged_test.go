package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/tests/product"
)

// A20 A29: cat on files that were damaged at random places prints the right rows, or says which file is damaged; never other rows, and no panic.
func TestCatDamaged(t *testing.T) {
	t.Parallel()
	u := shared(t)
	tb := u.table(t, "damaged", 300)
	o := u.owner(t)
	o.rows("FLUSH TABLE app.damaged WITH (wait = true)")
	files := tb.segments()
	if len(files) != 1 {
		t.Fatalf("%d segments, want 1", len(files))
	}
	path := filepath.Join(tb.dir(), tb.objects()[0])
	whole, err := os.ReadFile(path)
	must(t, err)
	cat := func() product.Result {
		return product.Run(t, binary, nil, "cat", "app.damaged", "--sql-url", u.through(u.db.OwnerURL))
	}
	want := cat()
	if want.Code != 0 || strings.Count(want.Out, "\n") != 301 {
		t.Fatalf("exit code %d: %.300s %s", want.Code, want.Out, want.Err)
	}
	const seed = 20261127
	r := rand.New(rand.NewPCG(seed, 0))
	spoil := func(what string, text []byte) {
		must(t, os.WriteFile(path, text, 0o644))
		got := cat()
		switch {
		case strings.Contains(got.Err, "panic") || strings.Contains(got.Err, "goroutine "):
			t.Errorf("%s: %s", what, got.Err)
		case got.Code == 0 && got.Out != want.Out:
			t.Errorf("%s: other rows than before, and no error", what)
		case got.Code == 1 && !strings.Contains(got.Err, filepath.Base(path)), got.Code > 1:
			t.Errorf("%s: exit code %d: %s", what, got.Code, got.Err)
		}
	}
	for range 40 {
		at := r.IntN(len(whole))
		if r.IntN(2) == 0 { // the footer is small, and everything hangs on it
			at = len(whole) - 1 - r.IntN(min(len(whole), 2000))
		}
		text := append([]byte{}, whole...)
		text[at] ^= 1 << r.IntN(8)
		spoil(fmt.Sprintf("seed %d: a bit of byte %d of %d", seed, at, len(whole)), text)
	}
	for range 10 {
		size := r.IntN(len(whole))
		spoil(fmt.Sprintf("seed %d: cut to %d of %d bytes", seed, size, len(whole)), append([]byte{}, whole[:size]...))
	}
	must(t, os.Remove(path))
	if got := cat(); got.Code != 1 || !strings.Contains(got.Err, filepath.Base(path)) {
		t.Errorf("a missing file: exit code %d: %s", got.Code, got.Err)
	}
	must(t, os.WriteFile(path, whole, 0o644)) // the audit wants it whole
}
