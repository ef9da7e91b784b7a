package flush

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
)

// predicate is the user's, the age limit's, the one that keeps the newest rows, and the one that leaves referenced rows alone.
func (d *planDoc) predicate(t *hot.Table) string {
	var parts []string
	if d.Options.Where != "" {
		parts = append(parts, d.Options.Where)
	}
	if d.Options.OlderThan != "" {
		parts = append(parts, d.older(t))
	}
	if d.Options.KeepRows > 0 {
		parts = append(parts, d.notKept(t))
	}
	if d.Options.SkipReferenced {
		if free := t.NotReferenced(); free != "" {
			parts = append(parts, free)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return joinAnd(parts)
}

// older is the age limit's condition. settleAge has seen to it that there is one; without it no row would be old.
func (d *planDoc) older(t *hot.Table) string {
	if d.Limit == nil {
		return "false"
	}
	old, err := t.OlderThan(d.Options.AgeColumn, *d.Limit)
	if err != nil {
		return "false"
	}
	return old
}

// joinAnd joins conditions. The line breaks keep a comment at the end of one to itself.
func joinAnd(parts []string) string {
	for i := range parts {
		parts[i] = "(" + parts[i] + "\n)"
	}
	return strings.Join(parts, " AND ")
}

// settleAge turns OLDER THAN into constants, and refuses leaves that have no such column. The limit is counted from the
// time when the job was asked for, which the ledger keeps: later generations and retries find the same one.
func (d *planDoc) settleAge(ctx context.Context, db *hot.DB, asked time.Time, leaves []*hot.Table) error {
	if d.Options.OlderThan == "" {
		return nil
	}
	limit, err := db.AgeLimit(ctx, asked, d.Options.OlderThan, d.Options.TimeZone)
	if err != nil {
		return err
	}
	for _, leaf := range leaves {
		if _, err := leaf.OlderThan(d.Options.AgeColumn, limit); err != nil {
			return jobstep.Classified(jobstep.ClassInvalid, err)
		}
	}
	d.Limit = &limit
	return nil
}

// notKept is the condition of keep_rows. settleKeep has seen to it that there is a limit; without it every row would be kept.
func (d *planDoc) notKept(t *hot.Table) string {
	if d.Keep == nil {
		return "false"
	}
	old, err := t.NotKept(d.Options.AgeColumn, *d.Keep)
	if err != nil {
		return "false"
	}
	return old
}

// settleKeep turns keep_rows into a constant: the value of the n-th newest row of the whole table. Rows that have the same one stay,
// and so do rows without a value. Later generations of a job have the constant of the first in known.
func (d *planDoc) settleKeep(ctx context.Context, db *hot.DB, known *hot.KeepLimit, root *hot.Table, leaves []*hot.Table) error {
	if d.Options.KeepRows == 0 {
		return nil
	}
	if known == nil {
		limit, err := db.KeepLimit(ctx, root, d.Options.AgeColumn, d.Options.KeepRows)
		var order *hot.OrderError
		if errors.As(err, &order) {
			return jobstep.Classified(jobstep.ClassInvalid, err)
		}
		if err != nil {
			return err
		}
		known = &limit
	}
	for _, leaf := range leaves {
		if _, err := leaf.NotKept(d.Options.AgeColumn, *known); err != nil {
			return jobstep.Classified(jobstep.ClassInvalid, err)
		}
	}
	d.Keep = known
	return nil
}

// keptBefore is the constant of keep_rows that a job's first generation found, or nil.
func (f *Flusher) keptBefore(ctx context.Context, in jobstep.PlanInput, opts Options) (*hot.KeepLimit, error) {
	if opts.KeepRows == 0 || in.Generation <= 1 {
		return nil, nil
	}
	row, err := f.ledger.PlanGeneration(ctx, in.JobID, 1)
	if err != nil {
		return nil, err
	}
	first, err := readPlan(row)
	if err != nil {
		return nil, err
	}
	return first.Keep, nil
}
