package hot

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// KeepLimit is the value of a column from which on rows are kept. None means that all are: there are not more of them.
type KeepLimit struct {
	Value string `json:",omitempty"` // as PostgreSQL writes it under UTC and ISO dates
	Type  string `json:",omitempty"` // of the constant
	None  bool   `json:",omitempty"`
}

// keepTypes are the types of columns along which the newest rows can be told: times, and numbers that a sequence gives.
var keepTypes = map[uint32]string{
	20: "bigint", 21: "bigint", 23: "bigint",
	oidDate: "date", oidTimestamp: "timestamp without time zone", oidTimestamptz: "timestamp with time zone",
}

// keepType is the type of the constant that a column is compared with.
func (t *Table) keepType(column string) (string, error) {
	for _, c := range t.Columns {
		if c.Name != column {
			continue
		}
		if typ := keepTypes[c.BaseOID]; typ != "" {
			return typ, nil
		}
		return "", orderErrorf("column %q of table %s.%s is of type %s: only times and whole numbers tell which rows are the newest", column, t.Schema, t.Name, c.Declared)
	}
	return "", orderErrorf("table %s.%s has no column %q, by which its newest rows are to stay", t.Schema, t.Name, column)
}

// KeepLimit finds the value that the n-th newest row of a table has in a column: of all its partitions together, rows without a
// value left out. It reads up to n rows of an index, or else the whole table. An error about the column is *OrderError.
func (db *DB) KeepLimit(ctx context.Context, t *Table, column string, n int64) (KeepLimit, error) {
	l := KeepLimit{}
	var err error
	if l.Type, err = t.keepType(column); err != nil {
		return l, err
	}
	only := "ONLY "
	if t.Partitioned() {
		only = ""
	}
	name := pgx.Identifier{column}.Sanitize()
	sql := fmt.Sprintf("SELECT spillway_kept::%s::text FROM (SELECT %s AS spillway_kept FROM %s%s WHERE %s IS NOT NULL ORDER BY 1 DESC OFFSET $1 LIMIT 1) AS x",
		l.Type, name, only, pgx.Identifier{t.Schema, t.Name}.Sanitize(), name)
	err = db.Briefly(ctx, func(q Querier) error {
		if _, err := q.Exec(ctx, `SELECT pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('datestyle', 'ISO, MDY', true)`); err != nil {
			return err
		}
		return q.QueryRow(ctx, sql, n-1).Scan(&l.Value)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return KeepLimit{None: true}, nil
	}
	if err != nil {
		return l, fmt.Errorf("find the newest rows of %s.%s: %w", t.Schema, t.Name, err)
	}
	return l, nil
}

// OrderError is about a column that cannot tell which rows are the newest.
type OrderError struct{ msg string }

func (e *OrderError) Error() string { return e.msg }

func orderErrorf(format string, args ...any) error { return &OrderError{fmt.Sprintf(format, args...)} }

// NotKept is a predicate that holds for the rows below the limit. It names the column without its table, and ends as OlderThan's does.
func (t *Table) NotKept(column string, l KeepLimit) (string, error) {
	typ, err := t.keepType(column)
	switch {
	case err != nil:
		return "", err
	case l.None:
		return "false", nil
	case typ != l.Type:
		return "", orderErrorf("column %q of table %s.%s was of type %s when the newest rows were looked for", column, t.Schema, t.Name, l.Type)
	}
	name := pgx.Identifier{column}.Sanitize()
	return fmt.Sprintf("(%s OPERATOR(pg_catalog.<) '%s'::%s) AND CASE WHEN true THEN true ELSE COALESCE(%s, NULL::%s) IS NULL END", name, l.Value, typ, name, typ), nil
}
