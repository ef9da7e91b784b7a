package embedtemporal

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// PostgresReport is what can be seen of a store without taking it.
type PostgresReport struct {
	Where    string // without a password
	Address  string // host:port, or all of them
	Database string
	Version  string // of PostgreSQL
	Made     bool
	Shards   int    // of one that is made
	Owner    string // of one that is made
	Holder   string // who has it now, or had it last
	Held     bool   // somebody has it now
	Trouble  error  // why it could not be made or used by these options: *StoreError; nil if it could
}

// InspectPostgres looks at a store and changes nothing. An empty Owner fits every store. Error: *StoreError if nothing can be
// seen.
func InspectPostgres(ctx context.Context, o *PostgresOptions) (*PostgresReport, error) {
	p, err := newPostgres(o)
	if err != nil {
		return nil, err
	}
	conn, err := p.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	defer closeSoon(conn)
	r := &PostgresReport{Where: p.where, Address: storeAddress(p.cfg), Database: p.cfg.Database, Version: conn.PgConn().ParameterStatus("server_version")}
	row, err := readStoreRow(ctx, conn, p.opt.Schema)
	if err != nil {
		return nil, p.failed("look at the tables", err)
	}
	if row == nil {
		r.Trouble = p.tryMaking(ctx, conn)
		return r, nil
	}
	r.Made, r.Shards, r.Owner, r.Holder = true, row.shards, row.owner, row.holder
	if p.opt.Owner == "" {
		p.opt.Owner = row.owner
	}
	r.Trouble = p.checkRow(row)
	key := storeKey(p.opt.Schema, "holder")
	err = conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_locks k
		WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1 AND k.classid = $1::bigint::oid AND k.objid = $2::bigint::oid
		  AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))`,
		int64(uint64(key)>>32), int64(uint32(key))).Scan(&r.Held)
	if err != nil {
		return nil, p.failed("look at the lock", err)
	}
	return r, nil
}

// tryMaking makes schemas and extension, and takes it back: PostgreSQL knows best what this role may do.
func (p *Postgres) tryMaking(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return p.failed("begin", err)
	}
	for _, set := range p.tableSets() {
		if err == nil {
			err = p.makeSchema(ctx, tx, set.schema)
		}
	}
	if err == nil {
		err = p.makeExtension(ctx, tx)
	}
	if rollbackErr := tx.Rollback(ctx); err == nil && rollbackErr != nil {
		err = rollbackErr
	}
	if err != nil {
		return p.failed("try to make the tables", err)
	}
	return nil
}
