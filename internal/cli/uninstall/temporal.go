package uninstall

import (
	"context"

	"github.com/spillwaydb/spillway/internal/cli/show"
	"github.com/spillwaydb/spillway/workflows"
)

// temporalParts names what an installation keeps in Temporal. uninstall cannot reach it: nothing in the database says which Temporal it is.
type temporalParts struct {
	scheduler string   // id of the FlushScheduler; "": not known
	schedules []string // ids in Temporal
}

// temporalParts reads them. What an older ledger does not know, there is none of.
func (u *remover) temporalParts(ctx context.Context) (p temporalParts) {
	in, err := u.ledger.Installation(ctx, "")
	if err != nil {
		return p
	}
	p.scheduler = workflows.SchedulerID(workflows.TaskQueue(in.Name))
	rows, err := u.ledger.Schedules(ctx)
	if err != nil {
		return p
	}
	for i := range rows {
		p.schedules = append(p.schedules, rows[i].TemporalID)
	}
	return p
}

// tellTemporal says what stays in Temporal and how it is removed: schedules would go on asking workers that are not there.
func (u *remover) tellTemporal(p temporalParts) {
	if p.scheduler == "" {
		return
	}
	u.say("A Temporal of your own keeps what is in it (that of `spillway up` goes with its data directory or store). To remove it there:")
	for _, id := range p.schedules {
		u.say("  temporal schedule delete --schedule-id %s", show.ShellQuote(id))
	}
	u.say("  temporal workflow terminate --workflow-id %s", show.ShellQuote(p.scheduler))
}
