package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2" // the database/sql driver "duckdb"
)

// script is what people run today from cron: psql writes a CSV file, DuckDB turns it into Parquet with zstd, and then the
// rows are deleted. It is quick and loses rows that change in between; its speed is all that is measured here.
func (b *bed) script(ctx context.Context, t table) (int64, error) {
	dir, err := os.MkdirTemp(b.dir, "script-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	csv := filepath.Join(dir, t.name+".csv")
	if _, err := b.psql(ctx, fmt.Sprintf(`\copy (SELECT * FROM app.%s) TO '%s' CSV HEADER`, t.name, csv)); err != nil {
		return 0, err
	}
	if err := duckToParquet(ctx, t, csv, filepath.Join(dir, t.name+".parquet")); err != nil {
		return 0, err
	}
	out, err := b.psql(ctx, "DELETE FROM app."+t.name)
	if err != nil {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscanf(strings.TrimSpace(out), "DELETE %d", &n); err != nil {
		return 0, fmt.Errorf("psql answered %q: %w", out, err)
	}
	return n, nil
}

func (b *bed) psql(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(b.srv.Binaries().Dir, "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-d", b.ownerURL(), "-c", command)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return string(out), nil
}

func duckToParquet(ctx context.Context, t table, csv, parquet string) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return fmt.Errorf("duckdb: %w", err)
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, fmt.Sprintf(
		`COPY (SELECT * FROM read_csv('%s', header = true, columns = %s)) TO '%s' (FORMAT parquet, COMPRESSION zstd)`, csv, t.duckColumns(), parquet))
	if err != nil {
		return fmt.Errorf("duckdb: %w", err)
	}
	return nil
}
