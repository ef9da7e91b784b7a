package sqlclient

import (
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Literal writes an SQL string constant that reads the same whatever standard_conforming_strings says.
func Literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// PrintNotice shows a NOTICE or WARNING of the server as psql does.
func PrintNotice(w io.Writer, n *pgconn.Notice) {
	fmt.Fprintf(w, "%s:  %s\n", n.Severity, n.Message)
	if n.Detail != "" {
		fmt.Fprintf(w, "DETAIL:  %s\n", n.Detail)
	}
	if n.Hint != "" {
		fmt.Fprintf(w, "HINT:  %s\n", n.Hint)
	}
}
