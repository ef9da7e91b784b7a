package temporaljobs

import (
	"context"

	"go.temporal.io/sdk/client"

	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/workflows"
)

// Open returns a manager for the database at databaseURL, postgres://spillway@host/database, as another Go program makes one. c speaks to the
// Temporal of the workers, in their namespace; opt.Installation is theirs, the database's name unless it was set. Without opt.Types it
// knows all types of jobs. Call closeAll when it is not wanted any more: jobs go on without it.
func Open(ctx context.Context, c client.Client, databaseURL string, opt Options) (m *Manager, closeAll func(), err error) {
	l, closeAll, err := ledger.Open(ctx, databaseURL, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(opt.Types) == 0 {
		opt.Types = map[jobmanager.JobType]Type{
			workflows.CleanupType: Cleanup(nil, workflows.Tuning{}),
			workflows.FlushType:   Flush(nil, workflows.Tuning{}),
			workflows.RestoreType: Restore(nil, workflows.Tuning{}),
			workflows.VerifyType:  Verify(nil, workflows.Tuning{}),
		}
	}
	if m, err = New(c, l, &opt); err != nil {
		closeAll()
		return nil, nil, err
	}
	return m, closeAll, nil
}
