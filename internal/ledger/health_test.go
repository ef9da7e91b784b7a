package ledger_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/spillwaydb/spillway/internal/ledger"
)

// Attempts are sorted by what is still to do about them, and findings count until a newer job has looked again.
func TestHealth(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	h, err := l.Health(t.Context())
	must(t, err)
	none := map[string]int64{"damaged": 0, "missing": 0, "stray": 0, "leftover": 0}
	if h.Open != 0 || h.OldestOpen != 0 || h.Unswept != 0 || h.Tombstones != 0 || h.OldestCondemned != 0 || !maps.Equal(h.Findings, none) {
		t.Errorf("an empty ledger has %+v", h)
	}
	for _, a := range []string{ // created, condemned, swept: minutes ago
		"now() - interval '1 minute', NULL, NULL", "now() - interval '10 minutes', NULL, NULL",
		"now() - interval '30 minutes', now() - interval '20 minutes', NULL", "now() - interval '90 minutes', now() - interval '80 minutes', now()",
	} {
		db.Super(t, fmt.Sprintf(`INSERT INTO spillway.attempts (attempt_id, job_id, chunk, storage, object_prefix, backend_pid, backend_start, created_at, condemned_at, swept_at)
			VALUES ('%s', 'j', 0, 'default', 'p', 1, now(), %s)`, uuid.New(), a))
	}
	now := time.Now()
	end := func(id, typ, table, status, class string, ago time.Duration) {
		t.Helper()
		row := ledger.HistoryRow{JobID: id, JobType: typ, Schema: "app", Table: table, Status: status, CreatedAt: now.Add(-ago)}
		if class != "" {
			row.ErrorClass = &class
		}
		stored, err := l.InsertHistory(t.Context(), row)
		must(t, err)
		again, err := l.InsertHistory(t.Context(), row)
		must(t, err)
		if !stored.Recorded || again.Recorded {
			t.Errorf("recorded %v, and again %v", stored.Recorded, again.Recorded)
		}
	}
	found := func(job, kind, action string, n int) {
		t.Helper()
		for i := range n {
			must(t, l.PutFindings(t.Context(), []ledger.Finding{{JobID: job, Location: fmt.Sprint(kind, action, i), Storage: "default", Kind: kind, Action: action}}))
		}
	}
	end("v1", "verify", "t", "failed", "damaged", 3*time.Hour)
	found("v1", "damaged", "reported", 5) // v2 has looked again
	end("v2", "verify", "t", "failed", "damaged", 2*time.Hour)
	found("v2", "missing", "reported", 2)
	found("v2", "stray", "reported", 3)
	end("v3", "verify", "t", "failed", "connection", time.Hour) // it did not look at all
	end("v4", "verify", "u", "failed", "damaged", 2*time.Hour)
	found("v4", "damaged", "reported", 1)
	end("f", "flush", "u", "completed", "", time.Hour)
	found("live", "damaged", "reported", 4) // it has not ended
	end("c", "cleanup", "", "completed", "", time.Hour)
	found("c", "leftover", "deleted", 6)
	found("c", "leftover", "kept", 1)
	h, err = l.Health(t.Context())
	must(t, err)
	if want := map[string]int64{"damaged": 1, "missing": 2, "stray": 3, "leftover": 1}; !maps.Equal(h.Findings, want) {
		t.Errorf("findings %v, want %v", h.Findings, want)
	}
	about := func(got, want float64) bool { return got >= want && got < want+300 }
	if h.Open != 2 || h.Unswept != 1 || h.Tombstones != 1 || !about(h.OldestOpen, 600) || !about(h.OldestCondemned, 1200) {
		t.Errorf("attempts: %+v", h)
	}
	end("v5", "verify", "t", "completed", "", time.Minute)
	h, err = l.Health(t.Context())
	must(t, err)
	if h.Findings["missing"] != 0 || h.Findings["stray"] != 0 || h.Findings["damaged"] != 1 {
		t.Errorf("findings after a VERIFY that found nothing: %v", h.Findings)
	}
}
