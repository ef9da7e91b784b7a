package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
	"github.com/spillwaydb/spillway/tests/await"
)

// A chunk moves nothing for a job that does not have its table, or has it no longer.
func TestChunkReadsTheClaim(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	q := exec(t, db)
	ctx := t.Context()
	if err := l.InsertChunk(ctx, q, "a", 0, uuid.New(), 1); !errors.Is(err, ledger.ErrClaimLost) {
		t.Errorf("no claim: %v", err)
	}
	_, err := l.ClaimTable(ctx, "app", "t", "a")
	must(t, err)
	must(t, l.InsertChunk(ctx, q, "a", 0, uuid.New(), 1))
	_, err = l.ClaimTable(ctx, "app", "t", "b")
	must(t, err)
	if err := l.InsertChunk(ctx, q, "a", 1, uuid.New(), 1); !errors.Is(err, ledger.ErrClaimLost) {
		t.Errorf("the claim is another's: %v", err)
	}
	must(t, l.InsertChunk(ctx, q, "b", 1, uuid.New(), 1))
}

// A job whose end is recorded never gets its table back.
func TestEndedJobClaimsNothing(t *testing.T) {
	t.Parallel()
	l, _, _ := migrated(t)
	ctx := t.Context()
	_, err := l.InsertHistory(ctx, ledger.HistoryRow{JobID: "a", JobType: "flush", Schema: "app", Table: "t", Status: "failed", CreatedAt: time.Now()})
	must(t, err)
	if _, err := l.ClaimTable(ctx, "app", "t", "a"); !errors.Is(err, ledger.ErrClaimLost) {
		t.Errorf("a free table: %v", err)
	}
	_, err = l.ClaimTable(ctx, "app", "t", "b")
	must(t, err)
	if _, err := l.ClaimTable(ctx, "app", "t", "a"); !errors.Is(err, ledger.ErrClaimLost) {
		t.Errorf("another's table: %v", err)
	}
	if c, err := l.ClaimOf(ctx, "app", "t"); err != nil || c.JobID != "b" || c.Manager != ledger.ManagerTemporal || c.Ended {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestLocalClaim(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	ctx := t.Context()
	lock, err := l.LockTable(ctx, "app", "t")
	must(t, err)
	if other, err := l.LockTable(ctx, "app", "t"); err != nil || other != nil {
		t.Errorf("the lock was given twice, %v", err)
	}
	other, err := l.LockTable(ctx, "app", "u")
	must(t, err)
	other.Release()
	if id, err := l.LocalHolder(ctx, "app", "t"); err != nil || id != "" {
		t.Errorf("nothing is claimed, yet %q holds it, %v", id, err)
	}
	mine := ledger.Claim{Schema: "app", Table: "t", JobID: "mine", RequestID: uuid.New()}
	stored, err := l.PutClaim(ctx, mine)
	if err != nil || stored.JobID != "mine" || stored.Manager != ledger.ManagerLocal || stored.RequestID != mine.RequestID || stored.CreatedAt.IsZero() {
		t.Fatalf("%+v, %v", stored, err)
	}
	if id, err := l.LocalHolder(ctx, "app", "t"); err != nil || id != "mine" {
		t.Errorf("%q holds it, %v", id, err)
	}
	var held *ledger.HeldError
	if _, err := l.ClaimTable(ctx, "app", "t", "theirs"); !errors.As(err, &held) || held.Claim.JobID != "mine" {
		t.Errorf("claim of a held table: %v", err)
	}
	if c, err := l.PutClaim(ctx, ledger.Claim{Schema: "app", Table: "t", JobID: "second", RequestID: uuid.New()}); err != nil || c.JobID != "mine" {
		t.Errorf("second claim: %+v, %v", c, err)
	}
	if list, err := l.Claims(ctx); err != nil || len(list) != 1 || list[0] != stored {
		t.Errorf("%+v, %v", list, err)
	}

	// A lock that is lost with its connection comes back by itself, and the claim stays.
	hold := lock.Keep(stored)
	endLocks(t, db)
	await.Until(t, "the lock is back", func() bool { id, err := l.LocalHolder(ctx, "app", "t"); return err == nil && id == "mine" })
	select {
	case <-hold.Lost:
		t.Error("the hold is lost, though nobody took the claim")
	default:
	}

	// Who finds the claim gone has lost it.
	must(t, l.ReleaseTable(ctx, "app", "t", "mine"))
	endLocks(t, db)
	select {
	case <-hold.Lost:
	case <-time.After(10 * time.Second):
		t.Error("the hold is not lost, though its claim is gone")
	}
	hold.Release()
	hold.Release()
	again, err := l.LockTable(ctx, "app", "t")
	if err != nil || again == nil {
		t.Fatalf("the lock is not free at once: %v", err)
	}
	again.Release()
}

// endLocks ends every connection that holds a table's lock, as a broken network does.
func endLocks(t *testing.T, db *pgtest.DB) {
	t.Helper()
	if n := pgtest.Value[int](t, db, fmt.Sprintf(`SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
		WHERE datname = '%s' AND application_name LIKE 'spillway:lock %%'`, db.Name)); n == 0 {
		t.Fatal("no connection holds a lock")
	}
}
