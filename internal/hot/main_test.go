package hot_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/hot"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open connects as the unprivileged role of the product.
func open(t *testing.T, db *pgtest.DB, opt *hot.Options) *hot.DB {
	t.Helper()
	h, err := hot.Open(t.Context(), db.WorkerURL, opt)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(h.Close)
	return h
}

// table makes a table by a statement of its owner, grants what a flush needs, and inspects it as the worker's role.
func table(t *testing.T, db *pgtest.DB, h *hot.DB, name string, statements ...string) *hot.Table {
	t.Helper()
	db.Exec(t, statements...)
	grant(t, db, name)
	return inspect(t, h, name)
}

func grant(t *testing.T, db *pgtest.DB, name string) {
	t.Helper()
	worker := pgx.Identifier{db.Worker}.Sanitize()
	db.Exec(t, "GRANT USAGE ON SCHEMA app TO "+worker,
		"GRANT SELECT, DELETE, UPDATE ON "+pgx.Identifier{pgtest.Schema, name}.Sanitize()+" TO "+worker)
}

func inspect(t *testing.T, h *hot.DB, name string) *hot.Table {
	t.Helper()
	tab, err := h.Inspect(context.Background(), h.Pool(), pgtest.Schema, name)
	if err != nil {
		t.Fatalf("inspect %s: %v", name, err)
	}
	return tab
}
