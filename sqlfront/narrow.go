package sqlfront

import (
	"context"
	"strings"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// narrowed is a statement that can see few of the live jobs. PostgreSQL applies its whole condition all the same, so that one
// job too many does no harm; one too few would be a silent wrong answer. Hence only what never changes in a job's life is
// asked for, and the view gives the list to that statement alone, and once: see handed_over in the ledger's views.sql.
type narrowed struct {
	text string // of the statement that runs, as PostgreSQL's current_query() has it
	only *parse.Narrowing
}

func narrowFor(text string, only *parse.Narrowing) *narrowed {
	if only == nil {
		return nil
	}
	return &narrowed{text: text, only: only}
}

func (n *narrowed) narrowing() *parse.Narrowing {
	if n == nil {
		return nil
	}
	return n.only
}

// trusted returns n if the statement's functions and operators are PostgreSQL's own. A user's could be better matches, whatever the
// search_path, and could read the view themselves: then nil, for the whole list.
func (n *narrowed) trusted(ctx context.Context, up pgwire.Upstream) (*narrowed, error) {
	if n == nil {
		return nil, nil
	}
	rows, err := up.Query(ctx, `
		SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS p
		                   WHERE p.proname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[])
		                     AND p.pronamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)
		   AND NOT EXISTS (SELECT FROM pg_catalog.pg_operator AS o
		                   WHERE o.oprname OPERATOR(pg_catalog.=) ANY ('{=,<>,<,>,<=,>=,+,-,*,~~,!~~,~~*,!~~*}'::pg_catalog.name[])
		                     AND o.oprnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
		                     AND o.oprleft OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND o.oprright OPERATOR(pg_catalog.<) 16384::pg_catalog.oid)`,
		"{"+strings.Join(n.only.Functions, ",")+"}")
	if err != nil || len(rows) != 1 || str(rows[0][0]) != "t" {
		return nil, err
	}
	return n, nil
}

// jobsOf returns which live jobs to ask for. False: none, for there is no job with such an id.
func jobsOf(only *parse.Narrowing) (jobmanager.JobFilter, bool) {
	var f jobmanager.JobFilter
	if only == nil {
		return f, true
	}
	for _, text := range only.JobIDs {
		if id, err := jobmanager.ParseJobID(text); err == nil {
			f.IDs = append(f.IDs, id)
		}
	}
	if len(only.JobIDs) > 0 {
		return f, len(f.IDs) > 0
	}
	f.Targets = only.Targets
	if len(only.Types) == 1 {
		f.Type = jobmanager.JobType(only.Types[0])
	}
	return f, true
}
