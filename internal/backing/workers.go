package backing

import (
	"context"

	"github.com/spillwaydb/spillway/jobmanager/temporaljobs"
	"github.com/spillwaydb/spillway/sqlfront"
)

// Workers lets the front-end ask Temporal who works.
type Workers struct{ Jobs *temporaljobs.Manager }

var _ sqlfront.Workers = Workers{}

// Workers implements sqlfront.Workers.
func (c Workers) Workers(ctx context.Context) ([]sqlfront.Worker, error) {
	list, err := c.Jobs.Workers(ctx)
	if err != nil {
		return nil, err
	}
	workers := make([]sqlfront.Worker, len(list))
	for i, w := range list {
		workers[i] = sqlfront.Worker{
			Identity: w.Identity, Host: w.Host, PID: w.PID, TaskQueue: w.TaskQueue, Status: string(w.Status), SlotsUsed: w.SlotsUsed,
			SlotsTotal: w.SlotsTotal, Version: w.Build, StartedAt: w.StartedAt, LastSeenAt: w.LastSeen,
		}
	}
	return workers, nil
}
