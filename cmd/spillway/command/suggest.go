package command

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nearest returns those of the names that a mistyped word was probably meant to be, the likeliest first, at most two. A word
// of some length that begins a name counts as near: ids are long.
func nearest(word string, names []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	most := min(3, max(1, len(word)/3))
	for _, n := range names {
		far := edits(strings.ToLower(word), strings.ToLower(n), most)
		if far > most && len(word) > 3 && hasPrefixFold(n, word) {
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

// didYouMean is a hint that names what is near, or "".
func didYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(near, " or ") + "?"
}

// flagError is the error of a command line whose flags cannot be read.
func flagError(cmd *cobra.Command, err error) error {
	hint := "see `" + cmd.CommandPath() + " --help`"
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		var flags []string
		collect := func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) }
		cmd.Flags().VisitAll(collect)
		cmd.InheritedFlags().VisitAll(collect)
		if d := didYouMean(nearest("--"+name, flags)); d != "" {
			hint = d
		}
	}
	return &usageError{msg: err.Error(), hint: hint}
}

const suggestPatience = 2 * time.Second

// unknownNames are the errors of the server that say a name it does not know, and what is asked for names that it does.
var unknownNames = []struct {
	code, query string
	message     *regexp.Regexp
}{
	{"42P01", tableNames, regexp.MustCompile(`^relation "(.+)" does not exist`)},
	{"42704", allJobs, regexp.MustCompile(`^job "(.+)" not found`)},
	{"22023", allJobs, regexp.MustCompile(`^malformed job id "(.+)":`)},
	{"42704", "SHOW STORAGES", regexp.MustCompile(`^storage "(.+)" does not exist`)},
}

// suggest adds to the server's answer which name was probably meant. It asks on the same connection, and only outside a
// transaction, which a question that fails would abort.
func (c *client) suggest(ctx context.Context, err *pgconn.PgError) {
	for _, u := range unknownNames {
		m := u.message.FindStringSubmatch(err.Message)
		if err.Code != u.code || m == nil || strings.HasPrefix(err.Hint, "did you mean") || c.conn.IsClosed() || c.conn.TxStatus() != 'I' || ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, suggestPatience)
		defer cancel()
		names, failed := c.names(ctx, u.query)
		if failed != nil {
			return // the answer stands without it
		}
		var plain []string
		for _, n := range names {
			plain = append(plain, n.name)
		}
		if d := didYouMean(nearest(m[1], plain)); d != "" {
			err.Hint = d
		}
		return
	}
}
