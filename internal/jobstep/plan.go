package jobstep

import (
	"context"

	"github.com/spillwaydb/spillway/internal/fault"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// PutPlan stores a generation of a plan, or returns the one that is stored.
func PutPlan(ctx context.Context, l *ledger.Ledger, row ledger.PlanRow) (stored ledger.PlanRow, err error) {
	err = fault.Do(ctx, fault.Plan, func() (err error) { stored, err = l.PutPlan(ctx, row); return err })
	return stored, err
}
