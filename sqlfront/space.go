package sqlfront

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// Space is what a flush did to the size of its table.
type Space struct {
	Rows                int64 // moved
	HotBefore, HotAfter int64 // bytes, with indexes and TOAST
	DeadBytes           int64 // about how much of HotAfter VACUUM makes free
	ColdBytes           int64 // of the whole table
	Segments            int64 // that hold them
	NotVacuumed         int   // leaves that were to be vacuumed, but that the worker's role may not
}

// waitAndTell waits for jobs, and tells at the end what they did to their tables.
func (r *request) waitAndTell(ctx context.Context, list []launch) ([][]any, error) {
	rows, err := r.waitFor(ctx, list)
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		if one.status == jobmanager.Completed {
			r.tellSpace(ctx, one)
		}
	}
	return rows, nil
}

// tellSpace says what a flush did to the size of its table. It is beside the answer, and never an error.
func (r *request) tellSpace(ctx context.Context, l launch) {
	s, found, err := r.catalog.Space(ctx, l.ID)
	if err != nil {
		r.opt.Logger.Warn("space of a flush not known", "job", l.ID.String(), "error", err)
	}
	if err == nil && found {
		r.notice(pgwire.Notice{Message: l.target.String() + ": " + s.String()})
		if s.NotVacuumed > 0 {
			r.notice(pgwire.Notice{Message: fmt.Sprintf("%s: not vacuumed, for the worker's role lacks the right on %d of its tables", l.target.String(), s.NotVacuumed),
				Hint: vacuumHint})
		}
	}
}

// vacuumHint says what lets the worker's role run VACUUM.
const vacuumHint = "let the role have MAINTAIN from PostgreSQL 17 on, or be a member of the owner's role; autovacuum, or a VACUUM by the owner, makes the space free too"

func (s Space) String() string {
	text := fmt.Sprintf("%d rows moved, %s hot before, %s now", s.Rows, prettySize(s.HotBefore), prettySize(s.HotAfter))
	if s.DeadBytes > 0 {
		text += ", of which VACUUM can make free about " + prettySize(s.DeadBytes)
	}
	segments := " segments"
	if s.Segments == 1 {
		segments = " segment"
	}
	return text + "; " + prettySize(s.ColdBytes) + " cold in " + strconv.FormatInt(s.Segments, 10) + segments
}

// prettySize writes bytes as PostgreSQL's pg_size_pretty does.
func prettySize(n int64) string {
	const most = 10 * 1024
	if n < most {
		return fmt.Sprintf("%d bytes", n)
	}
	half := n / 512 // in half units, so that the last step can round
	for _, unit := range []string{"kB", "MB", "GB"} {
		if half < 2*most-1 {
			return fmt.Sprintf("%d %s", (half+1)/2, unit)
		}
		half /= 1024
	}
	return fmt.Sprintf("%d TB", (half+1)/2)
}
