package sqlclient

import (
	"context"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/sqlfront/parse"
)

// View returns the name of a view of Spillway's, ready for SQL. Its schema may have another name than the default: the
// comment on it, which every installation makes, tells.
func (c *Client) View(ctx context.Context, name string) (string, error) {
	rows, err := c.Rows(ctx, `SELECT nspname FROM pg_catalog.pg_namespace
		WHERE pg_catalog.obj_description(oid, 'pg_namespace') LIKE 'Spillway: views of %'
		ORDER BY nspname <> `+Literal(ledger.DefaultSystemSchema)+`, nspname LIMIT 1`)
	if err != nil {
		return "", err
	}
	schema := ledger.DefaultSystemSchema
	if len(rows) > 0 {
		schema = rows[0]["nspname"]
	}
	return parse.QuoteName(schema) + "." + name, nil
}
