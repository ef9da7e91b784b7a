package hot

import (
	"context"
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
