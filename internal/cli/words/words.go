package words

import (
	"cmp"
	"slices"
	"strings"
)

func HasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// Nearest returns those of the names that a mistyped word was probably meant to be, the likeliest first, at most two. A word
// of some length that begins a name counts as near: ids are long.
func Nearest(word string, names []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	most := min(3, max(1, len(word)/3))
	for _, n := range names {
		far := edits(strings.ToLower(word), strings.ToLower(n), most)
		if far > most && len(word) > 3 && HasPrefixFold(n, word) {
			far = most
		}
		if far <= most && n != word {
			found = append(found, near{n, far})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.far, b.far) })
	var out []string
	for _, f := range found {
		if f.far == found[0].far && !slices.Contains(out, f.name) && len(out) < 2 {
			out = append(out, f.name)
		}
	}
	return out
}

// edits counts the insertions, deletions, replacements and swaps of neighbours between two words; more than most is most+1.
func edits(a, b string, most int) int {
	x, y := []rune(a), []rune(b)
	if len(x)-len(y) > most || len(y)-len(x) > most {
		return most + 1
	}
	before, row := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		old := before
		before, row = row, make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			d := 1
			if x[i] == y[j] {
				d = 0
			}
			row[j+1] = min(before[j]+d, before[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], old[j-1]+1)
			}
		}
	}
	return min(row[len(y)], most+1)
}

// DidYouMean is a hint that names what is near, or "".
func DidYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}
