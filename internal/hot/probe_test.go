package hot_test

import (
	"context"
	"errors"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

// A probe tells that the server went away, and finds it again. A pool without a free connection does not disturb it.
func TestProbe(t *testing.T) {
	t.Parallel()
	srv := pgtest.Own(t, nil)
	db, err := hot.Open(t.Context(), pgtest.DatabaseOn(t, srv).WorkerURL, &hot.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	busy, err := db.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := db.NewProbe()
	for range 2 {
		if err := p.Ping(t.Context()); err != nil {
			t.Errorf("while the pool is busy: %v", err)
		}
	}
	busy.Release()
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // on the connection that broke, and without one
		var ce *hot.ConnectError
		if err := p.Ping(t.Context()); !errors.As(err, &ce) || !hot.IsConnectionError(err) {
			t.Errorf("while the server is gone: %v", err)
		}
	}
	if err := srv.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := p.Ping(t.Context()); err != nil {
		t.Errorf("when the server is back: %v", err)
	}
	p.Close(t.Context())
	p.Close(t.Context())
}
