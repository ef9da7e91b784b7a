package ledger_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
	"github.com/spillwaydb/spillway/internal/ledger"
)

// A policy in the ledger: set, replaced, held, resumed and taken away; what became of the old one does not stick to the new one.
func TestPolicies(t *testing.T) {
	t.Parallel()
	l, db, _ := migrated(t)
	ctx := t.Context()
	set := func(table, policy, storage string, paused bool) error {
		return l.SetPolicy(ctx, ledger.PolicyRow{Schema: "app", Table: table, Policy: json.RawMessage(policy), SetBy: "anna", Statement: "ALTER \x00 TABLE"}, storage, paused)
	}
	must(t, set("t", `{"interval": "1h0m0s", "rows": 5}`, "", true))
	p, err := l.Policy(ctx, "app", "t")
	must(t, err)
	if p.PausedAt == nil || p.PausedBy != "anna" || p.SetBy != "anna" || p.NextFlushAt == nil || !p.NextFlushAt.Equal(p.SetAt.Add(time.Hour)) || p.Statement == "" {
		t.Errorf("%+v", p)
	}
	must(t, l.ResumePolicy(ctx, "app", "t"))
	must(t, l.PausePolicy(ctx, "app", "t", "restore:app.t:x"))
	must(t, l.HoldPolicy(ctx, "app", "t", "bert")) // rests already
	if p, err = l.Policy(ctx, "app", "t"); err != nil || p.PausedBy != "restore:app.t:x" {
		t.Errorf("%+v, %v", p, err)
	}
	db.Super(t, `UPDATE spillway.tables SET policy_failures = 3, policy_error = 'no', policy_error_class = 'storage', policy_next_try = now(), policy_job_id = 'j',
		policy_tried_at = now(), last_flush_at = '2030-01-01 00:00:00+00'`)
	must(t, l.ResumePolicy(ctx, "app", "t"))
	if p, err = l.Policy(ctx, "app", "t"); err != nil || p.PausedAt != nil || p.Failures != 0 || p.Error != "" || p.NextTry != nil || p.JobID != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if !p.NextFlushAt.Equal(time.Date(2030, 1, 1, 1, 0, 0, 0, time.UTC)) {
		t.Errorf("next flush %s", p.NextFlushAt)
	}
	db.Super(t, `UPDATE spillway.tables SET policy_failures = 3, policy_error = 'no', policy_next_try = now(), policy_paused_at = now(), policy_paused_by = 'x'`)
	must(t, set("t", `{"bytes": 7}`, "", false))
	if p, err = l.Policy(ctx, "app", "t"); err != nil || p.PausedAt != nil || p.Failures != 0 || p.Error != "" || p.NextTry != nil || p.NextFlushAt != nil || string(p.Policy) != `{"bytes": 7}` {
		t.Errorf("%+v, %v", p, err)
	}

	// What nobody here can read hides no other table.
	for table, policy := range map[string]string{"new": `{"interval": "1 fortnight"}`, "newer": `{"interval": ""}`, "newest": `"x"`, "z": `{"interval": "24h0m1.5s"}`} {
		must(t, set(table, policy, "", false))
	}
	list, err := l.Policies(ctx)
	if err != nil || len(list) != 5 || list[0].NextFlushAt != nil || list[4].NextFlushAt == nil || !list[4].NextFlushAt.Equal(list[4].SetAt.Add(24*time.Hour+1500*time.Millisecond)) {
		t.Errorf("%+v, %v", list, err)
	}
	if n := pgtest.Value[int64](t, db, `SELECT count(next_flush_at) FROM system.tables WHERE policy_status = 'active'`); n != 1 {
		t.Errorf("%d times of next flushes in the view", n)
	}
	db.Super(t, `UPDATE spillway.tables SET policy = '{"rows": 1, "moon": "full"}' WHERE table_name = 'newer'`)
	if got := pgtest.Value[string](t, db, `SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM system.tables WHERE policy_status = 'unreadable'`); got != "new newer newest" {
		t.Errorf("the view calls %q unreadable", got)
	}

	must(t, l.ResetPolicy(ctx, "app", "t"))
	for what, err := range map[string]error{
		"reset": l.ResetPolicy(ctx, "app", "t"), "resume": l.ResumePolicy(ctx, "app", "t"), "hold": l.HoldPolicy(ctx, "app", "nothing", "x"),
	} {
		if !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := l.Policy(ctx, "app", "t"); !errors.Is(err, ledger.ErrNotFound) {
		t.Error(err)
	}
	if known, err := l.RegisteredTables(ctx, "app"); err != nil || len(known) != 5 {
		t.Errorf("%+v, %v", known, err)
	}
	must(t, l.PausePolicy(ctx, "app", "t", "restore:app.t:y"))
	if n := pgtest.Value[int64](t, db, `SELECT count(*) FROM system.tables WHERE table_name = 't' AND coalesce(policy_status, policy_paused_by) IS NULL AND policy_failures IS NULL`); n != 1 {
		t.Error("the view tells of a policy that is not there")
	}

	if err := set("t", `{"rows": 1, "flush": {"storage": "gone"}}`, "gone", false); !errors.Is(err, ledger.ErrNoStorage) {
		t.Error(err)
	}
}
