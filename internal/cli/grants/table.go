package grants

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// Table is a table with what the script has to know about it. Names are quoted where they need it.
type Table struct {
	schema, name, column string
	partitions           []Table // the whole tree below, by partitioning or inheritance, leaves included
}

// LookUp finds a table and the partitions below it.
func LookUp(ctx context.Context, db hot.Querier, name string) (Table, error) {
	if !strings.Contains(name, ".") {
		return Table{}, fail.Usagef("grants: %q: expected schema.table", name)
	}
	// The column: the first of the primary key, or else the first of all.
	const query = `
		WITH RECURSIVE below(oid) AS (SELECT to_regclass($1)::oid UNION SELECT i.inhrelid FROM below JOIN pg_catalog.pg_inherits i ON i.inhparent = below.oid)
		SELECT c.relname, n.nspname, coalesce((
			SELECT a.attname FROM pg_catalog.pg_attribute a
			LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = i.indkey[0]
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			ORDER BY i.indrelid IS NULL, a.attnum LIMIT 1), '')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid IN (SELECT oid FROM below) AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
		ORDER BY c.oid <> to_regclass($1)::oid, n.nspname, c.relname`
	rows, err := db.Query(ctx, query, name)
	if err != nil {
		return Table{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Table, error) {
		var t Table
		err := row.Scan(&t.name, &t.schema, &t.column)
		t.name, t.schema, t.column = parse.QuoteName(t.name), parse.QuoteName(t.schema), parse.QuoteName(t.column)
		return t, err
	})
	if err != nil {
		return Table{}, fmt.Errorf("look up table %s: %w", name, err)
	}
	if len(found) == 0 {
		return Table{}, fail.Hint(fmt.Errorf("table %s does not exist", name), "names are spelled as in SQL: app.events, app.\"Odd Name\"")
	}
	t := found[0]
	t.partitions = found[1:]
	return t, nil
}

func tableTo(p func(string, ...any), t Table, role string) {
	p("GRANT SELECT, DELETE ON TABLE %s.%s TO %s;", t.schema, t.name, role)
	if t.column != "" {
		p("GRANT UPDATE (%s) ON TABLE %s.%s TO %s;", t.column, t.schema, t.name, role)
	}
}
