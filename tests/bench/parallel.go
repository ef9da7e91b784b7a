package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// inParallel calls do for 0 to n-1 from a number of lanes, in order, and adds up what it returns. The first error ends it.
func inParallel(ctx context.Context, lanes, n int, do func(ctx context.Context, lane, i int) (int64, error)) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		next, sum atomic.Int64
		wg        sync.WaitGroup
		errs      = make([]error, lanes)
	)
	for lane := range lanes {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				got, err := do(ctx, lane, i)
				if err != nil {
					errs[lane] = err
					cancel()
					return
				}
				sum.Add(got)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return sum.Load(), ctx.Err()
}
