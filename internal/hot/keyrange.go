package hot

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Index is an index along which rows can be found.
type Index struct {
	OID  uint32
	Name string
	// Key is its first column, or "" if rows cannot be cut in ranges along it: it is no B-tree, its first key is an expression,
	// or the type of that has no text that reads back as the same value everywhere.
	Key      string
	Type     string // of the key, as a literal of it is written
	Nullable bool   // the key may be NULL
}

// rangeTypes are the types whose values can be bounds: the text of one, read back, is the same value under every setting.
var rangeTypes = map[uint32]string{
	20: "bigint", 21: "smallint", 23: "integer", 26: "oid", 700: "real", 701: "double precision", 1700: "numeric",
	25: "text", 1042: "bpchar", 1043: "text", 2950: "uuid",
	oidDate: "date", oidTimestamp: "timestamp without time zone", oidTimestamptz: "timestamp with time zone",
}

// Indexes finds the named indexes of tables: names holds, by the oid of a table, one of its indexes. The answer is by that oid
// too; one that is gone is not in it.
func (db *DB) Indexes(ctx context.Context, q Querier, tables []*Table, names map[uint32]string) (map[uint32]Index, error) {
	oids, list := []int64{}, []string{}
	byOID := make(map[uint32]*Table, len(tables))
	for _, t := range tables {
		byOID[t.OID] = t
	}
	for oid, name := range names {
		oids, list = append(oids, int64(oid)), append(list, name)
	}
	rows, err := q.Query(ctx, `
		SELECT i.indrelid, c.oid, c.relname, CASE WHEN am.amname = 'btree' AND i.indisvalid THEN i.indkey[0] ELSE 0 END
		FROM unnest($1::bigint[]::oid[], $2::text[]) AS w(t, name)
		JOIN pg_catalog.pg_index i ON i.indrelid = w.t JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid AND c.relname = w.name
		JOIN pg_catalog.pg_am am ON am.oid = c.relam`, oids, list)
	if err != nil {
		return nil, fmt.Errorf("look up indexes: %w", err)
	}
	out := make(map[uint32]Index, len(names))
	var table uint32
	var x Index
	var key int16
	_, err = pgx.ForEachRow(rows, []any{&table, &x.OID, &x.Name, &key}, func() error {
		x.Key, x.Type, x.Nullable = "", "", false
		for _, c := range byOID[table].Columns {
			if typ := rangeTypes[c.BaseOID]; key > 0 && c.Number == key && typ != "" {
				x.Key, x.Type, x.Nullable = c.Name, typ, !c.NotNull
			}
		}
		out[table] = x
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up indexes: %w", err)
	}
	return out, nil
}

// KeyRange is a range of values of a column, or all rows if it is the zero KeyRange.
type KeyRange struct {
	Column string
	Type   string  // as a literal of it is written
	From   *string // the least value; nil: no bound
	To     *string // the value after the greatest; nil: no bound
	Nulls  bool    // the rows that have no value, and no others
}

// Condition is the range as a predicate, or "" for all rows. Whatever a bound holds, it stays one literal.
func (r *KeyRange) Condition() string {
	if r.Column == "" {
		return ""
	}
	key := pgx.Identifier{r.Column}.Sanitize()
	if r.Nulls {
		return key + " IS NULL"
	}
	var parts []string
	if r.From != nil {
		parts = append(parts, key+" OPERATOR(pg_catalog.>=) "+r.literal(*r.From))
	}
	if r.To != nil {
		parts = append(parts, key+" OPERATOR(pg_catalog.<) "+r.literal(*r.To))
	}
	return strings.Join(parts, " AND ")
}

// literal is a constant of the key's type. standard_conforming_strings is pinned, so a quote is all that needs care.
func (r *KeyRange) literal(v string) string {
	return "'" + strings.ReplaceAll(v, "'", "''") + "'::" + r.Type
}

// maxRepeats is how many chunks one value may fill: a chunk cannot end within it.
const maxRepeats = 4

// ErrUneven is returned by Bounds when too many rows have one value, or none.
var ErrUneven = errors.New("too many rows have the same key")

// Bounds cuts the rows that match along an index, in the order of its key: each bound is the first value of a range, and the rows
// between two bounds are about as many as step says. nulls says that rows without a value match too. It reads the rows, or the
// index alone where that is enough, and keeps none.
func (db *DB) Bounds(ctx context.Context, q Querier, s Scan, x Index, step int64, most int) (bounds []string, nulls bool, err error) {
	key := pgx.Identifier{x.Key}.Sanitize()
	where := func(condition string) string {
		if s.Predicate == "" {
			return condition
		}
		return condition + " AND (" + s.Predicate + "\n)"
	}
	rows, err := q.Query(ctx, fmt.Sprintf(`
		SELECT spillway_key FROM (
			SELECT %s::%s::text AS spillway_key, pg_catalog.row_number() OVER (ORDER BY %s) AS spillway_n FROM ONLY %s) AS spillway_rows
		WHERE spillway_n %% $1 = 0 ORDER BY spillway_n LIMIT $2`, key, x.Type, key, from(s.Schema, s.Table, where(key+" IS NOT NULL"))), step, most)
	if err != nil {
		return nil, false, fmt.Errorf("cut along %s: %w", x.Name, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, false, fmt.Errorf("cut along %s: %w", x.Name, err)
	}
	repeats := 0
	for i, b := range all {
		if i > 0 && b == all[i-1] {
			if repeats++; repeats > maxRepeats {
				return nil, false, ErrUneven
			}
			continue
		}
		repeats = 0
		bounds = append(bounds, b)
	}
	if !x.Nullable {
		return bounds, false, nil
	}
	n, err := db.CountMatching(ctx, q, s.Schema, s.Table, where(key+" IS NULL"), maxRepeats*step+1)
	if err == nil && n > maxRepeats*step {
		err = ErrUneven
	}
	return bounds, n > 0, err
}
