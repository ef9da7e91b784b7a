package ledger

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Open returns the ledger of the database at url, postgres://user@host/database, on connections of its own, which closeAll closes. It changes
// nothing: what is no ledger, or not one of this version, shows in the first error of its methods.
func Open(ctx context.Context, url string, opt *Options) (l *Ledger, closeAll func(), err error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, nil, errors.New("cannot parse the database's URL") // pgx repeats it, with its password
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, nil, err
	}
	return New(pool, opt), pool.Close, nil
}
