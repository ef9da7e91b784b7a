package embedtemporal

import (
	"context"
	"fmt"
	"io/fs"
	"path"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/server/schema"
	pgschema "go.temporal.io/server/schema/postgresql/v12"
)

// tableSet is one of the two sets of tables.
type tableSet struct {
	schema  string // in the database
	name    string // by which Temporal looks its version up
	source  string // among Temporal's own files
	version string // that this program needs
}

func (p *Postgres) tableSets() []tableSet {
	return []tableSet{
		{p.opt.Schema, mainName, "postgresql/v12/temporal", pgschema.Version},
		{p.opt.Schema + visibilitySuffix, visibilityName, "postgresql/v12/visibility", pgschema.VisibilityVersion},
	}
}

// makeTables makes the store in one transaction: a first start that is killed leaves nothing behind.
func (p *Postgres) makeTables(ctx context.Context, conn *pgx.Conn) (*storeRow, error) {
	row := &storeRow{owner: p.opt.Owner, holder: p.opt.Holder, shards: p.opt.Shards}
	if row.shards == 0 {
		row.shards = DefaultShards
	}
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, set := range p.tableSets() {
			if err := p.makeSchema(ctx, tx, set.schema); err != nil {
				return err
			}
		}
		if err := p.makeExtension(ctx, tx); err != nil {
			return err
		}
		for _, set := range p.tableSets() {
			if err := p.setUp(ctx, tx, set); err != nil {
				return err
			}
		}
		return insertStoreRow(ctx, tx, p.opt.Schema, row)
	})
	if err != nil {
		return nil, p.failed("make the tables", err)
	}
	return row, nil
}

func insertStoreRow(ctx context.Context, tx pgx.Tx, schema string, row *storeRow) error {
	_, err := tx.Exec(ctx, `CREATE TABLE `+storeTable(schema)+` (
		singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
		owner     text NOT NULL,
		shards    integer NOT NULL,
		epoch     bigint NOT NULL DEFAULT 0,
		holder    text NOT NULL,
		since     timestamptz NOT NULL DEFAULT pg_catalog.now())`)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `COMMENT ON TABLE `+storeTable(schema)+` IS 'Spillway: who has this Temporal store. Change nothing here by hand.'`)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO `+storeTable(schema)+` (owner, shards, holder) VALUES ($1::text, $2::int, $3::text)`, row.owner, row.shards, row.holder)
	return err
}

// makeSchema makes a schema, or takes an empty one.
func (p *Postgres) makeSchema(ctx context.Context, tx pgx.Tx, name string) error {
	var exists, mayCreate, empty bool
	err := tx.QueryRow(ctx, `
		SELECT true, pg_catalog.has_schema_privilege(n.oid, 'CREATE'), NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid)
		FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::text
		UNION ALL SELECT false, false, false LIMIT 1`, name).Scan(&exists, &mayCreate, &empty)
	switch {
	case err != nil:
		return err
	case exists && !empty:
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("schema %s holds tables that are not Spillway's", name),
			Hint: "name another with --temporal-store-schema; an existing Temporal cluster is named with --temporal-address"}
	case exists && !mayCreate:
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("role %s may not make tables in schema %s", p.cfg.User, name),
			Hint: fmt.Sprintf("let its owner run: GRANT USAGE, CREATE ON SCHEMA %s TO %s", quote(name), quote(p.cfg.User))}
	case exists:
		return nil
	}
	_, err = tx.Exec(ctx, "CREATE SCHEMA "+quote(name))
	if sqlState(err) == "42501" {
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("role %s may not make the schema %s", p.cfg.User, name), Err: err, Hint: p.rightsHint()}
	}
	return err
}

// makeExtension makes sure of btree_gin, which indexes of the visibility need.
func (p *Postgres) makeExtension(ctx context.Context, tx pgx.Tx) error {
	var there, public bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'btree_gin'),
		       EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public')`).Scan(&there, &public)
	if err != nil || there {
		return err
	}
	// In a schema that outlives this store: another in the same database may use it too.
	home := "public"
	if !public {
		home = p.opt.Schema + visibilitySuffix
	}
	_, err = tx.Exec(ctx, "CREATE EXTENSION btree_gin WITH SCHEMA "+quote(home))
	switch sqlState(err) {
	case "42501":
		return &StoreError{Path: p.where, Msg: fmt.Sprintf("role %s may not make the extension btree_gin", p.cfg.User), Err: err, Hint: p.rightsHint()}
	case "0A000", "58P01":
		return &StoreError{Path: p.where, Msg: "the server has no extension btree_gin", Err: err,
			Hint: "install PostgreSQL's contrib package on the server (postgresql-contrib)"}
	}
	return err
}

func (p *Postgres) rightsHint() string {
	role := quote(p.cfg.User)
	return fmt.Sprintf("let the owner of the database run: GRANT CREATE ON DATABASE %s TO %s; or instead: CREATE EXTENSION IF NOT EXISTS btree_gin; CREATE SCHEMA %s AUTHORIZATION %s; CREATE SCHEMA %s AUTHORIZATION %s",
		quote(p.cfg.Database), role, quote(p.opt.Schema), role, quote(p.opt.Schema+visibilitySuffix), role)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// setUp makes the tables of a set, all at once from Temporal's own file.
func (p *Postgres) setUp(ctx context.Context, tx pgx.Tx, set tableSet) error {
	script, err := fs.ReadFile(schema.Assets(), path.Join(set.source, "schema.sql"))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('search_path', $1::text, true)", quote(set.schema)); err != nil {
		return err
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, versionTables+string(script)).ReadAll(); err != nil {
		return err
	}
	return writeVersion(ctx, tx, set, step{from: "0", to: set.version, compatible: set.version, description: "initial version"})
}

// versionTables are those in which Temporal's server looks for the version of a set.
const versionTables = `
	CREATE TABLE schema_version (version_partition int NOT NULL, db_name varchar(255) NOT NULL, creation_time timestamp,
		curr_version varchar(64), min_compatible_version varchar(64), PRIMARY KEY (version_partition, db_name));
	CREATE TABLE schema_update_history (version_partition int NOT NULL, year int NOT NULL, month int NOT NULL, update_time timestamp NOT NULL,
		description varchar(255), manifest_md5 varchar(64), new_version varchar(64), old_version varchar(64),
		PRIMARY KEY (version_partition, year, month, update_time));
`
