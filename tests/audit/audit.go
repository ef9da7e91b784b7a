// Package audit judges a table after a test: hot and cold rows together are what they should be, each once, and no object
// lies about that the ledger does not know. Every test that touches a storage ends with it.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// Rows is a multiset of rows, each as PostgreSQL prints it.
type Rows map[string]int

// pinned is how rows are printed; segment.Reader prints the same.
const pinned = `SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = hex; SET search_path = ''`

// Hot reads the rows of a table, partitions included, and forgets their order. where may be "".
func Hot(t testing.TB, url, schema, table, where string) Rows {
	t.Helper()
	sql := "SELECT * FROM " + pgx.Identifier{schema, table}.Sanitize()
	if where != "" {
		sql += " WHERE " + where
	}
	return Query(t, url, sql)
}

// Query reads the rows of a query, printed as those of Hot and Cold are.
func Query(t testing.TB, url, sql string) Rows {
	t.Helper()
	conn := connect(t, url)
	defer func() { _ = conn.Close(context.Background()) }()
	rows := Rows{}
	results := conn.PgConn().Exec(context.Background(), pinned+"; "+sql)
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			rows[line(r.Values())]++
		}
		if _, err := r.Close(); err != nil {
			t.Fatalf("read hot rows: %v", err)
		}
	}
	if err := results.Close(); err != nil {
		t.Fatalf("read hot rows: %v", err)
	}
	return rows
}

// Add returns the rows of both, each as often as in the two together.
func (r Rows) Add(other Rows) Rows {
	sum := Rows{}
	for _, m := range []Rows{r, other} {
		for k, n := range m {
			sum[k] += n
		}
	}
	return sum
}

// Differ lists the rows that are there less often than in want, and those that are there more often.
func (r Rows) Differ(want Rows) (lost, extra []string) {
	for k, n := range want {
		if r[k] < n {
			lost = append(lost, k)
		}
	}
	for k, n := range r {
		if want[k] < n {
			extra = append(extra, k)
		}
	}
	return lost, extra
}

// Count is the number of rows.
func (r Rows) Count() (n int) {
	for _, c := range r {
		n += c
	}
	return n
}

func line(values [][]byte) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = "\x00"
		if v != nil {
			parts[i] = string(v)
		}
	}
	return strings.Join(parts, "\x1f")
}

// Cold reads the rows of all live segments of a table, and checks each file against its row of the ledger: size, sha-256 and
// number of rows.
func Cold(t testing.TB, url, schema, table string) Rows {
	t.Helper()
	conn := connect(t, url)
	defer func() { _ = conn.Close(context.Background()) }()
	found, err := conn.Query(context.Background(), `SELECT location, row_count, bytes, sha256 FROM spillway.segments
		WHERE table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL ORDER BY location`, schema, table)
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	type seg struct {
		Location    string
		Rows, Bytes int64
		SHA256      string
	}
	segments, err := pgx.CollectRows(found, pgx.RowToStructByPos[seg])
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	rows := Rows{}
	for _, s := range segments {
		n := int64(readSegment(t, s.Location, s.Bytes, s.SHA256, rows))
		if n != s.Rows {
			t.Errorf("%s holds %d rows, the ledger says %d", s.Location, n, s.Rows)
		}
	}
	return rows
}

func readSegment(t testing.TB, location string, size int64, sum string, into Rows) (n int) {
	t.Helper()
	path := pathOf(t, location)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("registered segment cannot be read: %v", err)
		return 0
	}
	if int64(len(data)) != size {
		t.Errorf("%s has %d bytes, the ledger says %d", path, len(data), size)
	}
	if h := sha256.Sum256(data); hex.EncodeToString(h[:]) != sum {
		t.Errorf("%s has another sha-256 than the ledger says", path)
	}
	r, err := segment.OpenReader(strings.NewReader(string(data)), int64(len(data)))
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0
	}
	defer r.Close()
	for r.Next() {
		values := r.Row()
		parts := make([][]byte, len(values))
		for i, v := range values {
			if !v.Null {
				parts[i] = append([]byte{}, v.Text...)
			}
		}
		into[line(parts)]++
		n++
	}
	if err := r.Err(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return n
}

// Check fails the test unless hot and cold rows of the table are together exactly want. url must be allowed to read both
// the table and the ledger.
func Check(t testing.TB, url, schema, table string, want Rows) {
	t.Helper()
	got := Hot(t, url, schema, table, "").Add(Cold(t, url, schema, table))
	lost, extra := got.Differ(want)
	report(t, "lost", lost)
	report(t, "doubled or foreign", extra)
	if got.Count() != want.Count() {
		t.Errorf("hot and cold hold %d rows, want %d", got.Count(), want.Count())
	}
}

func report(t testing.TB, what string, rows []string) {
	t.Helper()
	if len(rows) == 0 {
		return
	}
	slices.Sort(rows)
	t.Errorf("%d rows %s, the first: %.300q", len(rows), what, rows[0])
}

// Storage fails the test if the directory of a storage holds an object that the ledger does not list, as cold or as history, but for
// manifests and the owner's marker, or if a manifest lists what is not cold.
func Storage(t testing.TB, url, dir string) {
	t.Helper()
	conn := connect(t, url)
	defer func() { _ = conn.Close(context.Background()) }()
	found, err := conn.Query(context.Background(), `SELECT location, restored_at IS NULL AND replaced_at IS NULL FROM spillway.segments`)
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	type object struct {
		Location string
		Cold     bool
	}
	objects, err := pgx.CollectRows(found, pgx.RowToStructByPos[object])
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	known, cold := map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		known[pathOf(t, o.Location)] = true
		cold[pathOf(t, o.Location)] = o.Cold
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || known[path] || d.Name() == ".spillway-owner.json" {
			return err
		}
		if d.Name() == "manifest.json" {
			checkManifest(t, path, cold)
			return nil
		}
		t.Errorf("stray object %s", path)
		return nil
	})
	if err != nil {
		t.Errorf("walk storage: %v", err)
	}
}

// checkManifest checks that every segment a manifest lists is registered, and none is listed twice.
func checkManifest(t testing.TB, path string, known map[string]bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("read manifest: %v", err)
		return
	}
	var m struct {
		Segments []struct{ Location string }
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	seen := map[string]bool{}
	for _, s := range m.Segments {
		p := pathOf(t, s.Location)
		if !known[p] {
			t.Errorf("%s lists %s, which is not registered", path, p)
		}
		if seen[p] {
			t.Errorf("%s lists %s twice", path, p)
		}
		seen[p] = true
	}
}

// pathOf is where a segment lies, in a local storage or in one of the known buckets.
func pathOf(t testing.TB, location string) string {
	t.Helper()
	path, local := objstore.Path(location)
	if !local {
		path, local = inBucket(location)
	}
	if !local {
		t.Fatalf("%s is not a local file", location)
	}
	return path
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connect for the audit: %v", err)
	}
	return conn
}
