package hot

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoTable is returned by Inspect when no table, view or other relation has the name.
var ErrNoTable = errors.New("table does not exist")

// Classes of ConnectError.
const (
	ConnectURL         = "url"         // the URL cannot be read
	ConnectUnreachable = "unreachable" // nobody answers, or the server takes nobody now
	ConnectTLS         = "tls"         // no agreement on encryption
	ConnectAuth        = "auth"        // wrong user or password, or pg_hba.conf says no
	ConnectDatabase    = "database"    // no such database, no right to it, or a read-only standby
	ConnectVersion     = "version"     // PostgreSQL is too old
)

// ConnectError says why there is no connection, and what to do. No password is in it.
type ConnectError struct {
	Class string
	Msg   string
	Hint  string
	Err   error
}

func (e *ConnectError) Error() string { return e.Msg }
func (e *ConnectError) Unwrap() error { return e.Err }

// urlError hides what pgx says of a malformed URL: where a URL cannot be read, a password in it cannot be found and masked.
func urlError() error {
	return &ConnectError{
		Class: ConnectURL,
		Msg:   "the database URL cannot be read",
		Hint:  "Expected postgres://user@host:5432/database; characters such as @ : / # % in a password must be percent-encoded.",
	}
}

// connectError sorts a failed attempt to connect.
func connectError(err error) error {
	var done *ConnectError
	if errors.As(err, &done) {
		return err
	}
	var config *pgconn.ParseConfigError
	if errors.As(err, &config) {
		return urlError()
	}
	where, cause := "PostgreSQL", err
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) {
		c := ce.Config
		where = fmt.Sprintf("PostgreSQL at %s as user %q, database %q", address(c), c.User, c.Database)
		cause = ce.Unwrap() // ce itself carries the password
	}
	class, hint := classOfConnect(cause)
	return &ConnectError{Class: class, Hint: hint, Err: cause, Msg: "cannot connect to " + where + ": " + reason(cause)}
}

// address is host:port, or all of them.
func address(c *pgconn.Config) string {
	all := []string{hostPort(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if a := hostPort(f.Host, f.Port); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return strings.Join(all, ", ")
}

func hostPort(host string, port uint16) string {
	return net.JoinHostPort(host, fmt.Sprint(port))
}

// reason is PostgreSQL's message, or the client's on one line.
func reason(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Message
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

// classOfConnect is the one table of connection errors. Codes: PostgreSQL documentation, appendix A.
func classOfConnect(err error) (class, hint string) {
	switch state := SQLState(err); {
	case strings.HasPrefix(state, "28"):
		return ConnectAuth, "Check user and password in the database URL, and pg_hba.conf on the server."
	case state == "3D000":
		return ConnectDatabase, "Create the database, or name another one in the database URL."
	case state == "42501":
		return ConnectDatabase, "Let the owner of the database run the script that `spillway grants` prints: the role needs CONNECT."
	case strings.HasPrefix(state, "53"):
		return ConnectUnreachable, "The server has no connection left: raise max_connections, or close others."
	case strings.HasPrefix(state, "57P"):
		return ConnectUnreachable, "The server is starting up or shutting down: try again."
	case state == "08P01", state == "22023":
		return ConnectUnreachable, "Connect to PostgreSQL itself and not through a pooler: a job needs sessions of its own."
	case state != "":
		return ConnectUnreachable, ""
	}
	text := err.Error()
	away := lost(err) && !strings.Contains(text, "remote error") // TLS alerts come as errors of the network
	switch {
	case away: // whatever was being proved
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "TLS"):
		return ConnectTLS, "Check sslmode and the certificates in the database URL."
	case strings.Contains(text, "password"), strings.Contains(text, "SASL"), strings.Contains(text, "SCRAM"):
		return ConnectAuth, "Check user and password in the database URL, and pg_hba.conf on the server."
	}
	return ConnectUnreachable, "Check that PostgreSQL runs and that host and port in the database URL are right."
}

// SQLState is the code of PostgreSQL's error in err, or "".
func SQLState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// ErrorDetail is what PostgreSQL adds to its message: detail, hint and context, or "". It may hold values of rows.
func ErrorDetail(err error) string {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return ""
	}
	var parts []string
	for _, p := range []struct{ name, text string }{{"DETAIL", pe.Detail}, {"HINT", pe.Hint}, {"CONTEXT", pe.Where}} {
		if p.text != "" {
			parts = append(parts, p.name+": "+p.text)
		}
	}
	return strings.Join(parts, "; ")
}

// IsConnectionError reports whether err means that PostgreSQL cannot be reached or went away, so that trying again may
// help. An error that PostgreSQL itself sent counts only if it ended the connection.
func IsConnectionError(err error) bool {
	if err == nil {
		return false
	}
	var ce *ConnectError
	if errors.As(err, &ce) {
		return ce.Class == ConnectUnreachable
	}
	if state := SQLState(err); state != "" {
		return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
	}
	return lost(err) || errors.Is(err, pgconn.ErrConnClosed) || pgconn.SafeToRetry(err)
}

// lost reports whether the network failed, or the other side went away. Whatever pgx was doing at that moment, be it to prove a
// password, says nothing about the cause.
func lost(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// missingTable turns PostgreSQL's own words for a missing table into ErrNoTable, with the name.
func missingTable(schema, table string) error {
	return fmt.Errorf("%s: %w", pgx.Identifier{schema, table}.Sanitize(), ErrNoTable)
}
