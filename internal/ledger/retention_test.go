package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// A47: jobs that ended longer ago than they are kept go, with all that only they needed, and no others.
func TestForgetJobs(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	const day = 24 * time.Hour
	now := time.Now()
	end := func(id string, created, finished time.Duration) {
		t.Helper()
		_, err := l.InsertHistory(t.Context(), ledger.HistoryRow{JobID: id, JobType: "flush", Schema: "app", Table: "t", Status: "failed",
			CreatedAt: now.Add(-created), FinishedAt: now.Add(-finished)})
		must(t, err)
		request := uuid.New()
		must(t, l.PutRequest(t.Context(), ledger.Request{ID: request, JobType: "flush", Schema: "app", Table: "t", Statement: id}))
		db.Super(t, fmt.Sprintf("INSERT INTO spillway.plans (job_id, generation, request_id, first_chunk, chunks, rows_estimate, plan) VALUES ('%s', 1, '%s', 0, 1, 1, '{}')", id, request),
			fmt.Sprintf("INSERT INTO spillway.failures (job_id, class, message) VALUES ('%s', 'c', 'm')", id),
			fmt.Sprintf("INSERT INTO spillway.chunks (job_id, chunk, attempt_id) VALUES ('%s', 0, '%s')", id, uuid.New()))
	}
	end("young", 29*day, 29*day)
	end("long", 40*day, day) // it took so long
	for i := range 5 {
		end(fmt.Sprint("old ", i), time.Duration(31+i)*day, 31*day)
	}
	left := func(table, column string) string {
		t.Helper()
		return pgtest.Value[string](t, db, "SELECT coalesce(string_agg("+column+", ', ' ORDER BY "+column+"), '') FROM spillway."+table)
	}
	for _, want := range []int64{3, 2, 0} {
		if n, err := l.ForgetJobs(t.Context(), 30*day, 3); err != nil || n != want {
			t.Errorf("forgot %d, %v, want %d", n, err, want)
		}
	}
	for table, column := range map[string]string{"job_history": "job_id", "plans": "job_id", "failures": "job_id", "requests": "statement"} {
		if got := left(table, column); got != "long, young" {
			t.Errorf("%s has %q", table, got)
		}
	}
	if n := pgtest.Value[int](t, db, "SELECT count(*)::int FROM spillway.chunks"); n != 7 {
		t.Errorf("%d chunks: they say which rows have moved", n)
	}
}

// Whatever the type of a job and however early it ended, what was asked for goes with it. What a VERIFY or a CLEANUP looked at says
// nothing about rows, and goes too.
func TestForgetJobsOfAllTypes(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	const day = 24 * time.Hour
	now := time.Now()
	end := func(kind, id string, planned bool, age time.Duration) {
		t.Helper()
		request := uuid.New()
		must(t, l.PutRequest(t.Context(), ledger.Request{ID: request, JobType: kind, Schema: "app", Table: "t", Statement: id}))
		if planned {
			_, err := l.PutPlan(t.Context(), ledger.PlanRow{JobID: id, Generation: 1, RequestID: request, Chunks: 1})
			must(t, err)
			must(t, l.MarkChunk(t.Context(), id, 0, 1))
			must(t, l.PutFindings(t.Context(), []ledger.Finding{{JobID: id, Location: "file:///" + id, Storage: "default", Kind: ledger.KindStray, Action: ledger.ActionReported, Problem: "p"}}))
		}
		_, err := l.InsertHistory(t.Context(), ledger.HistoryRow{JobID: id, JobType: kind, Schema: "app", Table: "t", Status: "failed", RequestID: request,
			CreatedAt: now.Add(-age), FinishedAt: now.Add(-age)})
		must(t, err)
	}
	for _, kind := range []string{"flush", "verify", "cleanup"} {
		end(kind, kind+" unplanned", false, 31*day)
		end(kind, kind+" planned", true, 31*day)
		end(kind, kind+" young", true, day)
		end(kind, kind+" young unplanned", false, day)
	}
	live := uuid.New()
	must(t, l.PutRequest(t.Context(), ledger.Request{ID: live, JobType: "verify", Schema: "app", Table: "t", Statement: "waits for its plan"}))
	db.Super(t, "UPDATE spillway.requests SET created_at = now() - interval '90 days'")
	if n, err := l.ForgetJobs(t.Context(), 30*day, 100); err != nil || n != 6 {
		t.Errorf("forgot %d, %v", n, err)
	}
	const young = "cleanup young, flush young, verify young"
	for table, want := range map[string]string{
		"job_history": "cleanup young, cleanup young unplanned, flush young, flush young unplanned, verify young, verify young unplanned",
		"requests":    "cleanup young, cleanup young unplanned, flush young, flush young unplanned, verify young, verify young unplanned, waits for its plan",
		"plans":       young,
		"findings":    young,
		"chunks":      "cleanup young, flush planned, flush young, verify young", // a flush's say which rows have moved
	} {
		column := "job_id"
		if table == "requests" {
			column = "statement"
		}
		got := pgtest.Value[string](t, db, `SELECT coalesce(string_agg(`+column+`, ', ' ORDER BY `+column+` COLLATE "C"), '') FROM spillway.`+table)
		if got != want {
			t.Errorf("%s has %q, want %q", table, got, want)
		}
	}
}

// One at a time is at a task; when it is done, or its session has ended, the next may.
func TestAlone(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	other := func() bool {
		t.Helper()
		ran, err := l.Alone(t.Context(), "task", func(context.Context) error { return nil })
		must(t, err)
		return ran
	}
	ran, err := l.Alone(t.Context(), "task", func(ctx context.Context) error {
		if other() {
			t.Error("two are at it")
		}
		if ran, err := l.Alone(ctx, "another task", func(context.Context) error { return nil }); !ran || err != nil {
			t.Errorf("another task: %v, %v", ran, err)
		}
		return errors.New("and it failed")
	})
	if !ran || err == nil || err.Error() != "and it failed" {
		t.Errorf("ran %v, %v", ran, err)
	}
	if !other() {
		t.Error("the lock was not given back")
	}
	_, err = l.Alone(t.Context(), "task", func(context.Context) error {
		db.Super(t, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
		return nil
	})
	must(t, err)
	for deadline := time.Now().Add(time.Minute); !other(); { // the server gives the lock back a moment after it has said goodbye
		if time.Now().After(deadline) {
			t.Fatal("a session that ended keeps the lock")
		}
	}
}
