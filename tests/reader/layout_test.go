package reader

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// A15 A25: DuckDB reads segments of all versions of a table together, by the call that SHOW COLD TABLE prints: a column that
// came later or went is NULL where it is not, a wider type holds the narrower one's values, and a renamed column is two.
func TestDuckDBReadsMixedVersions(t *testing.T) {
	t.Parallel()
	db := pgtest.Database(t)
	db.Exec(t, "CREATE TABLE app.m (id int PRIMARY KEY, kind text, price numeric(8,2), gone int)", "INSERT INTO app.m SELECT i, 'k', i, i FROM generate_series(1, 100) i")
	grantAll(db, t)
	r := newRig(t, db, db.WorkerURL)
	r.flush("m", nil)
	for _, step := range [][]string{
		{"ALTER TABLE app.m ADD COLUMN note text", "INSERT INTO app.m SELECT i, 'k', i, i, 'n' FROM generate_series(101, 200) i"},
		{"ALTER TABLE app.m DROP COLUMN gone", "ALTER TABLE app.m ALTER COLUMN id TYPE bigint", "INSERT INTO app.m SELECT 3000000000 + i, 'k', i, 'n' FROM generate_series(1, 100) i"},
		{"ALTER TABLE app.m RENAME COLUMN kind TO sort", "ALTER TABLE app.m ALTER COLUMN price TYPE numeric(12,2)", "INSERT INTO app.m SELECT i, 's', 1000000.25, NULL FROM generate_series(301, 400) i"},
	} {
		db.Exec(t, step...)
		r.flush("m", nil)
	}
	files := r.flush("m", nil)
	if len(files) != 4 {
		t.Fatalf("%d files", len(files))
	}
	call := strings.Replace(readParquet(files), ", hive_partitioning", ", union_by_name = true, hive_partitioning", 1)
	ddb := duck(t)
	for query, want := range map[string]string{
		"SELECT concat_ws('|', count(*), sum(id), max(id), sum(price)) FROM " + call:                                                fmt.Sprintf("400|%d|3000000100|100025175.00", 5050+15050+300000005050+35050),
		"SELECT concat_ws('|', count(kind), count(sort), count(gone), count(note)) FROM " + call:                                    "300|100|200|200",
		"SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE SELECT id, price, kind, sort FROM " + call + ")": "id BIGINT, price DECIMAL(12,2), kind VARCHAR, sort VARCHAR",
		"SELECT count(DISTINCT coalesce(sort, kind)) FROM " + call:                                                                  "2",
	} {
		var got string
		must(t, ddb.QueryRow(query).Scan(&got))
		if got != want {
			t.Errorf("%.80s: %s, want %s", query, got, want)
		}
	}
}

// A25: files of one value each, sorted, of any codec and with bloom filters, are what any reader takes.
func TestDuckDBReadsEveryLayout(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"zstd", "snappy", "none"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			db := pgtest.Database(t)
			db.Exec(t, fmt.Sprintf(eventsTable, "events", 20_000), "UPDATE app.events SET note = '' WHERE id = 3", "ANALYZE app.events")
			grantAll(db, t)
			want := pgtest.Value[string](t, db, "SELECT concat_ws('|', count(*), sum(id), sum(amount), sum(extract(epoch from date_trunc('second', created_at)))::bigint, count(note), count(DISTINCT kind)) FROM app.events")
			r := newRig(t, db, db.WorkerURL)
			files := r.flush("events", map[string]string{"codec": codec, "partition_by": "kind, month(created_at)", "order_by": "tenant_id DESC, id", "bloom": "user_id, id, note",
				"file_bytes": "65536", "row_group_rows": "512", "chunk_bytes": "2MB"})
			if len(files) < 15 {
				t.Errorf("%d files", len(files))
			}
			ddb := duck(t)
			var got string
			must(t, ddb.QueryRow("SELECT concat_ws('|', count(*), sum(id), sum(amount), sum(epoch(date_trunc('second', created_at)))::BIGINT, count(note), count(DISTINCT kind)) FROM "+readParquet(files)).Scan(&got))
			if got != want {
				t.Errorf("DuckDB: %s, PostgreSQL: %s", got, want)
			}
			var mixed, unsorted, found int
			must(t, ddb.QueryRow(`SELECT count(*) FROM (SELECT filename FROM `+strings.Replace(readParquet(files), ", hive", ", filename = true, hive", 1)+`
				GROUP BY filename HAVING count(DISTINCT kind) > 1 OR count(DISTINCT date_trunc('month', created_at)) > 1)`).Scan(&mixed))
			must(t, ddb.QueryRow(`SELECT count(*) FROM (SELECT tenant_id, lag(tenant_id) OVER (PARTITION BY filename ORDER BY file_row_number) AS before
				FROM `+strings.Replace(readParquet(files), ", hive", ", filename = true, file_row_number = true, hive", 1)+`) WHERE before < tenant_id`).Scan(&unsorted))
			must(t, ddb.QueryRow(`SELECT count(*) FROM `+readParquet(files)+` WHERE id = 12345`).Scan(&found)) // by the bloom filters
			if mixed != 0 || unsorted != 0 || found != 1 {
				t.Errorf("%d files of several values, %d rows out of order, %d rows of one id", mixed, unsorted, found)
			}
			// The directories are named as Hive names them, so that a reader can leave out those that it does not need.
			glob := filepath.Join(r.dir, "app", "events", "**", "*.parquet")
			must(t, ddb.QueryRow(`SELECT count(*) FROM read_parquet('`+glob+`', hive_partitioning = true) WHERE created_at_month = '2023-01' AND kind = 'refund'`).Scan(&found))
			var direct int
			must(t, ddb.QueryRow(`SELECT count(*) FROM `+readParquet(files)+` WHERE created_at < '2023-02-01' AND kind = 'refund'`).Scan(&direct))
			if found != direct || found == 0 {
				t.Errorf("by the directories %d rows, by the columns %d", found, direct)
			}
		})
	}
}
