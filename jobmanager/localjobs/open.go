package localjobs

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spillwaydb/spillway/internal/flush"
)

// Open returns a manager for the database at databaseURL, postgres://spillway@host/database, as another Go program makes one. The role is the
// worker's (`spillway grants`), and the database has a storage: a spillway was started on it once. Jobs that were cut off with their process
// are closed first. Call Stop, then closeAll, when no job is wanted any more.
func Open(ctx context.Context, databaseURL string, opt *Options) (m *Manager, closeAll func(), err error) {
	log := slog.New(slog.DiscardHandler)
	if opt != nil && opt.Logger != nil {
		log = opt.Logger
	}
	f, l, closeAll, err := flush.Open(ctx, databaseURL, log)
	if err != nil {
		return nil, nil, err
	}
	_, err = f.CloseInterrupted(ctx)
	if err == nil {
		m, err = New(f, l, opt)
	}
	if err != nil {
		closeAll()
		return nil, nil, errors.Join(errors.New("open the local job manager"), err)
	}
	return m, closeAll, nil
}
