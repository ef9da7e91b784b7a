package hot

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Cut says how many blocks make a chunk, and how many chunks a table of so many blocks has. Chunk n covers the blocks from n times
// that on; the last one is open-ended, for the table may grow. All have one size, at most chunkBytes or one block, and their
// number is a multiple of the lanes that move them where that takes no more than twice as many: no lane waits for the last.
func Cut(blocks uint32, blockSize int, chunkBytes int64, lanes int) (per uint32, chunks int) {
	most := int64(1)
	if blockSize > 0 {
		most = min(max(chunkBytes/int64(blockSize), 1), 1<<31)
	}
	n := divideUp(int64(blocks), most)
	if n <= 1 {
		return uint32(most), int(n)
	}
	n = min(divideUp(n, int64(max(lanes, 1)))*int64(max(lanes, 1)), 2*n)
	size := divideUp(int64(blocks), n)
	return uint32(size), int(divideUp(int64(blocks), size))
}

func divideUp(a, b int64) int64 { return (a + b - 1) / b }

// Estimate is what PostgreSQL's planner expects of a scan.
type Estimate struct {
	Rows  int64
	Width int    // bytes per row
	Scan  string // how it would read the table: "Seq Scan", "Index Scan", …
	Index string // the index that it would use, or ""
}

// planNode is a node of EXPLAIN (FORMAT JSON).
type planNode struct {
	Type  string     `json:"Node Type"`
	Rows  float64    `json:"Plan Rows"`
	Width int        `json:"Plan Width"`
	Index string     `json:"Index Name"`
	Plans []planNode `json:"Plans"`
}

// index is the first index on the way down.
func (n *planNode) index() string {
	if n.Index != "" {
		return n.Index
	}
	for i := range n.Plans {
		if name := n.Plans[i].index(); name != "" {
			return name
		}
	}
	return ""
}

// EstimateMatching asks the planner how many rows of the table itself match, without reading any. An empty predicate
// matches all.
func (db *DB) EstimateMatching(ctx context.Context, q Querier, schema, table, predicate string) (Estimate, error) {
	var raw []byte
	err := q.QueryRow(ctx, "EXPLAIN (FORMAT JSON) SELECT * FROM ONLY "+from(schema, table, predicate)).Scan(&raw)
	if err != nil {
		return Estimate{}, fmt.Errorf("estimate rows: %w", err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(raw, &plans); err != nil {
		return Estimate{}, fmt.Errorf("estimate rows: unexpected plan: %w", err)
	}
	if len(plans) != 1 {
		return Estimate{}, fmt.Errorf("estimate rows: %d plans", len(plans))
	}
	p := &plans[0].Plan
	return Estimate{Rows: int64(p.Rows), Width: p.Width, Scan: p.Type, Index: p.index()}, nil
}

// CountMatching counts the rows of the table itself that match, up to limit; 0 is no limit.
func (db *DB) CountMatching(ctx context.Context, q Querier, schema, table, predicate string, limit int64) (int64, error) {
	sql := "SELECT pg_catalog.count(*) FROM ONLY " + from(schema, table, predicate)
	if limit > 0 {
		sql = fmt.Sprintf("SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ONLY %s LIMIT %d) AS spillway_some", from(schema, table, predicate), limit)
	}
	var n int64
	if err := q.QueryRow(ctx, sql).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rows: %w", err)
	}
	return n, nil
}

// from is the table and its condition. The line break keeps a comment at the end of the predicate to itself.
func from(schema, table, predicate string) string {
	out := pgx.Identifier{schema, table}.Sanitize()
	if predicate != "" {
		out += " WHERE (" + predicate + "\n)"
	}
	return out
}
