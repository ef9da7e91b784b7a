package command

import (
	"strings"
	"testing"

	"github.com/spillwaydb/spillway/internal/embedpg/pgtest"
)

func TestFlushStatement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o     flushOptions
		given []string
		want  string
		bad   bool
	}{
		{flushOptions{}, []string{"app.events"}, "FLUSH TABLE app.events", false},
		{flushOptions{olderThan: "7 days"}, []string{"app.events"}, "FLUSH TABLE app.events OLDER THAN '7 days'", false},
		{flushOptions{olderThan: "1 day'", ageColumn: `"At"`, with: []string{"parallelism=4"}, where: "id < 5"}, []string{"app.events"},
			`FLUSH TABLE app.events OLDER THAN '1 day''' ON "At" WITH (parallelism = '4') WHERE id < 5`, false},
		{flushOptions{all: true, in: "app"}, nil, "FLUSH ALL TABLES IN app", false},
		{flushOptions{all: true, olderThan: "7 days"}, nil, "", true},
		{flushOptions{ageColumn: "at"}, []string{"app.events"}, "", true},
	} {
		got, err := c.o.statement(c.given)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: %s, %v", c.o, got, err)
		}
	}
}

// By age, from the command line to the answer that tells the space story; and EXPLAIN before it, which moves nothing.
func TestFlushByAge(t *testing.T) { // A17
	t.Parallel()
	s := newSite(t, []string{"app.events"}, []string{
		"CREATE TABLE app.events AS SELECT i AS id, now() - i * interval '1 hour' AS at FROM generate_series(1, 1000) i", "CREATE INDEX ON app.events (at)", "ANALYZE app.events",
	})
	hot := func() int64 { return pgtest.Value[int64](t, s.db, "SELECT count(*) FROM app.events") }
	r := s.spillway(t, "sql", "-c", "EXPLAIN FLUSH TABLE app.events OLDER THAN '10 days'", "-o", "json")
	mustContain(t, r.out, `"property":"outcome","value":"ready"`, `"property":"index"`)
	if r.code != 0 || hot() != 1000 {
		t.Errorf("EXPLAIN: exit code %d, %d rows are hot; %s", r.code, hot(), r.errOut)
	}
	r = s.spillway(t, "flush", "app.events", "--older-than", "10 days", "--age-column", "at", "-o", "json")
	i := strings.Index(r.out, "flush:app.events:")
	if r.code != 0 || i < 0 {
		t.Fatal(r.out, r.errOut)
	}
	id := r.out[i : i+len("flush:app.events:")+36]
	if r = s.spillway(t, "jobs", "wait", id); r.code != 0 || hot() != 239 {
		t.Errorf("wait: exit code %d, %d rows are hot; %s", r.code, hot(), r.errOut)
	}
	r = s.spillway(t, "sql", "-c", "FLUSH TABLE app.events WITH (wait)")
	mustContain(t, r.errOut, "app.events: 239 rows moved, ", " hot before, ", "VACUUM can make free about", " cold in 2 segments")
	if r.code != 0 || hot() != 0 {
		t.Errorf("all: exit code %d, %d rows are hot", r.code, hot())
	}
}
