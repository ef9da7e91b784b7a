package objstoretest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
)

func testContextEnded(t *testing.T, h Harness) {
	s := h.New(t)
	put(t, s, "there", "x")
	w := create(t, s, "k", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Commit(ctx)
	wantErr(t, "Commit", err, context.Canceled)
	wantAbsent(t, s, "k")
	_, err = s.Create(ctx, "k")
	wantErr(t, "Create", err, context.Canceled)
	_, err = s.Open(ctx, "there")
	wantErr(t, "Open", err, context.Canceled)
	_, err = s.Stat(ctx, "there")
	wantErr(t, "Stat", err, context.Canceled)
	wantErr(t, "Delete", s.Delete(ctx, "there"), context.Canceled)
	wantErr(t, "Replace", s.Replace(ctx, "there", nil), context.Canceled)
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(ctx, "k", nil), context.Canceled)
	_, err = s.DeletePrefix(ctx, "there")
	wantErr(t, "DeletePrefix", err, context.Canceled)
	for _, err := range s.List(ctx, "") {
		wantErr(t, "List", err, context.Canceled)
	}
	wantContent(t, s, "there", "x")
}

// A full storage fails the write, leaves nothing visible, and serves again once the failed write has gone.
func testFull(t *testing.T, h Harness) {
	s, cannot := h.Full(t)
	if cannot != "" {
		t.Skip("no full storage here: " + cannot)
	}
	put(t, s, "small", "fits")
	ctx := t.Context()
	w, err := s.Create(ctx, "d/large")
	must(t, err)
	data := bytes.Repeat([]byte("x"), 64<<10)
	for range 64 {
		if _, err = w.Write(data); err != nil {
			break
		}
	}
	if err == nil {
		_, err = w.Commit(ctx)
	}
	wantErr(t, "4 MiB into 1 MiB", err, objstore.ErrFull)
	must(t, w.Abort())
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(ctx, "d/large", bytes.Repeat(data, 64)), objstore.ErrFull)
	wantErr(t, "Replace", s.Replace(ctx, "small", bytes.Repeat(data, 64)), objstore.ErrFull)
	wantAbsent(t, s, "d/large")
	wantContent(t, s, "small", "fits")
	wantKeys(t, s, "", "small")
	put(t, s, "d/second", "fits again")
	wantContent(t, s, "d/second", "fits again")
}

func testReadOnly(t *testing.T, h Harness) {
	s, cannot := h.ReadOnly(t)
	if cannot != "" {
		t.Skip("no read-only storage here: " + cannot)
	}
	WantDenied(t, s)
	wantContent(t, s, "there", "old")
	wantKeys(t, s, "", "there")
}

// WantDenied fails the test if a write to the store, which holds the object "there", ends otherwise than with ErrDenied.
func WantDenied(t *testing.T, s objstore.Store) {
	t.Helper()
	ctx := t.Context()
	for _, key := range []string{"k", "new/folder/k"} {
		w, err := s.Create(ctx, key)
		if err == nil { // a store may notice only at the end
			_, err = w.Commit(ctx)
		}
		wantErr(t, "Create "+key, err, objstore.ErrDenied)
	}
	wantErr(t, "Replace", s.Replace(ctx, "there", nil), objstore.ErrDenied)
	wantErr(t, "PutIfAbsent", s.PutIfAbsent(ctx, "k", nil), objstore.ErrDenied)
	wantErr(t, "Delete", s.Delete(ctx, "there"), objstore.ErrDenied)
	_, err := s.DeletePrefix(ctx, "the")
	wantErr(t, "DeletePrefix", err, objstore.ErrDenied)
	wantErr(t, "ClaimOwner", objstore.ClaimOwner(ctx, s, ours), objstore.ErrDenied)
}

var ours = objstore.Owner{InstallationID: "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", SystemIdentifier: "7300000000000000001", DatabaseOID: 16384, Timeline: 1}

func testOwner(t *testing.T, h Harness) {
	ctx := t.Context()
	s := h.New(t)
	_, err := objstore.ReadOwner(ctx, s)
	wantErr(t, "ReadOwner", err, objstore.ErrNotExist)
	if err := objstore.ClaimOwner(ctx, s, objstore.Owner{}); err == nil {
		t.Error("an owner without a name may claim")
	}
	must(t, objstore.ClaimOwner(ctx, s, ours))
	must(t, objstore.ClaimOwner(ctx, s, ours))

	unknown := ours // no right to read pg_control_system()
	unknown.SystemIdentifier, unknown.Timeline = "", 0
	must(t, objstore.ClaimOwner(ctx, s, unknown))

	for name, change := range map[string]func(*objstore.Owner){
		"installation": func(o *objstore.Owner) { o.InstallationID = "other" },
		"system":       func(o *objstore.Owner) { o.SystemIdentifier = "2" },
		"database":     func(o *objstore.Owner) { o.DatabaseOID++ },
		"timeline":     func(o *objstore.Owner) { o.Timeline++ },
	} {
		other := ours
		change(&other)
		err := objstore.ClaimOwner(ctx, s, other)
		var foreign *objstore.ForeignOwnerError
		if !errors.As(err, &foreign) {
			t.Errorf("other %s: %v, want *ForeignOwnerError", name, err)
			continue
		}
		if foreign.Found != ours || foreign.Ours != other || foreign.Location != s.URL("") {
			t.Errorf("other %s: %+v", name, foreign)
		}
	}
	other := ours
	other.Timeline = 2
	must(t, objstore.AdoptOwner(ctx, s, other))
	must(t, objstore.ClaimOwner(ctx, s, other))
	var foreign *objstore.ForeignOwnerError
	if err := objstore.ClaimOwner(ctx, s, ours); !errors.As(err, &foreign) {
		t.Errorf("after the adoption the former owner gets %v", err)
	}
}

func testOwnerRace(t *testing.T, h Harness) {
	s := h.New(t)
	other := ours
	other.InstallationID = "other"
	results := make(chan error)
	for _, o := range []objstore.Owner{ours, other, ours, other} {
		go func() { results <- objstore.ClaimOwner(t.Context(), s, o) }()
	}
	refused := 0
	for range 4 {
		var foreign *objstore.ForeignOwnerError
		if err := <-results; errors.As(err, &foreign) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != 2 {
		t.Errorf("%d of 4 claims refused, want both of one side", refused)
	}
}

func testOwnerDamaged(t *testing.T, h Harness) {
	for _, damaged := range []string{"", "{", "[]", "{}"} {
		s := h.New(t)
		put(t, s, objstore.OwnerKey, damaged)
		if err := objstore.ClaimOwner(t.Context(), s, ours); err == nil {
			t.Errorf("claimed over the marker %q", damaged)
		}
		wantContent(t, s, objstore.OwnerKey, damaged)
		must(t, objstore.AdoptOwner(t.Context(), s, ours))
		must(t, objstore.ClaimOwner(t.Context(), s, ours))
	}
}
