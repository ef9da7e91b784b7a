package roundtrip

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"slices"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // database/sql driver "duckdb"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/tests/audit"
)

func TestMain(m *testing.M) {
	if server, err := embedpg.Find(context.Background()); err == nil && server.Major < 15 { // from then on a scale may be negative
		scalars = slices.DeleteFunc(scalars, func(t typ) bool { return t.sql == "numeric(5,-3)" })
	}
	pgtest.Main(m)
}

// rig is one database, in which the worker flushes into one folder.
type rig struct {
	db      *pgtest.DB
	owner   *pgx.Conn
	duck    *sql.DB
	ledger  *ledger.Ledger
	flusher *flush.Flusher
}

// pinned are the settings under which a Reader's text reads back as what it was.
const pinned = `SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET TimeZone = 'UTC'; SET bytea_output = 'hex';
	SET lc_monetary = 'C'; SET search_path = ''; SET xmloption = 'content'`

func newRig(t *testing.T) *rig {
	t.Helper()
	ctx := context.Background()
	db := pgtest.Database(t)
	db.Super(t, "CREATE EXTENSION hstore SCHEMA public", "CREATE EXTENSION citext SCHEMA public", "CREATE EXTENSION cube SCHEMA public")
	r := &rig{db: db, owner: db.Connect(t, db.OwnerURL), duck: openDuck(t)}
	_, err := r.owner.Exec(ctx, pinned)
	must(t, err)
	pg, err := hot.Open(ctx, db.WorkerURL, nil)
	must(t, err)
	t.Cleanup(pg.Close)
	dir := t.TempDir()
	r.ledger = ledger.New(pg.Pool(), nil)
	must(t, r.ledger.Migrate(ctx))
	_, err = r.ledger.Installation(ctx, "roundtrip")
	must(t, err)
	_, err = r.ledger.EnsureDefaultStorage(ctx, "file://"+dir)
	must(t, err)
	r.flusher, err = flush.New(flush.Deps{Hot: pg, Ledger: r.ledger, Stores: coldstore.NewLedgerStores(r.ledger, nil), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { audit.Storage(t, db.SuperURL, dir) })
	return r
}

// openDuck opens a DuckDB in memory that can fetch nothing from elsewhere.
func openDuck(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	db.SetMaxOpenConns(1) // settings belong to a connection
	for _, s := range []string{"SET autoinstall_known_extensions = false", "SET autoload_known_extensions = false", "SET TimeZone = 'UTC'", "SET memory_limit = '1GB'", "SET threads = 1"} {
		_, err := db.Exec(s)
		must(t, err)
	}
	return db
}

// flush moves all rows of a table with the steps that every job takes, and returns the files.
func (r *rig) flush(t *testing.T, table string) []string {
	t.Helper()
	ctx := context.Background()
	request := uuid.New()
	job := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: pgtest.Schema, Name: table}, UUID: uuid.New()}.String()
	must(t, r.ledger.PutRequest(ctx, ledger.Request{ID: request, JobType: "flush", Schema: pgtest.Schema, Table: table, Params: map[string]string{"verify": "full"}, Trigger: "command"}))
	plan, err := r.flusher.Plan(ctx, jobstep.PlanInput{JobID: job, RequestID: request.String(), Generation: 1})
	must(t, err)
	for n := range plan.Chunks {
		_, err := r.flusher.RunChunk(ctx, jobstep.ChunkInput{JobID: job, Chunk: plan.FirstChunk + n, Attempt: 1}, nil)
		must(t, err)
	}
	left, err := r.flusher.Residue(ctx, jobstep.ResidueInput{JobID: job, Pass: 1})
	must(t, err)
	if left.RowsLeft != 0 {
		t.Fatalf("%d rows were left", left.RowsLeft)
	}
	must(t, r.flusher.Publish(ctx, job))
	_, err = r.flusher.Finish(ctx, jobstep.FinishInput{JobID: job, RequestID: request.String(), Status: "completed", RowsLeft: &left.RowsLeft})
	must(t, err)
	var files []string
	for s, err := range r.ledger.LiveSegments(ctx, pgtest.Schema, table) {
		must(t, err)
		path, ok := objstore.Path(s.Location)
		if !ok {
			t.Fatalf("%s is no path", s.Location)
		}
		files = append(files, path)
	}
	return files
}

// read returns the rows of segments as Spillway's reader prints them; nil is NULL.
func read(t *testing.T, files []string) (rows [][]*string) {
	t.Helper()
	for _, name := range files {
		f, err := os.Open(name)
		must(t, err)
		defer f.Close()
		info, err := f.Stat()
		must(t, err)
		rd, err := segment.OpenReader(f, info.Size())
		must(t, err)
		for rd.Next() {
			row := make([]*string, len(rd.Row()))
			for i, v := range rd.Row() {
				if !v.Null {
					s := string(v.Text)
					row[i] = &s
				}
			}
			rows = append(rows, row)
		}
		must(t, rd.Err())
		must(t, rd.Close())
	}
	return rows
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
