package parse

import "testing"

func TestUnqualify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ expr, table, want string }{
		{"(events.id < 5)", "events", "(id < 5)"},
		{"((events.note = 'events.id'::text) OR (\"Odd\".x = 1))", "events", "((note = 'events.id'::text) OR (\"Odd\".x = 1))"},
		{"(\"Odd\".\"a b\" = 1)", "Odd", "(\"a b\" = 1)"},
		{"(mood.feel = 'ok'::mood.feel)", "mood", "(feel = 'ok'::mood.feel)"},
		{"((events.pair).a COLLATE events.\"x\" > 'y')", "events", "((pair).a COLLATE events.\"x\" > 'y')"},
		{"(a.events.id > 1)", "events", "(a.events.id > 1)"},
	} {
		got, err := Unqualify(c.expr, c.table)
		if err != nil || got != c.want {
			t.Errorf("Unqualify(%s) = %s, %v, want %s", c.expr, got, err, c.want)
		}
	}
	if _, err := Unqualify("'open", "t"); err == nil {
		t.Error("no error")
	}
}

func TestSubstitute(t *testing.T) {
	t.Parallel()
	with := map[string]string{"now()": "T", "CURRENT_DATE": "D"}
	for expr, want := range map[string]string{
		"(created_at < (now() - '7 days'::interval))":            "(created_at < (T - '7 days'::interval))",
		"(d = CURRENT_DATE) AND 'now() CURRENT_DATE' <> \"now\"": "(d = D) AND 'now() CURRENT_DATE' <> \"now\"",
		"(x.now() OR now(1) OR \"CURRENT_DATE\")":                "(x.now() OR now(1) OR \"CURRENT_DATE\")",
	} {
		if got, err := Substitute(expr, with); err != nil || got != want {
			t.Errorf("Substitute(%s) = %s, %v", expr, got, err)
		}
	}
}
