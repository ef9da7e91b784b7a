package e2e

import (
	"slices"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

// A28: of several jobs that run, KILL JOBS stops those that match, and only them.
func TestKillJobsWhere(t *testing.T) {
	t.Parallel()
	u := shared(t)
	s := u.super(t)
	var tables []*table
	var gates []*gate
	var ids []string
	for _, name := range []string{"many_one", "many_two", "many_three"} {
		tb := u.table(t, name, 600)
		g := tb.gate("OLD.id = 300")
		a := s.flush(tb, fire(small))
		g.held(a.id, 1)
		tables, gates, ids = append(tables, tb), append(gates, g), append(ids, a.id)
	}
	const where = "JOBS WHERE target LIKE 'app.many%' AND target <> 'app.many_three'"
	for _, verb := range []string{"EXPLAIN KILL ", "KILL "} {
		var got []string
		for _, row := range s.rows(verb + where) {
			got = append(got, row["job_id"].(string))
			if want := map[string]string{"KILL ": "cancelling", "EXPLAIN KILL ": "running"}[verb]; row["status"] != want || row["error"] != nil {
				t.Errorf("%s: %v", verb, row)
			}
		}
		if want := []string{ids[0], ids[1]}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", verb, got, want)
		}
	}
	for _, i := range []int{0, 1} {
		if j := s.wait(ids[i], "cancelled"); j.CancelledAt == nil {
			t.Errorf("%+v", j)
		}
	}
	if j := s.job(ids[2]); j.Status != "running" || j.CancelledAt != nil {
		t.Errorf("%+v", j)
	}
	for _, g := range gates {
		g.open()
	}
	s.wait(ids[2], "completed")
	if tables[2].hot() != 0 || tables[0].hot() == 0 {
		t.Errorf("%d and %d rows are hot", tables[2].hot(), tables[0].hot())
	}
	audited := pgtest.Value[int](t, u.db, "SELECT count(*) FROM spillway.audit WHERE statement = 'KILL '||$1 AND outcome = 'cancelling' AND job_id IN ($2, $3)", where, ids[0], ids[1])
	if audited != 2 {
		t.Errorf("%d audited kills", audited)
	}
}
