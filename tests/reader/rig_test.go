package reader

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // database/sql driver "duckdb"
	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/tests/audit"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// rig flushes tables of one database into one folder, as the worker.
type rig struct {
	t       testing.TB
	db      *pgtest.DB
	dir     string
	ledger  *ledger.Ledger
	flusher *flush.Flusher
}

// newRig works as the role in workerURL, whose grants the caller has seen to.
func newRig(t testing.TB, db *pgtest.DB, workerURL string) *rig {
	t.Helper()
	ctx := context.Background()
	r := &rig{t: t, db: db, dir: t.TempDir()}
	pg, err := hot.Open(ctx, workerURL, nil)
	must(t, err)
	t.Cleanup(pg.Close)
	r.ledger = ledger.New(pg.Pool(), nil)
	must(t, r.ledger.Migrate(ctx))
	_, err = r.ledger.Installation(ctx, "reader")
	must(t, err)
	_, err = r.ledger.EnsureDefaultStorage(ctx, "file://"+r.dir)
	must(t, err)
	r.flusher, err = flush.New(flush.Deps{Hot: pg, Ledger: r.ledger, Stores: coldstore.NewLedgerStores(r.ledger, nil), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { audit.Storage(t, db.SuperURL, r.dir) })
	return r
}

// flush moves all rows of app.<table> and returns the files.
func (r *rig) flush(table string, params map[string]string) []string {
	r.t.Helper()
	ctx := context.Background()
	request := uuid.New()
	job := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: pgtest.Schema, Name: table}, UUID: uuid.New()}.String()
	must(r.t, r.ledger.PutRequest(ctx, ledger.Request{ID: request, JobType: "flush", Schema: pgtest.Schema, Table: table, Params: params, Trigger: "command"}))
	plan, err := r.flusher.Plan(ctx, jobstep.PlanInput{JobID: job, RequestID: request.String(), Generation: 1})
	must(r.t, err)
	must(r.t, r.chunks(job, plan))
	left, err := r.flusher.Residue(ctx, jobstep.ResidueInput{JobID: job, Pass: 1})
	must(r.t, err)
	if left.RowsLeft != 0 {
		r.t.Fatalf("%d rows were left", left.RowsLeft)
	}
	must(r.t, r.flusher.Publish(ctx, job))
	_, err = r.flusher.Finish(ctx, jobstep.FinishInput{JobID: job, RequestID: request.String(), Status: "completed", RowsLeft: &left.RowsLeft})
	must(r.t, err)
	var files []string
	for s, err := range r.ledger.LiveSegments(ctx, pgtest.Schema, table) {
		must(r.t, err)
		u, err := url.Parse(s.Location)
		must(r.t, err)
		files = append(files, u.Path)
	}
	return files
}

// chunks moves the chunks of a plan, two at a time.
func (r *rig) chunks(job string, plan jobstep.PlanResult) error {
	slots := make(chan struct{}, 2)
	errs := make(chan error, plan.Chunks)
	var wg sync.WaitGroup
	for n := range plan.Chunks {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			_, err := r.flusher.RunChunk(context.Background(), jobstep.ChunkInput{JobID: job, Chunk: plan.FirstChunk + n, Attempt: 1}, nil)
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// duck opens a DuckDB in memory that can fetch nothing from elsewhere.
func duck(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	db.SetMaxOpenConns(1) // settings belong to a connection
	for _, s := range []string{"SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false", "SET TimeZone = 'UTC'", "SET memory_limit = '2GB'"} {
		_, err := db.Exec(s)
		must(t, err)
	}
	return db
}

// readParquet is DuckDB's call over exactly these files.
func readParquet(files []string) string {
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = "'" + strings.ReplaceAll(f, "'", "''") + "'"
	}
	return "read_parquet([" + strings.Join(quoted, ", ") + "], hive_partitioning = false)"
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func grantAll(db *pgtest.DB, t testing.TB) {
	t.Helper()
	db.Exec(t, fmt.Sprintf("GRANT USAGE ON SCHEMA app TO %s", db.Worker), fmt.Sprintf("GRANT SELECT, DELETE, UPDATE ON ALL TABLES IN SCHEMA app TO %s", db.Worker))
}
