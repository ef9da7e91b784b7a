package pgtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// HoldCommits makes each commit on the server wait for a standby that there is not, and returns when commits do. It may be called on any
// goroutine.
func (db *DB) HoldCommits(t testing.TB) { t.Helper(); inTime(t, "hold commits", db.holdCommits) }

// ReleaseCommits lets commits go on that HoldCommits holds, and returns when they do. It may be called on any goroutine.
func (db *DB) ReleaseCommits(t testing.TB) {
	t.Helper()
	inTime(t, "release commits", db.releaseCommits)
}

// inTime does something that may take a while, and fails the test, without ending it, if it cannot.
func inTime(t testing.TB, what string, do func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := do(ctx); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// commitNothing is a transaction with a commit record, and no trace in any table.
const commitNothing = "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'pgtest', '')"

// holdCommits tries commits until one waits: what backends look at is a flag in shared memory, which the checkpointer sets when it gets to
// reading the settings again, on a busy machine long after all others have.
func (db *DB) holdCommits(ctx context.Context) error {
	conn, err := db.withStandby(ctx, "nobody")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	probe, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		return err
	}
	pid := probe.PgConn().PID()
	trying, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer probe.Close(ctx)
		for trying.Err() == nil {
			_, _ = probe.Exec(trying, commitNothing) // it goes on until it is ended, by whatever
		}
	}()
	defer func() { stop(); <-ended }()
	const waits = "SELECT wait_event IS NOT DISTINCT FROM 'SyncRep' FROM pg_stat_activity WHERE pid = $1"
	for waiting := false; !waiting; {
		if err := conn.QueryRow(ctx, waits, pid).Scan(&waiting); err != nil {
			return fmt.Errorf("see a commit wait: %w", err)
		}
	}
	return nil
}

func (db *DB) releaseCommits(ctx context.Context) error {
	conn, err := db.withStandby(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, commitNothing)
	return err
}

// withStandby names the standbys that commits are to wait for, and returns the superuser's connection that did so.
func (db *DB) withStandby(ctx context.Context, names string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, db.SuperURL)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{"SET synchronous_commit = local", "ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, s); err != nil {
			conn.Close(ctx)
			return nil, fmt.Errorf("%s: %w", s, err)
		}
	}
	return conn, nil
}
