package embedtemporal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A process that lost the lock may not know it yet: it was frozen, or a router between it and the server was. The fence keeps
// its connections from writing. Each connection of Temporal holds a shared advisory lock and, after it has that, looks at the
// epoch of the store. Who takes the store raises the epoch first, and then ends every session that still holds the shared
// lock and waits until there is none: those that came before are gone, those that come later read an epoch that is not theirs.
const fenceRetry = 50 * time.Millisecond

// storeRow is what the store says of itself.
type storeRow struct {
	owner  string
	holder string
	shards int
}

// storeTable is the store's own table, beside those of Temporal.
func storeTable(schema string) string { return pgx.Identifier{schema, "spillway_store"}.Sanitize() }

// readStoreRow returns nil if there is no store yet.
func readStoreRow(ctx context.Context, conn *pgx.Conn, schema string) (*storeRow, error) {
	var there bool
	// In the catalogs, which say so of schemas too that this role may not use.
	err := conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1::text AND c.relname = 'spillway_store')`, schema).Scan(&there)
	if err != nil || !there {
		return nil, err
	}
	var row storeRow
	err = conn.QueryRow(ctx, `SELECT owner, holder, shards FROM `+storeTable(schema)).Scan(&row.owner, &row.holder, &row.shards)
	return &row, err
}

// fence shuts everybody else out, and returns when nobody else can write any more.
func (p *Postgres) fence(ctx context.Context, conn *pgx.Conn) error {
	err := conn.QueryRow(ctx, `UPDATE `+storeTable(p.opt.Schema)+`
		SET epoch = epoch + 1, holder = $1::text, since = pg_catalog.now() RETURNING epoch`, p.opt.Holder).Scan(&p.epoch)
	if err != nil {
		return p.failed("take the tables", err)
	}
	tick := time.NewTicker(fenceRetry)
	defer tick.Stop()
	for told := false; ; told = true {
		free, ended, err := p.endOthers(ctx, conn)
		switch {
		case err != nil:
			return p.failed("end the sessions of the process that had it before", err)
		case free:
			return nil
		case !told:
			p.opt.Logger.Warn("ending sessions of the process that had the Temporal store before", "sessions", ended)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// endOthers asks the server to end every session of Temporal's that there is, and reports whether there was none.
func (p *Postgres) endOthers(ctx context.Context, conn *pgx.Conn) (free bool, ended int, err error) {
	key := storeKey(p.opt.Schema, "sessions")
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1::bigint)`, key).Scan(&free); err != nil {
		return false, 0, err
	}
	if free {
		_, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1::bigint)`, key)
		return true, 0, err
	}
	err = conn.QueryRow(ctx, `
		SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(k.pid))::int FROM pg_catalog.pg_locks k
		WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1 AND k.classid = $1::bigint::oid AND k.objid = $2::bigint::oid
		  AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
		  AND k.pid <> pg_catalog.pg_backend_pid()`, int64(uint64(key)>>32), int64(uint32(key))).Scan(&ended)
	return false, ended, err
}

// admit lets a new connection of Temporal's in, if this process still has the store.
func (p *Postgres) admit(ctx context.Context, conn *pgx.Conn) error {
	err := p.admitted(ctx, conn)
	if err != nil {
		closeSoon(conn) // who called us does not
		return err
	}
	// Temporal keeps durations as nanoseconds; pgx would make intervals of them where it has to write them as text.
	conn.TypeMap().RegisterDefaultPgType(time.Duration(0), "int8")
	conn.TypeMap().RegisterDefaultPgType((*time.Duration)(nil), "int8")
	return nil
}

func (p *Postgres) admitted(ctx context.Context, conn *pgx.Conn) error {
	if err := p.Err(); err != nil {
		return err
	}
	var got bool
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock_shared($1::bigint)`, storeKey(p.opt.Schema, "sessions")).Scan(&got); err != nil {
		return err
	}
	var epoch int64
	if got { // in a statement of its own: its snapshot must be younger than the lock
		if err := conn.QueryRow(ctx, `SELECT epoch FROM `+storeTable(p.opt.Schema)).Scan(&epoch); err != nil {
			return err
		}
	}
	if epoch != p.epoch {
		return fmt.Errorf("%w: another process took it", ErrStoreLost)
	}
	return nil
}

// sqlState is PostgreSQL's code of an error, or "".
func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}
