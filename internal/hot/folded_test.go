package hot

import "testing"

// call writes a function call as PostgreSQL stores it.
func call(oid string, args ...string) string {
	s := "{FUNCEXPR :funcid " + oid + " :funcresulttype 23 :args ("
	for _, a := range args {
		s += a + " "
	}
	return s + ") :location -1}"
}

// Whatever the planner can make a constant of counts as one.
func TestFoldable(t *testing.T) {
	t.Parallel()
	const (
		column   = "{VAR :varno 1 :varattno 2 :vartype 23 :location 1}"
		one      = "{CONST :consttype 23 :constlen 4 :constbyval true :constisnull false :location 1 :constvalue 4 [ 1 0 0 0 0 0 0 0 ]}"
		null     = "{CONST :consttype 23 :constisnull true :location 1 :constvalue <>}"
		evil     = "70001"
		lower    = "870"
		branches = "{CASE :casetype 23 :args ({WHEN :expr " + one + " :result " + one + "}) :defresult " + column + "}"
	)
	for name, c := range map[string]struct {
		expr string
		want bool
	}{
		"of nothing":              {call(evil), true},
		"of a constant":           {call(evil, one), true},
		"of a column":             {call(evil, column), false},
		"of a column and NULL":    {call(evil, column, null), false},
		"of a function of both":   {call(evil, call(lower, column, one)), false},
		"of what NULL makes NULL": {call(evil, call(lower, column, null)), true},
		"of a branch":             {call(evil, branches), true},
		"inside another's":        {call(lower, column, call(evil, one)), true},
		"of what varies by it":    {call(evil, call(evil, column)), false},
		"a relabelled column":     {call(evil, "{RELABELTYPE :arg "+column+" :resulttype 25}"), false},
		"not a user's":            {call(lower, one), false},
		"an operator":             {"({OPEXPR :opno 9 :opfuncid 70001 :args (" + one + " " + one + ")})", true},
		"two, the second":         {"(" + call(evil, column) + " " + call(evil, one) + ") {BOOLEXPR :boolop and :args (" + call(lower, column) + ")}", true},
		"cut":                     {"{FUNCEXPR :funcid 1 :args (", true},
		"one brace too many":      {call(lower, column) + "}", true},
		"a brace in a name":       {"{ROW :colnames (\"a\\{b\") :args (" + column + ")}", false},
	} {
		if got := foldable(c.expr, []int64{70001}); got != c.want {
			t.Errorf("%s: foldable is %v", name, got)
		}
	}
}

func FuzzFoldable(f *testing.F) {
	f.Add(call("1", "{VAR :varno 1}"))
	f.Add("{A \\")
	f.Fuzz(func(_ *testing.T, s string) { foldable(s, []int64{1}) })
}
