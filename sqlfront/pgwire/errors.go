package pgwire

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"
)

// SQLSTATEs that the proxy itself answers with.
const (
	codeProtocol        = "08P01"
	codeUpstream        = "08006"
	codeNotSupported    = "0A000"
	codeTooMany         = "53300"
	codeTooLarge        = "54000"
	codeInFailedTx      = "25P02"
	codeDuplicateCursor = "42P03"
	codeCancelled       = "57014"
	codeShutdown        = "57P01"
	codeInternal        = "XX000"
	codeEncoding        = "22021"
	codeUndefinedParam  = "42P02"
	codeBadAuth         = "28000"
	codeDatatype        = "42804"
)

// CodeCannotConnectNow is the SQLSTATE of a server that lets nobody in yet, as of a PostgreSQL that is starting up.
const CodeCannotConnectNow = "57P03"

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("proxy closed")

// errGone ends a session whose client, or whose PostgreSQL, went away. Nobody is left to tell.
var errGone = errors.New("connection closed")

// Causes of a cancelled statement.
var (
	errCancelled  = &Error{Code: codeCancelled, Message: "canceling statement due to user request"}
	errClientGone = errors.New("the client went away")
	errShutdown   = &Error{Code: codeShutdown, Message: "terminating connection due to administrator command"}
)

// Error is an error as PostgreSQL's clients know it. Those that PostgreSQL sent come in this form too.
type Error struct {
	Severity string // "" means ERROR
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Position int // in characters from 1, of the statement; 0: none
}

func (e *Error) Error() string { return fmt.Sprintf("%s (SQLSTATE %s)", e.Message, e.Code) }

// asError finds the *Error in err, or makes one. A cancelled context is told by its cause.
func asError(ctx context.Context, err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if ctx.Err() != nil && errors.As(context.Cause(ctx), &e) {
		return e
	}
	return &Error{Code: codeInternal, Message: err.Error()}
}

func (e *Error) message(offset int) *pgproto3.ErrorResponse {
	severity := e.Severity
	if severity == "" {
		severity = "ERROR"
	}
	position := e.Position
	if position > 0 {
		position += offset
	}
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.Code, Message: e.Message,
		Detail: e.Detail, Hint: e.Hint, Position: int32(position),
	}
}

func decodeError(body []byte) *Error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return &Error{Code: codeProtocol, Message: "PostgreSQL sent an error that cannot be read"}
	}
	return &Error{
		Severity: m.Severity, Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint, Position: int(m.Position),
	}
}
