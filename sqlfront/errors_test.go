package sqlfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/jobmanager"
	"github.com/spillwaydb/spillway/sqlfront/parse"
	"github.com/spillwaydb/spillway/sqlfront/pgwire"
)

func TestSQLErrors(t *testing.T) {
	t.Parallel()
	id := jobmanager.JobID{Type: "flush", Table: jobmanager.Table{Namespace: "app", Name: "t"}, UUID: uuid.New()}
	_, badID := jobmanager.ParseJobID("x")
	_, syntax := parse.Parse("FLUSH TABLE t", nil)
	for _, c := range []struct {
		err  error
		code string
		pos  int
		hint bool
	}{
		{&pgwire.Error{Code: "42P01", Message: "m", Position: 3}, "42P01", 3, false},
		{syntax, "42601", 13, true},
		{badID, "22023", 7, true},
		{jobmanager.ErrJobNotFound, "42704", 7, false},
		{&jobmanager.FinishedError{ID: id, Status: jobmanager.Failed}, "55000", 7, false},
		{&jobmanager.BusyError{Table: id.Table, Running: id}, "55006", 7, true},
		{&jobmanager.SpecError{Msg: "m", Hint: "h"}, "22023", 7, true},
		{jobmanager.ErrUnavailable, "57P03", 0, true},
		{context.Canceled, "57014", 0, false},
		{context.DeadlineExceeded, "57014", 0, false},
		{errors.New("odd"), "XX000", 0, false},
		{&pgconn.PgError{Code: "57P01", Message: "terminating connection due to administrator command"}, "57P01", 0, true},
		{&pgconn.PgError{Code: "57P03"}, "57P03", 0, true},
		{&pgconn.PgError{Code: "08006"}, "08006", 0, true},
		{&pgconn.PgError{Code: "42P01", Message: "m"}, "XX000", 0, false},
		{io.ErrUnexpectedEOF, "08006", 0, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, "08006", 0, true},
	} {
		for _, err := range []error{c.err, fmt.Errorf("step: %w", c.err)} {
			if got := sqlError(err, 7); got.Code != c.code || got.Position != c.pos || (got.Hint != "") != c.hint || got.Message == "" {
				t.Errorf("%v: %+v", err, got)
			}
		}
	}
}

func TestClassCodes(t *testing.T) {
	t.Parallel()
	for class, code := range map[string]string{
		"invalid": "22023", "privilege": "42501", "refused": "55000", "data": "22000", "unrepresentable": "22003", "missing_table": "42P01",
		"connection": "08006", "lock": "55P03", "deadlock": "40P01", "resources": "53000", "storage": "58030", "storage_denied": "28000", "storage_full": "53100",
		"shutdown": "57P01", "replan": "55000", "conflict": "40001", "cancelled": "57014", "terminated": "57014", "internal": "58000", "": "58000",
	} {
		if got := classCode(class); got != code {
			t.Errorf("%s: %s, want %s", class, got, code)
		}
	}
}

func FuzzParseNodes(f *testing.F) {
	f.Add(`({QUERY :a ({X :b "c d" :e [ 1 2 ] :f (o 1 2)}) :g \{ h\ i})`)
	f.Add("((((")
	f.Fuzz(func(t *testing.T, src string) {
		if _, err := viewExpression(src); err == nil && len(src) == 0 {
			t.Error("an empty text is no tree")
		}
	})
}
