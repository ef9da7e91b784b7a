package policy

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spillwaydb/spillway/internal/hot"
)

// Waiter waits for the end of jobs.
type Waiter interface {
	// WaitFlush returns the status with which a job ended.
	WaitFlush(ctx context.Context, jobID string) (status string, err error)
}

// Flushed is what became of one table.
type Flushed struct {
	Table  string
	JobID  string // "": none was started
	Status string // with which the job ended; "": it has not
	Err    error
}

// FlushAll flushes every table whose policy is active and that has as many rows to move as the policy wants, due or not, and waits
// for the ends. Tell is called for each job when it starts and when it ends, by several goroutines. It returns what it could not
// finish, and how many flushes ended well.
func (w *Watcher) FlushAll(ctx context.Context, wait Waiter, tell func(Flushed)) (done int, undone []Flushed, err error) {
	if _, w.now, err = w.hot.Pulse(ctx); err != nil {
		return 0, nil, err
	}
	w.limits = map[ageKey]hot.AgeLimit{}
	if err := w.read(ctx); err != nil {
		return 0, nil, err
	}
	if err := w.locate(ctx); err != nil {
		return 0, nil, err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	free := make(chan struct{}, 4*w.opt.Starts)
	for _, e := range w.order {
		if e.duty.Paused || e.place.OID == 0 || e.broken != nil {
			continue
		}
		has, err := w.hasRows(ctx, e)
		if err == nil && !has {
			continue
		}
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			f := Flushed{Table: e.name.Schema + "." + e.name.Name, Err: err}
			if err == nil {
				w.flushOne(ctx, e, wait, &f, tell)
			}
			mu.Lock()
			defer mu.Unlock()
			if f.Status == "completed" {
				done++
			} else {
				undone = append(undone, f)
			}
		})
	}
	all.Wait()
	return done, undone, nil
}

// hasRows reports whether a flush would move as many rows as its policy wants.
func (w *Watcher) hasRows(ctx context.Context, e *entry) (bool, error) {
	least := max(e.policy.MinRows, 1)
	t, err := w.question(ctx, e, Need{Rows: least})
	if err != nil {
		return false, err
	}
	rows, _, err := w.hot.TallyUp(ctx, t)
	if hot.SQLState(err) == "57014" { // it takes long to find any: the flush will see
		return true, nil
	}
	return rows >= least, err
}

// flushOne flushes a table, after the job that has it.
func (w *Watcher) flushOne(ctx context.Context, e *entry, wait Waiter, f *Flushed, tell func(Flushed)) {
	for {
		f.JobID, f.Err = w.starter.StartFlush(ctx, e.duty, e.policy)
		var busy *BusyError
		if !errors.As(f.Err, &busy) {
			break
		}
		tell(*f)
		if _, f.Err = wait.WaitFlush(ctx, busy.JobID); f.Err != nil {
			break
		}
		select { // its workflow ends a moment after the job
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if f.Err == nil && f.JobID != e.duty.JobID {
		f.Err = w.ledger.DutyStarted(ctx, e.name.Schema, e.name.Name, f.JobID)
	}
	if f.Err == nil {
		tell(*f)
		f.Status, f.Err = wait.WaitFlush(ctx, f.JobID)
	}
	tell(*f)
}
