package ledger_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// pool connects as the unprivileged role of the product.
func pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	// As package hot has it.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cfg.ConnConfig.RuntimeParams["search_path"] = ""
	p, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// migrated is a fresh database with a ledger.
func migrated(t *testing.T) (*ledger.Ledger, *pgtest.DB, *pgxpool.Pool) {
	t.Helper()
	db := pgtest.Database(t)
	p := pool(t, db.WorkerURL)
	l := ledger.New(p, nil)
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return l, db, p
}

// exec is a connection like a session of package hot: its statements are described to nobody.
func exec(t *testing.T, db *pgtest.DB) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(db.WorkerURL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }
