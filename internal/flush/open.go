package flush

import (
	"context"
	"log/slog"

	"github.com/spillwaydb/spillway/internal/coldstore"
	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// Open connects to the database at url as the worker's role, brings its ledger up to date, and returns the steps of jobs on its storages,
// with that ledger. closeAll closes the connections. The database must have its default storage already.
func Open(ctx context.Context, url string, log *slog.Logger) (f *Flusher, l *ledger.Ledger, closeAll func(), err error) {
	db, err := hot.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	l = ledger.New(db.Pool(), nil)
	if err = l.Migrate(ctx); err == nil {
		_, err = l.Storage(ctx, "")
	}
	if err == nil {
		f, err = New(Deps{Hot: db, Ledger: l, Stores: coldstore.NewLedgerStores(l, nil), Log: log})
	}
	if err != nil {
		db.Close()
		return nil, nil, nil, err
	}
	return f, l, db.Close, nil
}
