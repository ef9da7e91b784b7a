package flush

import (
	"context"
	"strings"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
)

// predicate is the user's, the age limit's, and the one that leaves referenced rows alone.
func (d *planDoc) predicate(t *hot.Table) string {
	var parts []string
	if d.Options.Where != "" {
		parts = append(parts, d.Options.Where)
	}
	if d.Options.OlderThan != "" {
		parts = append(parts, d.older(t))
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
			return classified(ClassInvalid, err)
		}
	}
	d.Limit = &limit
	return nil
}
