package reader

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/tests/product"
)

// What docs/format.md says, and `spillway uninstall` prints: DuckDB reads exactly the files that a manifest lists.
func TestDuckDBReadsTheManifest(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, `CREATE TABLE app."odd #1 name" AS SELECT i AS id FROM generate_series(1, 1000) i`)
	grantAll(db, t)
	r := newRig(t, db, db.WorkerURL)
	files := r.flush("odd #1 name", nil)
	manifest := filepath.Join(filepath.Dir(files[0]), "manifest.json")
	stray, err := os.ReadFile(files[0])
	must(t, err)
	strayPath := filepath.Join(filepath.Dir(files[0]), "stray.parquet")
	must(t, os.WriteFile(strayPath, stray, 0o600))
	t.Cleanup(func() { must(t, os.Remove(strayPath)) }) // before the audit
	text, err := os.ReadFile(filepath.Join(product.Root(), "docs", "format.md"))
	must(t, err)
	script := regexp.MustCompile(`(?s)SET VARIABLE files = .*?\);\nSELECT count.*?;`).FindString(string(text))
	if script == "" {
		t.Fatal("docs/format.md has no script")
	}
	script = strings.ReplaceAll(script, "'manifest.json'", "'"+manifest+"'")
	set, query, _ := strings.Cut(script, "\n")
	duckdb := duck(t)
	_, err = duckdb.Exec(set)
	must(t, err)
	var n int
	must(t, duckdb.QueryRow(query).Scan(&n))
	if n != 1000 {
		t.Error(fmt.Errorf("%d rows, want 1000", n))
	}
}
