package flush

import (
	"context"
	"errors"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/internal/obs"
)

// tellSpace adds to the record of a job what it did to the size of its table. It is told where it can be measured at once,
// and never keeps a job from its end.
func (f *Flusher) tellSpace(ctx context.Context, row *ledger.HistoryRow) {
	if err := f.measure(ctx, row); err != nil {
		f.log.Warn("could not measure what the flush did to its table", obs.KeyJob, row.JobID, obs.KeyErr, err)
	}
}

func (f *Flusher) measure(ctx context.Context, row *ledger.HistoryRow) error {
	first, err := f.ledger.PlanGeneration(ctx, row.JobID, 1)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil // it ended before it had a plan
	}
	if err != nil {
		return err
	}
	doc, err := readPlan(first)
	if err != nil || doc.Space == nil {
		return err
	}
	after, err := f.hot.Space(ctx, doc.oids())
	if err != nil {
		return err
	}
	cold, err := f.ledger.ColdTotals(ctx, row.Schema, row.Table)
	if err != nil {
		return err
	}
	before := *doc.Space
	vacuumed := after.VacuumEnd != nil && after.VacuumEnd.After(first.CreatedAt)
	dead := deadRows(before, after, row.RowsFlushed, vacuumed)
	bytes := deadBytes(after.Bytes, dead, max(doc.liveRows()-row.RowsFlushed, 0))
	row.HotBytesBefore, row.HotBytesAfter, row.ColdBytes, row.DeadRows, row.DeadBytes = &before.Bytes, &after.Bytes, &cold.Bytes, &dead, &bytes
	return nil
}

// liveRows is about how many rows there were. The planner's figure comes first; where nobody has run ANALYZE, the running
// count of PostgreSQL's statistics is better than a guess by size.
func (d *planDoc) liveRows() (n int64) {
	guessed := false
	for i := range d.Parts {
		n += d.Parts[i].Table.RowsEstimate
		guessed = guessed || d.Parts[i].Table.Guessed
	}
	if guessed && d.Space.LiveRows > 0 {
		return d.Space.LiveRows
	}
	return n
}

// deadRows is how many dead rows the table has after a flush. The statistics lag, so what the job itself removed is added
// to what they said before it. Once a VACUUM has ended since, that sum means nothing, and the statistics, which VACUUM sets,
// are better.
func deadRows(before, after hot.Space, flushed int64, vacuumed bool) int64 {
	if vacuumed {
		return after.DeadRows
	}
	return before.DeadRows + flushed
}

// deadBytes is about how much of the table dead rows take up, if rows and their index entries are of even size.
func deadBytes(bytes, dead, live int64) int64 {
	if dead <= 0 {
		return 0
	}
	return int64(float64(bytes) * float64(dead) / float64(dead+live))
}
