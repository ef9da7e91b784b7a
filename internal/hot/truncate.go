package hot

import (
	"context"
	"encoding/json"
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

// EstimateGroups asks PostgreSQL's planner how many different values the expressions have together in the rows of the table
// itself that match, without reading any.
func (db *DB) EstimateGroups(ctx context.Context, q Querier, t *Table, predicate string, exprs []string) (int64, error) {
	var raw []byte
	err := q.QueryRow(ctx, "EXPLAIN (FORMAT JSON) SELECT 1 FROM ONLY "+from(t.Schema, t.Name, predicate)+" GROUP BY "+strings.Join(exprs, ", ")).Scan(&raw)
	if err != nil {
		return 0, fmt.Errorf("estimate values: %w", err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(raw, &plans); err != nil {
		return 0, fmt.Errorf("estimate values: unexpected plan: %w", err)
	}
	if len(plans) != 1 {
		return 0, fmt.Errorf("estimate values: %d plans", len(plans))
	}
	return int64(plans[0].Plan.Rows), nil
}

// unitSeconds is about how long a unit is.
var unitSeconds = map[string]float64{UnitYear: 365.25 * 86400, UnitMonth: 30.4 * 86400, UnitDay: 86400, UnitHour: 3600}

// EstimateUnits says by the statistics of a column of times over how many units it stretches. Not ok: there are none, for
// nobody has run ANALYZE.
func (db *DB) EstimateUnits(ctx context.Context, q Querier, t *Table, column, unit string) (units int64, ok bool, err error) {
	var seconds *float64
	err = q.QueryRow(ctx, `
		SELECT max(extract(epoch FROM s.b[pg_catalog.array_upper(s.b, 1)] - s.b[1]))::pg_catalog.float8
		FROM (SELECT histogram_bounds::pg_catalog.text::pg_catalog.timestamp[] AS b FROM pg_catalog.pg_stats
		      WHERE schemaname = $1 AND tablename = $2 AND attname = $3 AND histogram_bounds IS NOT NULL) AS s
		WHERE pg_catalog.isfinite(s.b[1]) AND pg_catalog.isfinite(s.b[pg_catalog.array_upper(s.b, 1)])`, t.Schema, t.Name, column).Scan(&seconds)
	if err != nil {
		return 0, false, fmt.Errorf("estimate times: %w", err)
	}
	if seconds == nil {
		return 0, false, nil
	}
	return int64(*seconds/unitSeconds[unit]) + 2, true, nil
}
