package sqlclient

import (
	"context"
	"strings"

	"github.com/spillwaydb/spillway/internal/cli/show"
)

// Questions for Names.
const (
	// TableNames are the tables and partitioned tables, without Spillway's own.
	TableNames = `SELECT n.nspname || '.' || c.relname AS name, CASE c.relkind WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS about
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'spillway')
		  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') ORDER BY 1 LIMIT 5000`
	// AllJobs are the newest 500 jobs.
	AllJobs = `SELECT job_id AS name, status AS about FROM @jobs ORDER BY created_at DESC LIMIT 500`
)

// Named is a name that the server knows.
type Named struct{ Name, About string }

// Names runs a question: a query of the columns name and, for what is shown beside it, about. @ stands for the schema of Spillway's views.
func (c *Client) Names(ctx context.Context, query string) ([]Named, error) {
	if before, after, ok := strings.Cut(query, "@"); ok {
		view, _, _ := strings.Cut(after, " ")
		name, err := c.View(ctx, view)
		if err != nil {
			return nil, err
		}
		query = before + name + after[len(view):]
	}
	rows, err := c.Rows(ctx, query)
	if err != nil {
		return nil, err
	}
	var out []Named
	for _, r := range rows {
		about := r["about"]
		if about == "" {
			about = r["location"]
		}
		out = append(out, Named{Name: r["name"], About: show.Printable([]byte(about))})
	}
	return out, nil
}

// QuotedNames are all tables and views as name, each as SQL wants it written.
const QuotedNames = `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS name
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') ORDER BY 1 LIMIT 5000`
