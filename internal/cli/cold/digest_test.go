package cold

import "testing"

func TestDigest(t *testing.T) {
	t.Parallel()
	row := func(values ...string) [][]byte {
		var r [][]byte
		for _, v := range values {
			if v == "NULL" {
				r = append(r, nil)
			} else {
				r = append(r, []byte(v))
			}
		}
		return r
	}
	of := func(rows ...[][]byte) Digest {
		var d Digest
		for _, r := range rows {
			d.Add(r)
		}
		return d
	}
	a, b, c := row("1", "x"), row("2", "NULL"), row("2", "")
	all := of(a, b, c)
	hot, cold := of(c), of(b, a)
	if sum := hot.Plus(cold); !sum.Equal(all) {
		t.Error("the order of rows, or who holds them, changes the digest")
	}
	for name, other := range map[string]Digest{
		"lost": of(a, b), "doubled": of(a, b, c, c), "NULL for empty": of(a, b, b), "values joined": of(row("1x", ""), b, c),
		"one lost, one doubled": of(a, b, b),
	} {
		if all.Equal(other) {
			t.Errorf("%s: not seen", name)
		}
	}
}
