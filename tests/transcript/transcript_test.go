package transcript

import "testing"

func TestCompare(t *testing.T) {
	t.Parallel()
	const a, b = "0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f", "11111111-2222-3333-4444-555555555555"
	known := Book{}
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"x | " + a + "\n(1 row)", "x  |   " + b + "\n(1 row)", true},
		{a, b, true},
		{a, a, false},
		{"at 2026-01-01 00:00:00+00", "at 2031-12-31 23:59:59.123+02", true},
		{"… rows", "NOTICE:  working\n17 rows", true},
		{"NOTICE:  done", "NOTICE:  working\nNOTICE:  done", true},
		{"one\n…\nfour", "one\ntwo\nthree\nfour", true},
		{"one\n…", "one", true},
		{"…\nfour", "one\nfive", false},
		{"one\ntwo", "one", false},
		{"one", "one\ntwo", false},
		{"a.b", "axb", false},
	} {
		if err := known.Compare(c.want, c.got); (err == nil) != c.ok {
			t.Errorf("%q and %q: %v", c.want, c.got, err)
		}
	}
	if got := known.Translate("KILL JOB 'flush:app.t:" + a + "'"); got != "KILL JOB 'flush:app.t:"+b+"'" {
		t.Error(got)
	}
}
