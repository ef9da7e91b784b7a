package hot

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Inspect reads everything that decides whether and how a table can be flushed, in one statement, and one more if it has columns
// of arrays, composites or extensions' types. The error is ErrNoTable when nothing has the name.
func (db *DB) Inspect(ctx context.Context, q Querier, schema, table string) (*Table, error) {
	found, err := db.inspect(ctx, q, whichName, schema, table)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, missingTable(schema, table)
	}
	return found[0], nil
}

// InspectAll is Inspect for any number of relations, in as many statements as for one. The answer has their order, with nil for
// those that are gone.
func (db *DB) InspectAll(ctx context.Context, q Querier, names []LeafName) ([]*Table, error) {
	found, err := db.inspect(ctx, q, whichOIDs, oidsOf(names))
	if err != nil {
		return nil, err
	}
	byOID := make(map[uint32]*Table, len(found))
	for _, t := range found {
		byOID[t.OID] = t
	}
	out := make([]*Table, len(names))
	for i, n := range names {
		out[i] = byOID[n.OID]
	}
	return out, nil
}

// oidsOf are the oids in a type that every mode of the driver can send.
func oidsOf(names []LeafName) []int64 {
	out := make([]int64, len(names))
	for i, n := range names {
		out[i] = int64(n.OID)
	}
	return out
}

// extensions that take tables over, as far as they are installed.
type extensions struct{ timescale, citus bool }

func (db *DB) inspect(ctx context.Context, q Querier, which string, args ...any) ([]*Table, error) {
	rows, err := q.Query(ctx, db.inspectSQL(which), args...)
	if err != nil {
		return nil, fmt.Errorf("inspect table: %w", err)
	}
	var ext extensions
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Table, error) {
		t := &Table{Encoding: db.encoding}
		var expressions []tableExpression
		var reltuples float64
		var relpages int64
		err := row.Scan(&t.Schema, &t.Name,
			&t.OID, &t.RelFileNode, &t.RelKind, &t.Persistence, &t.Method, &t.BlockSize, &t.Blocks, &reltuples, &relpages, &t.Partition,
			&t.RLS, &t.HasIdentity, &t.Privileges, &t.PrimaryKey, &t.Columns, &t.Leaves, &t.DeleteRules, &t.DeleteTriggers, &t.InboundFKs, &t.Publications,
			&t.Extension, &ext.timescale, &ext.citus, &t.Ancestors, &t.MayVacuum, &t.Whole, &expressions)
		t.Folded = foldedOf(expressions)
		t.Reserved = db.isReserved(t.Schema)
		t.RowsEstimate = scaledRows(reltuples, relpages, t)
		t.Guessed = t.Blocks > 0 && (reltuples < 0 || relpages <= 0)
		return t, err
	})
	if err == nil {
		err = describeTypes(ctx, q, found)
	}
	if err == nil {
		err = ext.mark(ctx, q, found)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect table: %w", err)
	}
	return found, nil
}

// mark looks into the catalogs of extensions that take tables over, where they are installed, and notes which tables are theirs.
func (e extensions) mark(ctx context.Context, q Querier, tables []*Table) error {
	oids := make([]int64, len(tables))
	for i, t := range tables {
		oids[i] = int64(t.OID)
	}
	for _, x := range []struct {
		there     bool
		name, sql string
	}{
		{e.timescale, "timescaledb", `
			SELECT c.oid FROM _timescaledb_catalog.hypertable h JOIN pg_catalog.pg_namespace n ON n.nspname = h.schema_name
			JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = h.table_name WHERE c.oid = ANY ($1::bigint[]::oid[])`},
		{e.citus, "citus", `SELECT logicalrelid::pg_catalog.oid FROM pg_catalog.pg_dist_partition WHERE logicalrelid::pg_catalog.oid = ANY ($1::bigint[]::oid[])`},
	} {
		if !x.there || len(tables) == 0 {
			continue
		}
		rows, err := q.Query(ctx, x.sql, oids)
		if err != nil {
			return err
		}
		theirs, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			return err
		}
		managed := make(map[uint32]bool, len(theirs))
		for _, oid := range theirs {
			managed[oid] = true
		}
		for _, t := range tables {
			if t.Extension == "" && managed[t.OID] {
				t.Extension = x.name
			}
		}
	}
	return nil
}
