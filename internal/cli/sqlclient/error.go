package sqlclient

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// OfStatement keeps an answer of the server with the statement that it belongs to.
func OfStatement(err error, statement string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return &StatementError{Statement: statement, Err: pg}
	}
	return err
}

// StatementError is PostgreSQL's or the front-end's answer to a statement, kept with the statement so that a position can
// be shown.
type StatementError struct {
	Statement string
	Err       *pgconn.PgError
}

// Error implements error.
func (e *StatementError) Error() string { return e.Err.Message + " (SQLSTATE " + e.Err.Code + ")" }

// Unwrap returns the answer.
func (e *StatementError) Unwrap() error { return e.Err }

// Hint is the server's.
func (e *StatementError) Hint() string { return e.Err.Hint }

// Detail returns the lines between message and hint: the marked place in the statement, and the server's DETAIL.
func (e *StatementError) Detail() string {
	var b strings.Builder
	b.WriteString(caret(e.Statement, int(e.Err.Position)))
	if e.Err.Detail != "" {
		b.WriteString("detail: " + e.Err.Detail + "\n")
	}
	return b.String()
}

// caret returns the line of statement that holds the character number pos, counted from 1, and a mark under it.
func caret(statement string, pos int) string {
	runes := []rune(statement)
	if pos < 1 || pos > len(runes)+1 {
		return ""
	}
	start, end := pos-1, pos-1
	for start > 0 && runes[start-1] != '\n' {
		start--
	}
	for end < len(runes) && runes[end] != '\n' {
		end++
	}
	line := strings.ReplaceAll(string(runes[start:end]), "\t", " ")
	return "  " + line + "\n  " + strings.Repeat(" ", pos-1-start) + "^\n"
}
