package sqlclient

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/cli/words"
)

const suggestPatience = 2 * time.Second

// unknownNames are the errors of the server that say a name it does not know, and what is asked for names that it does.
var unknownNames = []struct {
	code, query string
	message     *regexp.Regexp
}{
	{"42P01", TableNames, regexp.MustCompile(`^relation "(.+)" does not exist`)},
	{"42704", AllJobs, regexp.MustCompile(`^job "(.+)" not found`)},
	{"22023", AllJobs, regexp.MustCompile(`^malformed job id "(.+)":`)},
	{"42704", "SHOW STORAGES", regexp.MustCompile(`^storage "(.+)" does not exist`)},
}

// suggest adds to the server's answer which name was probably meant. It asks on the same connection, and only outside a
// transaction, which a question that fails would abort.
func (c *Client) suggest(ctx context.Context, err *pgconn.PgError) {
	for _, u := range unknownNames {
		m := u.message.FindStringSubmatch(err.Message)
		if err.Code != u.code || m == nil || strings.HasPrefix(err.Hint, "did you mean") || c.Conn.IsClosed() || c.Conn.TxStatus() != 'I' || ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, suggestPatience)
		defer cancel()
		names, failed := c.Names(ctx, u.query)
		if failed != nil {
			return // the answer stands without it
		}
		var plain []string
		for _, n := range names {
			plain = append(plain, n.Name)
		}
		if d := words.DidYouMean(words.Nearest(m[1], plain)); d != "" {
			err.Hint = d
		}
		return
	}
}
