package hot

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// briefLock is how long a look at a table waits for those who lock it whole: a look is never worth more.
const briefLock = 100 * time.Millisecond

const setBriefLock = `SELECT pg_catalog.set_config('lock_timeout', $1, true)`

// Briefly runs f in a transaction that waits for no lock longer than a moment and that is rolled back at the end. Where a
// lock stands in the way, the error's SQLSTATE is 55P03.
func (db *DB) Briefly(ctx context.Context, f func(q Querier) error) error {
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return connectError(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, setBriefLock, milliseconds(briefLock)); err != nil {
		return fmt.Errorf("set lock_timeout: %w", err)
	}
	return f(tx)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// Space is what tables take up together.
type Space struct {
	Bytes     int64      // with indexes and TOAST
	LiveRows  int64      // by PostgreSQL's statistics
	DeadRows  int64      // the same; they lag behind by about a second
	VacuumEnd *time.Time // when a VACUUM of any of them last ended
}

// Space measures tables by their oids, in one round trip. A table that is gone counts as nothing.
func (db *DB) Space(ctx context.Context, oids []uint32) (Space, error) {
	wide := make([]int64, len(oids))
	for i, oid := range oids {
		wide[i] = int64(oid)
	}
	var b pgx.Batch // one implicit transaction
	b.Queue(setBriefLock, milliseconds(briefLock))
	b.Queue(`
		SELECT coalesce(sum(pg_catalog.pg_total_relation_size(o)), 0)::bigint,
		       coalesce(sum(pg_catalog.pg_stat_get_live_tuples(o)), 0)::bigint, coalesce(sum(pg_catalog.pg_stat_get_dead_tuples(o)), 0)::bigint,
		       max(greatest(pg_catalog.pg_stat_get_last_vacuum_time(o), pg_catalog.pg_stat_get_last_autovacuum_time(o)))
		FROM unnest($1::bigint[]::oid[]) AS o`, wide)
	res := db.pool.SendBatch(ctx, &b)
	defer res.Close()
	var s Space
	if _, err := res.Exec(); err != nil {
		return s, fmt.Errorf("measure tables: %w", err)
	}
	if err := res.QueryRow().Scan(&s.Bytes, &s.LiveRows, &s.DeadRows, &s.VacuumEnd); err != nil {
		return s, fmt.Errorf("measure tables: %w", err)
	}
	return s, nil
}

// Sizes measures tables by their oids, each with its indexes and TOAST, in one round trip. A table that is gone is not among them.
func (db *DB) Sizes(ctx context.Context, oids []uint32) (map[uint32]int64, error) {
	wide := make([]int64, len(oids))
	for i, oid := range oids {
		wide[i] = int64(oid)
	}
	out := make(map[uint32]int64, len(oids))
	err := db.Briefly(ctx, func(q Querier) error {
		rows, err := q.Query(ctx, "SELECT o, pg_catalog.pg_total_relation_size(o) FROM unnest($1::bigint[]::oid[]) AS o", wide)
		if err != nil {
			return err
		}
		var oid uint32
		var size *int64
		_, err = pgx.ForEachRow(rows, []any{&oid, &size}, func() error {
			if size != nil {
				out[oid] = *size
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("measure tables: %w", err)
	}
	return out, nil
}

// Suspects lists those leaves of a table that may be refused although their root is not, at most limit of them: one catalog
// query for any number of partitions. Who is in doubt inspects them.
func (db *DB) Suspects(ctx context.Context, q Querier, t *Table, limit int) ([]LeafName, error) {
	oids := make([]int64, len(t.Leaves))
	for i, l := range t.Leaves {
		oids[i] = int64(l.OID)
	}
	rows, err := q.Query(ctx, `
		SELECT c.oid, n.nspname, c.relname, c.relkind::text
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
		WHERE c.oid = ANY ($1::bigint[]::oid[]) AND (
		      c.relkind <> 'r' OR am.amname <> 'heap' OR c.relhasrules OR c.relrowsecurity OR c.relpersistence = 't'
		   OR NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') OR NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
		   OR NOT pg_catalog.has_table_privilege(c.oid, 'DELETE') OR NOT pg_catalog.has_any_column_privilege(c.oid, 'UPDATE')
		   OR EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND g.tgtype & 8 <> 0)
		   OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f')
		   OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel pr WHERE pr.prrelid = c.oid))
		ORDER BY n.nspname, c.relname LIMIT $2`, oids, limit)
	if err != nil {
		return nil, fmt.Errorf("look at partitions: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l LeafName, err error) {
		err = row.Scan(&l.OID, &l.Schema, &l.Name, &l.RelKind)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("look at partitions: %w", err)
	}
	return found, nil
}

// AgeLimit is the moment before which a row is old, in each of the forms in which a column may hold a time, as PostgreSQL
// writes them.
type AgeLimit struct {
	Instant string // timestamp with time zone, in UTC
	Local   string // timestamp without time zone
	Day     string // date: a day before it was over when the limit had not come
}

// AgeLimit takes an interval from a moment, by the calendar of a time zone; the zero time is now, by the server's clock.
// Days and months are as long as they are in that zone, and times without a zone are read as local ones.
func (db *DB) AgeLimit(ctx context.Context, at time.Time, interval, zone string) (AgeLimit, error) {
	var from *time.Time
	if !at.IsZero() {
		from = &at
	}
	if zone == "" {
		zone = "UTC"
	}
	var l AgeLimit
	err := db.Briefly(ctx, func(q Querier) error {
		if _, err := q.Exec(ctx, `SELECT pg_catalog.set_config('timezone', $1, true)`, zone); err != nil {
			return err
		}
		return q.QueryRow(ctx, `
			SELECT pg_catalog.regexp_replace((l AT TIME ZONE 'UTC')::text, '( BC)?$', '+00\1'), l::timestamp::text, l::date::text
			FROM (SELECT coalesce($1::timestamptz, pg_catalog.now()) - $2::text::interval AS l) AS x`, from, interval).Scan(&l.Instant, &l.Local, &l.Day)
	})
	if err != nil {
		return AgeLimit{}, fmt.Errorf("work out the age limit: %w", err)
	}
	return l, nil
}

// Types of columns that can have an age.
const (
	oidDate        = 1082
	oidTimestamp   = 1114
	oidTimestamptz = 1184
)

// OlderThan is a predicate that holds for the rows whose column is before the limit, or an error if the table has no such
// column. It names the column without its table, and ends in a clause that is always true and that cannot be read once the
// column is of another kind.
func (t *Table) OlderThan(column string, l AgeLimit) (string, error) {
	value, err := t.AgeValue(column, l)
	if err != nil {
		return "", err
	}
	_, typ, _ := strings.Cut(value, "::")
	name := pgx.Identifier{column}.Sanitize()
	return fmt.Sprintf("(%s OPERATOR(pg_catalog.<) %s) AND CASE WHEN true THEN true ELSE COALESCE(%s, NULL::%s) IS NULL END", name, value, name, typ), nil
}

// AgeValue is the limit as a constant of the column's type.
func (t *Table) AgeValue(column string, l AgeLimit) (string, error) {
	for _, c := range t.Columns {
		if c.Name != column {
			continue
		}
		switch c.BaseOID {
		case oidTimestamptz:
			return "'" + l.Instant + "'::timestamp with time zone", nil
		case oidTimestamp:
			return "'" + l.Local + "'::timestamp without time zone", nil
		case oidDate:
			return "'" + l.Day + "'::date", nil
		}
		return "", fmt.Errorf("column %q of table %s.%s is of type %s: only timestamptz, timestamp and date have an age", column, t.Schema, t.Name, c.Declared)
	}
	return "", fmt.Errorf("table %s.%s has no column %q, by which its rows are to be older", t.Schema, t.Name, column)
}
