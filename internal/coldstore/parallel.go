package coldstore

import (
	"context"
	"sync"
)

// Lanes is how many objects are put or deleted at once: their syncs share the journal's, and a remote store's latency is waited for once.
const Lanes = 8

// InParallel calls fn for all of list, several at once, and returns when no call runs any more. After an error it calls for
// no further one.
func InParallel[T any](ctx context.Context, lanes int, list []T, fn func(context.Context, T) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan T)
	var all sync.WaitGroup
	for range min(lanes, len(list)) {
		all.Go(func() {
			for one := range next {
				if ctx.Err() != nil {
					continue
				}
				if err := fn(ctx, one); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, one := range list {
		next <- one
	}
	close(next)
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
