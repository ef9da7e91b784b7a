package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Health is what the ledger knows of things that should pass, in numbers.
type Health struct {
	Open            int64            // attempts that have neither committed nor been condemned
	OldestOpen      float64          // age of the oldest, in seconds; 0: there is none
	Unswept         int64            // attempts that can never commit, whose objects were not yet looked for and removed
	Tombstones      int64            // attempts that can never commit and left nothing when last looked at
	OldestCondemned float64          // how long ago the oldest of Unswept was condemned, in seconds; 0: there is none
	Findings        map[string]int64 // by kind
}

// healthMost bounds what one look reads of each thing.
const healthMost = 10000

// Health counts, in two statements that read a bounded number of rows. Findings are those of the newest VERIFY of each table and
// of the newest CLEANUP, without what that removed.
func (l *Ledger) Health(ctx context.Context) (Health, error) {
	h := Health{Findings: map[string]int64{KindDamaged: 0, KindMissing: 0, KindStray: 0, KindLeftover: 0}}
	err := l.pool.QueryRow(ctx, l.expand(`
		SELECT count(*) FILTER (WHERE condemned_at IS NULL),
		       coalesce(greatest(extract(epoch FROM pg_catalog.now() - min(created_at) FILTER (WHERE condemned_at IS NULL)), 0), 0)::float8,
		       count(*) FILTER (WHERE condemned_at IS NOT NULL AND swept_at IS NULL), count(*) FILTER (WHERE condemned_at IS NOT NULL AND swept_at IS NOT NULL),
		       coalesce(greatest(extract(epoch FROM pg_catalog.now() - min(condemned_at) FILTER (WHERE swept_at IS NULL)), 0), 0)::float8
		FROM (SELECT created_at, condemned_at, swept_at FROM @schema@.attempts LIMIT $1) AS a`), healthMost).
		Scan(&h.Open, &h.OldestOpen, &h.Unswept, &h.Tombstones, &h.OldestCondemned)
	if err != nil {
		return h, wrap("count attempts", err)
	}
	type found struct {
		Kind    string
		Objects int64
	}
	// There are few findings or none, so that these are looked at first, and then whether a newer job has looked again.
	list, err := collect(ctx, l.pool, "count findings", pgx.RowToStructByPos[found], l.expand(`
		SELECT f.kind, sum(f.objects)::bigint
		FROM (SELECT job_id, kind, count(*) AS objects
		      FROM (SELECT job_id, kind FROM @schema@.findings WHERE action <> 'deleted' LIMIT $1) AS noted GROUP BY job_id, kind) AS f
		JOIN @schema@.job_history AS h USING (job_id)
		WHERE NOT EXISTS (
			SELECT FROM @schema@.job_history AS n
			WHERE n.table_schema = h.table_schema AND n.table_name = h.table_name AND n.created_at > h.created_at AND n.job_type = h.job_type
			  AND (n.status = 'completed' OR n.error_class = 'damaged'))
		GROUP BY f.kind`), healthMost)
	for _, f := range list {
		h.Findings[f.Kind] = f.Objects
	}
	return h, err
}
