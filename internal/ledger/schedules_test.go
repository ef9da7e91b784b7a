package ledger_test

import (
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/ledger"
)

// A46: a run of a schedule finds the job that an earlier try of it started: the first since then, of its own table, type and schedule.
func TestScheduledJob(t *testing.T) {
	t.Parallel()
	l, _, _ := migrated(t)
	since := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	for id, h := range map[string]ledger.HistoryRow{
		"before":         {CreatedAt: since.Add(-time.Microsecond)},
		"first":          {CreatedAt: since},
		"second":         {CreatedAt: since.Add(time.Second)},
		"other schedule": {CreatedAt: since, Schedule: "weekly"},
		"other type":     {CreatedAt: since, JobType: "verify"},
		"other table":    {CreatedAt: since, Table: "u"},
	} {
		h.JobID, h.Schema, h.Status, h.Trigger = id, "app", "completed", "schedule"
		if h.Schedule == "" {
			h.Schedule = "nightly"
		}
		if h.JobType == "" {
			h.JobType = "flush"
		}
		if h.Table == "" {
			h.Table = "t"
		}
		if _, err := l.InsertHistory(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Time]string{since: "first", since.Add(time.Millisecond): "second", since.Add(time.Minute): ""} {
		if got, err := l.ScheduledJob(t.Context(), "nightly", "flush", "app", "t", since); err != nil || got != want {
			t.Errorf("since %s: %q, %v; want %q", since, got, err, want)
		}
	}
}
