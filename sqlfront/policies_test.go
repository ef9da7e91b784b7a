package sqlfront_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront"
)

// policies are kept in memory.
type policies struct {
	mu  sync.Mutex
	all map[jobmanager.Table]sqlfront.Policy
}

func (p *policies) Set(_ context.Context, s sqlfront.PolicySpec) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Flush["storage"] == "gone" {
		return sqlfront.ErrNoStorage
	}
	n := sqlfront.Policy{PolicyRule: s.PolicyRule, Table: s.Table, SetBy: s.User, Statement: s.Statement}
	if s.Paused {
		n.PausedAt, n.PausedBy = &created, s.User
	}
	p.all[s.Table] = n
	return nil
}

func (p *policies) change(t jobmanager.Table, f func(*sqlfront.Policy)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	have, ok := p.all[t]
	if !ok {
		return sqlfront.ErrNoPolicy
	}
	if f(&have); have.Table.Name == "" {
		delete(p.all, t)
		return nil
	}
	p.all[t] = have
	return nil
}

func (p *policies) Reset(_ context.Context, t jobmanager.Table) error {
	return p.change(t, func(p *sqlfront.Policy) { *p = sqlfront.Policy{} })
}
func (p *policies) Pause(_ context.Context, t jobmanager.Table, user string) error {
	return p.change(t, func(p *sqlfront.Policy) { p.PausedAt, p.PausedBy = &created, user })
}
func (p *policies) Resume(_ context.Context, t jobmanager.Table) error {
	return p.change(t, func(p *sqlfront.Policy) { p.PausedAt, p.PausedBy = nil, "" })
}
func (p *policies) Policy(_ context.Context, t jobmanager.Table) (out sqlfront.Policy, err error) {
	err = p.change(t, func(p *sqlfront.Policy) { out = *p })
	return out, err
}
func (p *policies) Policies(context.Context) (out []sqlfront.Policy, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		out = append(out, one)
	}
	return out, nil
}

func newPolicyWorld(t *testing.T) (*world, *policies, *pgx.Conn) {
	t.Helper()
	p := &policies{all: map[jobmanager.Table]sqlfront.Policy{}}
	w := newWorld(t, &sqlfront.Options{Policies: p})
	w.Exec(t, `CREATE TABLE app.t (id bigint, tenant int, kind text, at timestamptz, "B ""s" date)`)
	return w, p, w.through(t, w.OwnerURL, pgx.QueryExecModeCacheDescribe)
}

func TestSetPolicy(t *testing.T) { // A22
	t.Parallel()
	w, p, conn := newPolicyWorld(t)
	table := jobmanager.Table{Namespace: "app", Name: "t"}
	exec := func(sql string) error {
		_, err := conn.Exec(t.Context(), sql)
		return err
	}
	if err := exec(`ALTER TABLE app.t SET FLUSH POLICY (interval = '1 day 00:00:01.5', rows = 10, bytes = '2TB', min_rows = 3, older_than = '7 days', age_column = "B ""s", keep_rows = 5,
		where = $$kind <> 'x'$$, storage = archive, partition_by = (tenant, month(at)), paused = true)`); err != nil {
		t.Fatal(err)
	}
	got := p.all[table]
	if got.Interval != 24*time.Hour+1500*time.Millisecond || got.Rows != 10 || got.Bytes != 2<<40 || got.MinRows != 3 || got.PausedAt == nil || got.Flush["older_than"] != "7 days" ||
		got.Flush["age_column"] != `B "s` || got.Flush["keep_rows"] != "5" || !strings.Contains(got.Flush["where"], "<>") || got.Flush["storage"] != "archive" || got.Flush["paused"] != "" {
		t.Errorf("%+v", got)
	}
	if err := exec("ALTER TABLE app.t SET FLUSH POLICY (rows = 1, keep_rows = 5, age_column = id)"); err != nil {
		t.Fatal(err)
	}
	if got := p.all[table]; got.Interval != 0 || got.PausedAt != nil || len(got.Flush) != 2 {
		t.Errorf("not replaced: %+v", got)
	}
	for sql, want := range map[string]struct {
		code string
		at   string // what the position points at
	}{
		"SET FLUSH POLICY (older_than = '1 day', age_column = at)":           {"22023", "(older"},
		"SET FLUSH POLICY (interval = '1 year')":                             {"22023", "'1 year"},
		"SET FLUSH POLICY (interval = '999 ms')":                             {"22023", "'999"},
		"SET FLUSH POLICY (interval = 'soon')":                               {"22007", "'soon"},
		"SET FLUSH POLICY (rows = 0)":                                        {"22023", "0)"},
		"SET FLUSH POLICY (rows = 1, unregistered)":                          {"22023", "unreg"},
		"SET FLUSH POLICY (rows = 1, triggers = fire)":                       {"42501", "triggers"},
		"SET FLUSH POLICY (rows = 1, storage = gone)":                        {"22023", "gone"},
		"SET FLUSH POLICY (rows = 1, where = 'id > 1 AND nope')":             {"42703", "nope"},
		"SET FLUSH POLICY (rows = 1, where = $q$id > 1 AND nope$q$)":         {"42703", "nope"},
		"SET FLUSH POLICY (rows = 1, where = E'id > 1 AND \\x6eope')":        {"42703", "E'id"},
		"SET FLUSH POLICY (rows = 1, where = 'id > (1')":                     {"42601", "(1"},
		"SET FLUSH POLICY (rows = 1, where = 'id > 1; x')":                   {"42601", "; x"},
		"SET FLUSH POLICY (rows = 1, where = 'at < now()')":                  {"0A000", "at <"},
		"SET FLUSH POLICY (rows = 1, where = 'id IN (SELECT 1)')":            {"0A000", "id IN"},
		"SET FLUSH POLICY (rows = 1, older_than = '1 day')":                  {"42702", "'1 day"},
		"SET FLUSH POLICY (rows = 1, older_than = '1 day', age_column = id)": {"42804", "id)"},
		"SET FLUSH POLICY (rows = 1, keep_rows = 3, age_column = kind)":      {"42804", "kind"},
		"SET FLUSH POLICY (rows = 1, keep_rows = 3, age_column = nobody)":    {"42703", "nobody"},
		"SET FLUSH POLICY (rows = 1, age_column = at)":                       {"22023", "age_column"},
	} {
		sql = "ALTER TABLE app.t " + sql
		pe := pgError(t, exec(sql))
		if pe.Code != want.code || pe.Position == 0 || !strings.HasPrefix(sql[min(int(pe.Position)-1, len(sql)):], want.at) {
			t.Errorf("%s: %s at %d: %s", sql, pe.Code, pe.Position, pe.Message)
		}
	}

	other, url := w.user(t, "other", "GRANT USAGE ON SCHEMA app TO USER", "GRANT SELECT ON app.t TO USER")
	theirs := w.through(t, url, pgx.QueryExecModeSimpleProtocol)
	for _, sql := range []string{"ALTER TABLE app.t SET FLUSH POLICY (rows = 2)", "ALTER TABLE app.t RESET FLUSH POLICY", "ALTER TABLE app.t PAUSE FLUSH POLICY",
		"ALTER TABLE app.t RESUME FLUSH POLICY", "SHOW FLUSH POLICIES", "SHOW FLUSH POLICY FOR app.t"} {
		if _, err := theirs.Exec(t.Context(), sql); pgError(t, err).Code != "42501" {
			t.Errorf("%s by %s: %v", sql, other, err)
		}
	}
	if p.all[table].Rows != 1 {
		t.Errorf("%+v", p.all[table])
	}
	for _, sql := range []string{"PAUSE", "RESUME", "RESET"} {
		if err := exec("ALTER TABLE app.t " + sql + " FLUSH POLICY"); err != nil {
			t.Error(err)
		}
	}
	for _, sql := range []string{"ALTER TABLE app.t RESET FLUSH POLICY", "SHOW FLUSH POLICY FOR app.t"} {
		if pe := pgError(t, exec(sql)); pe.Code != "42704" {
			t.Errorf("%s: %v", sql, pe)
		}
	}
	var outcomes []string
	for _, e := range w.catalog.entries {
		if strings.HasPrefix(e.Outcome, "policy") {
			outcomes = append(outcomes, e.Outcome)
		}
	}
	if !slices.Equal(outcomes, []string{"policy set", "policy set", "policy paused", "policy resumed", "policy reset"}) {
		t.Errorf("audit: %v", outcomes)
	}
}

// A FLUSH takes over where files lie and what is in them, and nothing else; what the statement names, it says itself.
func TestFlushFollowsPolicy(t *testing.T) { // A22
	t.Parallel()
	w, p, conn := newPolicyWorld(t)
	for _, sql := range []string{
		`ALTER TABLE app.t SET FLUSH POLICY (rows = 1, storage = archive, partition_by = (tenant), codec = zstd, on_unrepresentable = null, older_than = '7 days', age_column = at,
			keep_rows = 5, where = 'id > 1', max_rows_per_second = 10, vacuum = true, parallelism = 7)`,
		"FLUSH TABLE app.t WITH (codec = none, on_unrepresentable = error)",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	got := w.jobs.specs[0].Params
	want := map[string]string{"storage": "archive", "partition_by": "tenant", "codec": "none", "parallelism": "7"}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, not %q", name, got[name], value)
		}
	}
	if err := p.change(jobmanager.Table{Namespace: "app", Name: "t"}, func(p *sqlfront.Policy) { p.Unreadable = "moon" }); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "FLUSH TABLE app.t"); pgError(t, err).Code != "55000" {
		t.Error(err)
	}
}
