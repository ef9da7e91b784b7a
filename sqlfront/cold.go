package sqlfront

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// showCold runs SHOW COLD TABLE. A table that is gone may still have cold rows.
func (r *request) showCold(ctx context.Context, s *parse.ShowColdTable) ([][]any, error) {
	t, err := r.look(ctx, jobmanager.Table{Namespace: s.Table.Schema, Name: s.Table.Table})
	if err != nil {
		return nil, err
	}
	if !t.anywhere() && t.exists && !t.owner && !t.selects {
		return nil, &pgwire.Error{Code: codePrivilege, Position: s.Table.Pos, Message: "permission denied for table " + t.table.Name}
	}
	if err := r.up.Release(); err != nil {
		return nil, err
	}
	var segments []Segment
	if t.exists || t.anywhere() {
		if segments, err = r.catalog.LiveSegments(ctx, t.table); err != nil {
			return nil, err
		}
	}
	if len(segments) == 0 && !t.exists {
		return nil, &pgwire.Error{Code: codeUndefinedTable, Position: s.Table.Pos, Message: fmt.Sprintf("relation \"%s\" does not exist", t.table)}
	}
	rows := make([][]any, len(segments))
	for i, g := range segments {
		rows[i] = []any{g.ID, g.Location, g.Rows, g.Bytes, g.CreatedAt, g.JobID, g.Leaf, g.SchemaVersion, nil, g.Storage}
	}
	if len(rows) > 0 {
		rows[0][readParquetColumn] = readParquet(segments)
	}
	return rows, nil
}

// readParquetColumn is the place of read_parquet in segmentColumns.
const readParquetColumn = 8

// readParquet renders DuckDB's call over exactly these segments. Columns may have come and gone between them.
func readParquet(segments []Segment) string {
	paths := make([]string, len(segments))
	for i, g := range segments {
		paths[i] = "'" + strings.ReplaceAll(localPath(g.Location), "'", "''") + "'"
	}
	return "read_parquet([" + strings.Join(paths, ", ") + "], union_by_name = true, hive_partitioning = false)"
}

// localPath turns a file URL into a path, which every reader knows; other addresses stay.
func localPath(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" {
		return location
	}
	return u.Path
}
