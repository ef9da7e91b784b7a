package audit

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/segment"
)

// Sum adds up an integer column of a table's cold rows, for tables of more rows than Check should hold. It fails the test
// where a file differs from what the ledger says of its rows.
func Sum(t testing.TB, url, schema, table, column string) (sum int64) {
	t.Helper()
	conn := connect(t, url)
	defer func() { _ = conn.Close(context.Background()) }()
	found, err := conn.Query(context.Background(), `SELECT location, row_count FROM spillway.segments
		WHERE table_schema = $1 AND table_name = $2 AND restored_at IS NULL AND replaced_at IS NULL`, schema, table)
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	type file struct {
		Location string
		Rows     int64
	}
	files, err := pgx.CollectRows(found, pgx.RowToStructByPos[file])
	if err != nil {
		t.Fatalf("read ledger: %v", err)
	}
	for _, f := range files {
		n, rows := sumOf(t, pathOf(t, f.Location), column)
		if rows != f.Rows {
			t.Errorf("%s holds %d rows, the ledger says %d", f.Location, rows, f.Rows)
		}
		sum += n
	}
	return sum
}

func sumOf(t testing.TB, path, column string) (sum, rows int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Errorf("registered segment cannot be read: %v", err)
		return 0, 0
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := segment.OpenReader(f, info.Size())
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0, 0
	}
	defer r.Close()
	at := -1
	for i, c := range r.Footer().Columns {
		if c.Name == column {
			at = i
		}
	}
	if at < 0 {
		t.Errorf("%s has no column %s", path, column)
		return 0, 0
	}
	for r.Next() {
		n, err := strconv.ParseInt(string(r.Row()[at].Text), 10, 64)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		sum += n
		rows++
	}
	if err := r.Err(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return sum, rows
}
