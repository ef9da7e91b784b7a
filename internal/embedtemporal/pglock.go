package embedtemporal

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/internal/obs"
)

// Who has the store is decided by an advisory lock on a session of its own. The server ends a session that it hears nothing
// from for lockIdle, so that a process that is frozen, or on a machine that is gone, does not keep the store. The holder says
// something every lockBeat, and stops by itself when it gets no answer within lockPatience: before the server gives the lock
// to another.
const (
	lockBeat     = time.Second
	lockPatience = 4 * time.Second
	lockIdle     = 8 * time.Second
	lockRetry    = 500 * time.Millisecond // of those who wait. They poll: a statement that waits would hold back VACUUM
)

// storeKey is the key of an advisory lock of the store. PostgreSQL keeps keys apart by database.
func storeKey(schema, use string) int64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "spillway temporal store %q %s", schema, use))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// storeLock is the lock while it is held.
type storeLock struct {
	conn *pgx.Conn
	key  int64
	lost chan struct{} // closed when it is gone

	stop context.CancelFunc
	done chan struct{}
	once sync.Once

	mu  sync.Mutex
	err error
}

// awaitLock waits until this process has the lock.
func (p *Postgres) awaitLock(ctx context.Context) (*storeLock, error) {
	q := &storeQueue{store: p}
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		lock, err := q.try(ctx)
		if lock != nil {
			return lock, nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			q.leave()
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// storeQueue is a process that tries to get the lock.
type storeQueue struct {
	store   *Postgres
	conn    *pgx.Conn // nil: none, or none any more
	waiting bool      // it knows that another process has the lock
	down    bool      // while it waited, the server went away
}

// try asks once. It returns nothing at all if the answer is to wait.
func (q *storeQueue) try(ctx context.Context) (*storeLock, error) {
	got, err := q.ask(ctx)
	switch {
	case err != nil && !q.waiting:
		return nil, err
	case err != nil: // a restart of the server ends everybody's session; who waited goes on waiting
		q.leave()
		if !q.down {
			q.down = true
			q.store.opt.Logger.Warn("the Temporal store does not answer; waiting for it", obs.KeyErr, err)
		}
		return nil, nil
	case got:
		return newStoreLock(q.conn, storeKey(q.store.opt.Schema, "holder")), nil
	}
	q.down = false
	if q.waiting {
		return nil, nil
	}
	q.waiting = true
	return nil, q.tell(ctx)
}

func (q *storeQueue) ask(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	if q.conn == nil {
		if q.conn, err = q.store.connect(ctx, strconv.FormatInt(lockIdle.Milliseconds(), 10)); err != nil {
			return false, err
		}
	}
	err = q.conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1::bigint)`, storeKey(q.store.opt.Schema, "holder")).Scan(&got)
	if err != nil {
		return false, q.store.failed("take the lock", err)
	}
	return got, nil
}

// tell says who has the store. One that this process could not use in any case is refused now: a standby that fails when it
// is needed is worse than none.
func (q *storeQueue) tell(ctx context.Context) error {
	row, err := readStoreRow(ctx, q.conn, q.store.opt.Schema)
	if err != nil {
		return q.store.failed("look at the tables", err)
	}
	if row == nil { // it is being made right now
		q.store.opt.Waiting("")
		return nil
	}
	if err := q.store.checkRow(row); err != nil {
		return err
	}
	q.store.opt.Waiting(row.holder)
	return nil
}

func (q *storeQueue) leave() {
	if q.conn != nil {
		closeSoon(q.conn)
		q.conn = nil
	}
}

func newStoreLock(conn *pgx.Conn, key int64) *storeLock {
	ctx, stop := context.WithCancel(context.Background())
	l := &storeLock{conn: conn, key: key, lost: make(chan struct{}), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.keep(ctx)
	}()
	return l
}

// keep shows the server that this process lives, and finds out at once when the session has ended.
func (l *storeLock) keep(ctx context.Context) {
	for {
		if err := l.rest(ctx); err != nil {
			l.lose(ctx, err)
			return
		}
		ask, cancel := context.WithTimeout(ctx, lockPatience)
		_, err := l.conn.Exec(ask, "SELECT 1")
		cancel()
		if err != nil {
			l.lose(ctx, err)
			return
		}
	}
}

// rest waits for the time of the next beat. It returns an error if the session ends before.
func (l *storeLock) rest(ctx context.Context) error {
	beat, cancel := context.WithTimeout(ctx, lockBeat)
	defer cancel()
	for {
		_, err := l.conn.WaitForNotification(beat)
		switch {
		case l.conn.IsClosed():
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case beat.Err() != nil:
			return nil
		}
	}
}

func (l *storeLock) lose(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return // it is given back
	}
	l.mu.Lock()
	l.err = fmt.Errorf("%w: %w", ErrStoreLost, err)
	l.mu.Unlock()
	close(l.lost)
	closeSoon(l.conn)
}

// failure is why the lock is lost, or nil.
func (l *storeLock) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// release gives the lock back at once: a session that is only closed keeps it until the server notices.
func (l *storeLock) release() {
	l.once.Do(func() {
		l.stop()
		<-l.done
		if l.conn.IsClosed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := l.conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1::bigint)`, l.key)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return // then the session has ended, and the lock with it
		}
		closeSoon(l.conn)
	})
}
