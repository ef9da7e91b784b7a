package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockPatience bounds one question on a lock's connection; a server that does not answer counts as gone.
const lockPatience = 10 * time.Second

// TableLock is the sign of life of a local job: an advisory lock on its table, held by a connection of its own. PostgreSQL
// gives it back when the process dies, however it dies, so nobody has to guess by age. It guards nothing else: what a job
// may still do is decided by its claim.
type TableLock struct {
	ledger *Ledger
	claim  Claim
	key    int64

	conn *pgx.Conn // nil: lost, and not yet there again

	stop context.CancelFunc
	done chan struct{}
	lost chan struct{}
	once sync.Once
}

// Hold is a local job's hold on its table.
type Hold struct {
	Since   time.Time       // when the table was claimed, by the server's clock
	Lost    <-chan struct{} // closed if the claim goes to another: the job must end
	Release func()          // gives the lock back, and not the claim; may be called again
}

// tableKey is the key of a table's advisory lock. PostgreSQL keeps keys apart by database.
func (l *Ledger) tableKey(schema, table string) int64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", l.schema, schema, table))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// LockTable tries to take the lock on a table. It returns nil without an error if a living job has it.
func (l *Ledger) LockTable(ctx context.Context, schema, table string) (*TableLock, error) {
	t := &TableLock{ledger: l, claim: Claim{Schema: schema, Table: table}, key: l.tableKey(schema, table)}
	got, err := t.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock table: %w", err)
	}
	if !got {
		return nil, nil
	}
	return t, nil
}

// connect opens a connection and tries to take the lock on it. The connection stays only if it was taken.
func (t *TableLock) connect(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	cfg := t.ledger.pool.Config().ConnConfig.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.RuntimeParams["application_name"] = fmt.Sprintf("spillway:lock %s.%s", t.claim.Schema, t.claim.Table)
	cfg.RuntimeParams["idle_session_timeout"] = "0"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return false, err
	}
	err = conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1::bigint)`, t.key).Scan(&got)
	if err != nil || !got {
		closeSoon(conn)
		return false, err
	}
	t.conn = conn
	return true, nil
}

// Keep watches the lock for the job whose claim is c. A connection that breaks is replaced; meanwhile somebody may take the
// job for dead and give its table away, and then Lost is closed.
func (t *TableLock) Keep(c Claim) Hold {
	ctx, stop := context.WithCancel(context.Background())
	t.claim, t.stop = c, stop
	t.done, t.lost = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(t.done)
		t.watch(ctx)
	}()
	return Hold{Since: c.CreatedAt, Lost: t.lost, Release: t.Release}
}

func (t *TableLock) watch(ctx context.Context) {
	for wait := 50 * time.Millisecond; ; {
		if t.conn != nil {
			if _, err := t.conn.WaitForNotification(ctx); err == nil {
				continue // nobody notifies us, but it does no harm
			}
			if ctx.Err() != nil {
				return
			}
			closeSoon(t.conn)
			t.conn, wait = nil, 50*time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if t.again(ctx) {
			close(t.lost)
			return
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// again tries to take the lock anew, and reports whether the claim has gone.
func (t *TableLock) again(ctx context.Context) (lost bool) {
	if t.conn == nil {
		if _, err := t.connect(ctx); err != nil {
			return false
		}
	}
	now, err := t.ledger.ClaimOf(ctx, t.claim.Schema, t.claim.Table)
	switch {
	case errors.Is(err, ErrNotFound):
		return true
	case err != nil && t.conn != nil: // a lock without a claim that was looked at is worth nothing
		closeSoon(t.conn)
		t.conn = nil
	}
	return err == nil && (now.JobID != t.claim.JobID || now.Ended)
}

// Release gives the lock back. Calling it again is harmless.
func (t *TableLock) Release() {
	t.once.Do(func() {
		if t.stop != nil {
			t.stop()
			<-t.done
		}
		if t.conn == nil {
			return
		}
		// A connection that is only closed keeps its locks until the server notices.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = t.conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1::bigint)`, t.key)
		closeSoon(t.conn)
	})
}

func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
