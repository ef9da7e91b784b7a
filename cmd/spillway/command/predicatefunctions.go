package command

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/cli/fail"
	"github.com/spillwaydb/spillway/internal/obs"
)

// signature is what --predicate-functions takes: names with their schema and types, for PostgreSQL to read.
var signature = regexp.MustCompile(`^[^().]+\.[^(.]+\(.*\)$`)

// checkFunctions refuses what names no function.
func checkFunctions(list []string) error {
	for _, f := range list {
		if !signature.MatchString(f) {
			return &fail.Usage{Msg: fmt.Sprintf("--predicate-functions %s: expected schema.name(types)", f), Todo: "for example: app.is_stale(timestamptz)"}
		}
	}
	return nil
}

// predicateFunctions returns the functions of --predicate-functions as PostgreSQL prints them. One that does not exist is
// told in the log and left out: it can have been dropped, and the rest still works.
func (n *node) predicateFunctions() ([]string, error) {
	if len(n.opt.predicateFunctions) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var list []string
	for _, f := range n.opt.predicateFunctions {
		var name *string
		err := pgx.BeginFunc(ctx, n.db.Pool(), func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "SELECT pg_catalog.to_regprocedure($1::text)::text", f).Scan(&name)
		})
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look up --predicate-functions: %w", err)
		}
		if err != nil || name == nil {
			n.log.Warn("a function of --predicate-functions does not exist for the worker, and is not allowed in predicates", "function", f, obs.KeyErr, err)
			continue
		}
		list = append(list, *name)
	}
	return list, nil
}
