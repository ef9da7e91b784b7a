package hot

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// TableName names a table, whether it exists or not.
type TableName struct{ Schema, Name string }

// Place is where the rows of a table are.
type Place struct {
	OID         uint32 // 0: there is no such table
	Partitioned bool
	Leaves      []uint32 // the tables that hold rows: the table itself, or its partitions at the lowest level
}

// Pulse says how far the server's WAL has come, and what time it is there. Nothing was committed between two pulses with the same
// position. Where the server does not tell it, the position is "".
func (db *DB) Pulse(ctx context.Context) (position string, now time.Time, err error) {
	err = db.pool.QueryRow(ctx, `SELECT pg_catalog.pg_current_wal_insert_lsn()::text, pg_catalog.clock_timestamp()`).Scan(&position, &now)
	if state := SQLState(err); state == "0A000" || state == "55000" || state == "42501" {
		err = db.pool.QueryRow(ctx, `SELECT '', pg_catalog.clock_timestamp()`).Scan(&position, &now)
	}
	if err != nil {
		return "", time.Time{}, fmt.Errorf("ask for the position of the WAL: %w", err)
	}
	return position, now, nil
}

// Locate finds tables by name, in one statement.
func (db *DB) Locate(ctx context.Context, names []TableName) ([]Place, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.Schema, n.Name
	}
	rows, err := db.pool.Query(ctx, `
		SELECT coalesce(c.oid, 0)::bigint, coalesce(c.relkind = 'p', false),
		       CASE WHEN c.relkind = 'p'
		            THEN coalesce((SELECT pg_catalog.array_agg(l.relid::oid::bigint) FROM pg_catalog.pg_partition_tree(c.oid) AS l WHERE l.isleaf), '{}')
		            WHEN c.oid IS NULL THEN '{}' ELSE ARRAY[c.oid::bigint] END
		FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) WITH ORDINALITY AS want (schema, name, n)
		LEFT JOIN pg_catalog.pg_namespace AS s ON s.nspname = want.schema
		LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relname = want.name AND c.relkind IN ('r', 'p')
		ORDER BY want.n`, schemas, tables)
	if err != nil {
		return nil, fmt.Errorf("find tables: %w", err)
	}
	places, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Place, err error) {
		var oid int64
		var leaves []int64
		err = row.Scan(&oid, &p.Partitioned, &leaves)
		p.OID = uint32(oid)
		for _, l := range leaves {
			p.Leaves = append(p.Leaves, uint32(l))
		}
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("find tables: %w", err)
	}
	return places, nil
}

// Changes returns, for each table, how many rows PostgreSQL counted as inserted, updated and deleted. The counters lag behind: a
// session tells of its last transactions only after some seconds. They tell that a table changed, never that it did not.
func (db *DB) Changes(ctx context.Context, oids []uint32) ([]int64, error) {
	return db.perTable(ctx, oids, "read the counters of tables",
		`coalesce(pg_catalog.pg_stat_get_tuples_inserted(o) + pg_catalog.pg_stat_get_tuples_updated(o) + pg_catalog.pg_stat_get_tuples_deleted(o), 0)`)
}

// Heap returns, for each table, how many bytes its heap has; -1: the table is gone. It is exact.
func (db *DB) Heap(ctx context.Context, oids []uint32) ([]int64, error) {
	return db.perTable(ctx, oids, "measure tables", `coalesce(pg_catalog.pg_relation_size(o), -1)`)
}

// Stored returns, for each table, how many bytes it has with TOAST and without indexes; -1: the table is gone.
func (db *DB) Stored(ctx context.Context, oids []uint32) ([]int64, error) {
	return db.perTable(ctx, oids, "measure tables", `coalesce(pg_catalog.pg_table_size(o), -1)`)
}

// Look is Inspect on a connection of the pool.
func (db *DB) Look(ctx context.Context, schema, table string) (*Table, error) {
	return db.Inspect(ctx, db.pool, schema, table)
}

// perTable asks for one number per table, in one statement with one answer.
func (db *DB) perTable(ctx context.Context, oids []uint32, step, number string) ([]int64, error) {
	if len(oids) == 0 {
		return nil, nil
	}
	wide := make([]int64, len(oids))
	for i, oid := range oids {
		wide[i] = int64(oid)
	}
	var out []int64
	err := db.pool.QueryRow(ctx, `SELECT pg_catalog.array_agg(`+number+` ORDER BY n) FROM unnest($1::bigint[]::oid[]) WITH ORDINALITY AS t (o, n)`, wide).Scan(&out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", step, err)
	}
	if len(out) != len(oids) {
		return nil, fmt.Errorf("%s: %d answers about %d tables", step, len(out), len(oids))
	}
	return out, nil
}

// rowHeader is what a row takes on its page beside its columns.
const rowHeader = 28

// Tally asks how many rows match.
type Tally struct {
	Schema, Table string
	Partitioned   bool
	Predicate     string
	Most          int64 // count no further than this; at least 1
	Keep          int64 // so many rows of the table, those newest by AgeColumn, do not count
	AgeColumn     string
	Columns       []string // with these, the bytes of the rows are added up
	Patience      time.Duration
}

// TallyUp counts the rows of a table that match, as far as they are wanted, and adds up their bytes in the heap and TOAST as they
// are stored. SQLSTATE 57014 is the end of its patience.
func (db *DB) TallyUp(ctx context.Context, t Tally) (rows, bytes int64, err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		return 0, 0, connectError(err)
	}
	defer conn.Release()
	// One message, and so one transaction: the settings end with it.
	sql := fmt.Sprintf("SELECT pg_catalog.set_config('statement_timeout', '%d', true), pg_catalog.set_config('lock_timeout', '%d', true); %s",
		max(t.Patience.Milliseconds(), 1), briefLock.Milliseconds(), t.sql())
	results, err := conn.Conn().PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return 0, 0, fmt.Errorf("count rows: %w", err)
	}
	if len(results) != 2 || len(results[1].Rows) != 1 || len(results[1].Rows[0]) != 2 {
		return 0, 0, fmt.Errorf("count rows: %d results", len(results))
	}
	for i, to := range []*int64{&rows, &bytes} {
		if *to, err = strconv.ParseInt(string(results[1].Rows[0][i]), 10, 64); err != nil {
			return 0, 0, fmt.Errorf("count rows: %w", err)
		}
	}
	return rows, bytes, nil
}

func (t Tally) sql() string {
	only := "ONLY "
	if t.Partitioned {
		only = ""
	}
	predicate := t.Predicate
	if t.Keep > 0 && t.AgeColumn != "" { // the newest of the whole table, whatever else matches
		age := pgx.Identifier{t.AgeColumn}.Sanitize()
		kept := fmt.Sprintf("%s OPERATOR(pg_catalog.<) (SELECT spillway_age FROM (SELECT %s AS spillway_age FROM %s%s WHERE %s IS NOT NULL ORDER BY 1 DESC OFFSET %d LIMIT 1) AS spillway_kept)",
			age, age, only, from(t.Schema, t.Table, ""), age, t.Keep-1)
		if predicate != "" {
			kept = "(" + predicate + "\n) AND " + kept
		}
		predicate = kept
	}
	return "SELECT n, b::bigint FROM (" + t.count(only, predicate, t.Most) + ") AS spillway_tally"
}

// count is a query for the number n and the bytes b of rows.
func (t Tally) count(only, predicate string, most int64) string {
	size, sum := "1", "0::numeric"
	if len(t.Columns) > 0 {
		parts := []string{strconv.Itoa(rowHeader)}
		for _, c := range t.Columns {
			parts = append(parts, "coalesce(pg_catalog.pg_column_size("+pgx.Identifier{c}.Sanitize()+"), 0)")
		}
		size, sum = strings.Join(parts, " + ")+" AS spillway_size", "coalesce(pg_catalog.sum(spillway_size), 0)"
	}
	return fmt.Sprintf("SELECT pg_catalog.count(*) AS n, %s AS b FROM (SELECT %s FROM %s%s LIMIT %d) AS spillway_some", sum, size, only, from(t.Schema, t.Table, predicate), most)
}
