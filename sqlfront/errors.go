package sqlfront

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

// SQLSTATEs of this package.
const (
	codeInvalidValue   = "22023"
	codeNullValue      = "22004"
	codeNotSupported   = "0A000"
	codeActiveTx       = "25001"
	codePrivilege      = "42501"
	codeUndefinedTable = "42P01"
	codeUndefined      = "42704"
	codeWrongType      = "42809"
	codeMismatch       = "42804"
	codeNotReady       = "55000"
	codeInUse          = "55006"
	codeTooLarge       = "54000"
	codeCannotConnect  = "57P03"
	codeLost           = "08006"
	codeCancelled      = "57014"
	codeSystem         = "58000"
	codeDamaged        = "XX001"
	codeInternal       = "XX000"
)

// ErrNoTable is returned by a Planner that sees no table of the name.
var ErrNoTable = errors.New("table does not exist")

// sqlError is the one place where errors get their SQLSTATE. pos is the place in the statement to blame, if the error
// does not know better.
func sqlError(err error, pos int) *pgwire.Error {
	var (
		wire     *pgwire.Error
		syntax   *parse.Error
		badID    *jobmanager.IDError
		finished *jobmanager.FinishedError
		busy     *jobmanager.BusyError
		spec     *jobmanager.SpecError
	)
	switch {
	case errors.As(err, &wire):
		return wire
	case errors.As(err, &syntax):
		return &pgwire.Error{Code: syntax.SQLState, Message: syntax.Msg, Hint: syntax.Hint, Position: syntax.Pos}
	case errors.As(err, &badID):
		return &pgwire.Error{Code: codeInvalidValue, Message: badID.Error(), Position: pos,
			Hint: "a job id looks like flush:app.events:0193d2c4-7b1e-7c3a-9f4e-2b1d5c6a7e8f; SHOW JOBS lists those of running jobs"}
	case errors.As(err, &finished):
		return &pgwire.Error{Code: codeNotReady, Message: finished.Error(), Position: pos}
	case errors.As(err, &busy) && busy.Manager != "":
		return &pgwire.Error{Code: codeInUse, Message: busy.Error(), Position: pos, Hint: "wait for it, or stop the process that runs it"}
	case errors.As(err, &busy):
		return &pgwire.Error{Code: codeInUse, Message: busy.Error(), Position: pos,
			Hint: "wait for it, or KILL JOB '" + busy.Running.String() + "'"}
	case errors.As(err, &spec):
		return &pgwire.Error{Code: codeInvalidValue, Message: spec.Msg, Hint: spec.Hint, Position: pos}
	case errors.Is(err, jobmanager.ErrJobNotFound):
		return &pgwire.Error{Code: codeUndefined, Message: err.Error(), Position: pos}
	case errors.Is(err, jobmanager.ErrUnavailable):
		return &pgwire.Error{Code: codeCannotConnect, Message: err.Error(),
			Hint: "the job service does not answer; jobs that run are not lost. Try again later"}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &pgwire.Error{Code: codeCancelled, Message: "canceling statement due to user request"}
	}
	if code := lostCode(err); code != "" {
		return &pgwire.Error{Code: code, Message: "PostgreSQL went away during the statement: " + err.Error(),
			Hint: "jobs that run are not lost. Try again when the database answers"}
	}
	return &pgwire.Error{Code: codeInternal, Message: err.Error()}
}

// lostCode is the SQLSTATE of an error that says that the database of the ledger ended the connection, refuses new ones or is gone;
// "" of any other.
func lostCode(err error) string {
	var (
		said    *pgconn.PgError
		connect *pgconn.ConnectError
		network net.Error
	)
	switch {
	case errors.As(err, &said):
		if strings.HasPrefix(said.Code, "57P") || strings.HasPrefix(said.Code, "08") {
			return said.Code
		}
		return ""
	case errors.As(err, &connect), errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET), errors.Is(err, pgconn.ErrConnClosed):
		return codeLost
	}
	return ""
}

// classes gives an SQLSTATE to the error classes of failed jobs, for statements that wait for them.
var classes = map[string]string{
	"invalid":         codeInvalidValue,
	"privilege":       codePrivilege,
	"refused":         codeNotReady,
	"data":            "22000",
	"unrepresentable": "22003",
	"missing_table":   codeUndefinedTable,
	"connection":      "08006",
	"lock":            "55P03",
	"deadlock":        "40P01",
	"resources":       "53000",
	"storage":         "58030",
	"storage_denied":  "28000",
	"storage_full":    "53100",
	"shutdown":        "57P01",
	"replan":          codeNotReady,
	"conflict":        "40001",
	"busy":            codeInUse,
	"interrupted":     codeCancelled,
	"damaged":         codeDamaged,
	"cancelled":       codeCancelled,
	"terminated":      codeCancelled,
}

func classCode(class string) string {
	if code, ok := classes[class]; ok {
		return code
	}
	return codeSystem
}
