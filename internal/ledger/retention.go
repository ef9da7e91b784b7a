package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ForgetJobs removes what is left of jobs that ended longer than keep ago: their history, plans, failures, findings and
// requests, of at most limit jobs. Segments stay, and so do attempts and the chunks of jobs that moved rows, which say what became
// of these. It returns how many jobs it removed.
func (l *Ledger) ForgetJobs(ctx context.Context, keep time.Duration, limit int) (int64, error) {
	// A job was created before it ended, and by that time there is an index.
	tag, err := l.pool.Exec(ctx, l.expand(`
		WITH old AS (
			SELECT job_id, job_type, request_id FROM @schema@.job_history
			WHERE created_at < pg_catalog.now() - $1::bigint * interval '1 microsecond' AND finished_at < pg_catalog.now() - $1::bigint * interval '1 microsecond'
			ORDER BY created_at LIMIT $2::int FOR UPDATE SKIP LOCKED
		), planned AS (
			DELETE FROM @schema@.plans AS p USING old WHERE p.job_id = old.job_id RETURNING p.request_id
		), failed AS (
			DELETE FROM @schema@.failures AS f USING old WHERE f.job_id = old.job_id
		), found AS (
			DELETE FROM @schema@.findings AS f USING old WHERE f.job_id = old.job_id
		), looked AS (
			DELETE FROM @schema@.chunks AS c USING old WHERE c.job_id = old.job_id AND old.job_type IN ('verify', 'cleanup')
		), asked AS (
			DELETE FROM @schema@.requests AS r WHERE r.request_id IN (SELECT request_id FROM planned UNION ALL SELECT request_id FROM old)
		)
		DELETE FROM @schema@.job_history AS h USING old WHERE h.job_id = old.job_id`), keep.Microseconds(), limit)
	return tag.RowsAffected(), wrap("forget old jobs", err)
}

// Alone calls fn unless another process is at the same task of this ledger, and reports whether it did. The lock is a
// session's: should that end early, two may be at the task at once, which fn has to bear.
func (l *Ledger) Alone(ctx context.Context, task string, fn func(context.Context) error) (ran bool, err error) {
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return false, wrap(task, err)
	}
	defer conn.Release()
	key := l.tableKey("", task) // no table has an empty schema
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1::bigint)`, key).Scan(&ran); err != nil || !ran {
		return false, wrap(task, err)
	}
	defer l.unlock(ctx, conn.Conn(), key)
	return true, fn(ctx)
}

// unlock gives a lock back, if need be with the connection.
func (l *Ledger) unlock(ctx context.Context, conn *pgx.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockPatience)
	defer cancel()
	if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1::bigint)`, key); err != nil {
		closeSoon(conn) // the pool drops it
	}
}
