package objstore

import (
	"context"
	"sync"
)

// removers is how many requests to delete are under way at once, where the cloud has none for several objects.
const removers = 16

// removeEach removes objects one by one, several at once, until one cannot be.
func removeEach(ctx context.Context, names []string, remove func(ctx context.Context, name string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan string)
	var all sync.WaitGroup
	var once sync.Once
	var failed error
	for range min(removers, len(names)) {
		all.Go(func() {
			for name := range todo {
				if err := remove(ctx, name); err != nil {
					once.Do(func() { failed = err; cancel(err) })
				}
			}
		})
	}
	for _, name := range names {
		select {
		case todo <- name:
		case <-ctx.Done():
		}
	}
	close(todo)
	all.Wait()
	if failed == nil {
		return ctx.Err()
	}
	return failed
}
