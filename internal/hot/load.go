package hot

import (
	"context"
	"fmt"
	"time"
)

// Lag is how far replication is behind.
type Lag struct {
	Bytes int64         // of WAL, of the standby or slot that is furthest behind; 0 without any
	Time  time.Duration // the longest that a connected standby reports between a flush here and its replay there
}

// ReadsReplication reports whether this role sees how far standbys are. Others see their connections, with NULLs.
func (db *DB) ReadsReplication(ctx context.Context) (bool, error) {
	var ok bool
	if err := db.pool.QueryRow(ctx, `SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')`).Scan(&ok); err != nil {
		return false, fmt.Errorf("look at rights: %w", err)
	}
	return ok, nil
}

// ReplicationLag measures. A slot counts by the WAL that it makes the server keep, whether somebody is connected to it or not,
// a logical one by what its reader has confirmed; one that was given up does not. It needs pg_read_all_stats.
func (db *DB) ReplicationLag(ctx context.Context) (Lag, error) {
	var bytes, micros int64
	err := db.pool.QueryRow(ctx, `
		SELECT greatest(0, (SELECT max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn, write_lsn, sent_lsn)))
		                    FROM pg_catalog.pg_stat_replication WHERE state <> 'backup'),
		                   (SELECT max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), coalesce(confirmed_flush_lsn, restart_lsn)))
		                    FROM pg_catalog.pg_replication_slots WHERE restart_lsn IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'))::bigint,
		       coalesce((SELECT extract(epoch FROM max(replay_lag)) * 1000000 FROM pg_catalog.pg_stat_replication), 0)::bigint`).Scan(&bytes, &micros)
	if err != nil {
		return Lag{}, fmt.Errorf("measure replication lag: %w", err)
	}
	return Lag{Bytes: bytes, Time: time.Duration(micros) * time.Microsecond}, nil
}

// LockWaiters counts the sessions that wait for a lock of the tables, or for a transaction of ours to end. Sessions of ours do not
// count. It needs no right.
func (db *DB) LockWaiters(ctx context.Context, oids []uint32) (int, error) {
	wide := make([]int64, len(oids))
	for i, oid := range oids {
		wide[i] = int64(oid)
	}
	var n int
	err := db.pool.QueryRow(ctx, `
		WITH ours AS MATERIALIZED (
			SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'spillway%' AND usename = current_user
		), locks AS MATERIALIZED (
			SELECT pid, granted, locktype, database, relation, transactionid FROM pg_catalog.pg_locks
		)
		SELECT count(DISTINCT w.pid)::integer
		FROM locks AS w
		WHERE NOT w.granted AND w.pid NOT IN (SELECT pid FROM ours)
		  AND (w.relation = ANY ($1::bigint[]::oid[]) AND w.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
		    OR w.locktype = 'transactionid' AND w.transactionid IN (SELECT transactionid FROM locks WHERE granted AND locktype = 'transactionid' AND pid IN (SELECT pid FROM ours)))`,
		wide).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count lock waiters: %w", err)
	}
	return n, nil
}
