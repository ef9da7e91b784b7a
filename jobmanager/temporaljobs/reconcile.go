package temporaljobs

import (
	"context"
	"errors"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/workflows"
)

type payload = commonpb.Payload

// Reconciled counts what Reconcile mended.
type Reconciled struct {
	Made    int // that Temporal did not know
	Removed int // that the ledger does not know, or no longer
	Paused  int // whose pause or resumption Temporal alone knew
}

// Reconcile makes Temporal's schedules those of the ledger: it makes anew what Temporal lost, removes what the ledger does not
// have, and finishes what a crash left half done. That a schedule is paused, Temporal knows best: people pause them in its Web
// UI, and a failure does. One trouble does not stop the others.
//
// One process at a time should do it; two do no harm.
func (s *Schedules) Reconcile(ctx context.Context) (Reconciled, error) {
	var r Reconciled
	// In this order: what Temporal knows had its row in the ledger before.
	live, err := s.live(ctx)
	if err != nil {
		return r, err
	}
	rows, err := s.ledger.Schedules(ctx)
	if err != nil {
		return r, err
	}
	known := make(map[string]ledger.ScheduleRow, len(rows))
	for _, row := range rows {
		known[row.ID.String()] = row
	}
	var errs []error
	seen := make(map[string]liveSchedule, len(live))
	for _, e := range live {
		if row, ok := known[e.id]; ok && row.TemporalID == e.temporalID {
			seen[e.id] = e
			continue
		}
		removed, err := s.orphan(ctx, e)
		if removed {
			r.Removed++
		}
		errs = append(errs, err)
	}
	for _, row := range rows {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		e, ok := seen[row.ID.String()]
		errs = append(errs, s.mend(ctx, row, e, ok, &r))
	}
	return r, errors.Join(errs...)
}

// orphan removes a schedule that the ledger does not know, unless it does by now.
func (s *Schedules) orphan(ctx context.Context, e liveSchedule) (bool, error) {
	handle := s.client.ScheduleClient().GetHandle(ctx, e.temporalID)
	d, err := handle.Describe(ctx) // another one may have taken its place
	if notFound(err) {
		return false, nil
	}
	if err != nil || memoID(d.Memo.GetFields()[workflows.MemoSchedule]) != e.id {
		return false, err
	}
	if err := handle.Delete(ctx); err != nil && !notFound(err) {
		return false, fmt.Errorf("remove schedule %s: %w", e.temporalID, err)
	}
	return true, nil
}

// mend brings one schedule in order.
func (s *Schedules) mend(ctx context.Context, row ledger.ScheduleRow, e liveSchedule, known bool, r *Reconciled) error {
	recent := s.opt.Now().Sub(row.ChangedAt) < fresh // a statement may be at it, and the list old
	switch {
	case row.State == ledger.ScheduleDropping:
		r.Removed++
		return s.drop(ctx, row)
	case row.State == ledger.ScheduleCreating && recent:
		return nil
	case !known && !recent, row.State == ledger.ScheduleCreating:
		return s.make(ctx, row, r)
	case known && !recent && e.paused != (row.PausedAt != nil):
		r.Paused++
		if !e.paused {
			return s.ledger.SetSchedulePaused(ctx, row.ID, nil)
		}
		by := "Temporal: " + e.note
		return s.ledger.SetSchedulePaused(ctx, row.ID, &by)
	}
	return nil
}

// make lets Temporal know a schedule again, unless it was dropped meanwhile.
func (s *Schedules) make(ctx context.Context, row ledger.ScheduleRow, r *Reconciled) error {
	now, err := s.ledger.ScheduleByID(ctx, row.ID)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && now.State == ledger.ScheduleDropping {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.put(ctx, now); err != nil {
		return fmt.Errorf("make schedule %s anew: %w", row.Name, err)
	}
	r.Made++
	return s.ledger.SetScheduleState(ctx, row.ID, ledger.ScheduleReady)
}
