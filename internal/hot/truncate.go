package hot

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Units of time to which rows can be brought together.
const (
	UnitYear  = "year"
	UnitMonth = "month"
	UnitDay   = "day"
	UnitHour  = "hour"
)

// TruncatedText is the expression that brings a column's time cut to a unit, in PostgreSQL's output form: a date, or with
// UnitHour a timestamp. Times with a zone are cut in UTC, whatever the session's zone is; infinity stays what it is. It
// fails for columns that hold no date.
func (t *Table) TruncatedText(column, unit string) (string, error) {
	c, ok := t.Column(column)
	if !ok {
		return "", fmt.Errorf("column %q does not exist", column)
	}
	name := pgx.Identifier{column}.Sanitize()
	switch {
	case c.BaseOID == oidTimestamptz && !c.HasElem:
		name = "pg_catalog.timezone('UTC', " + name + ")"
	case c.BaseOID == oidTimestamp:
	case c.BaseOID == oidDate && unit == UnitDay:
		return textOf(name), nil
	case c.BaseOID == oidDate && unit != UnitHour:
		name += "::pg_catalog.timestamp"
	case c.BaseOID == oidDate:
		return "", fmt.Errorf("column %q is of type %s, which has no hours", column, c.Declared)
	default:
		return "", fmt.Errorf("column %q is of type %s, expected date, timestamp or timestamptz", column, c.Declared)
	}
	cut := "pg_catalog.date_trunc('" + unit + "', " + name + ")"
	if unit != UnitHour {
		cut += "::pg_catalog.date"
	}
	return textOf(cut), nil
}

// textOf brings an expression that is no row in PostgreSQL's output form: see ReturningText.
func textOf(expr string) string {
	return "CASE WHEN " + expr + " IS NOT NULL THEN pg_catalog.concat(" + expr + ") END"
}

// Column finds a column by its name.
func (t *Table) Column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

// CheckSort asks PostgreSQL whether a table's rows can be sorted so, without reading any. The error is PostgreSQL's own where
// they cannot.
func (db *DB) CheckSort(ctx context.Context, q Querier, t *Table, keys []string, sort []SortKey) error {
	var order []string
	for _, k := range keys {
		order = append(order, k+` COLLATE pg_catalog."C"`)
	}
	for _, k := range sort {
		order = append(order, k.Expr+k.direction())
	}
	rows, err := q.Query(ctx, "EXPLAIN SELECT 1 FROM ONLY "+t.Ident()+" ORDER BY "+strings.Join(order, ", "))
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}
