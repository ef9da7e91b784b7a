package jobstep

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/segment"
)

// A32: one row per edge case of the table of classes.
func TestClassOf(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return fmt.Errorf("step: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		err       error
		class     string
		retryable bool
	}{
		{pg("40001"), ClassDeadlock, true},
		{pg("40P01"), ClassDeadlock, true},
		{pg("55P03"), ClassLock, true},
		{pg("23503"), ClassLock, true},
		{pg("57014"), ClassLock, true},
		{pg("42501"), ClassPrivilege, false},
		{pg("42P01"), ClassMissingTable, false},
		{pg("3F000"), ClassMissingTable, false},
		{pg("57P01"), ClassShutdown, true},
		{pg("57P03"), ClassShutdown, true},
		{pg("25P03"), ClassConnection, true},
		{pg("08006"), ClassConnection, true},
		{pg("53100"), ClassResources, true},
		{pg("53300"), ClassResources, true},
		{pg("58030"), ClassResources, true},
		{pg("22012"), ClassData, false},
		{pg("23514"), ClassData, false},
		{pg("P0001"), ClassData, false},
		{pg("42601"), ClassInvalid, false},
		{pg("0A000"), ClassInvalid, false},
		{pg("XX000"), ClassInternal, false},
		{fmt.Errorf("x: %w", objstore.ErrFull), ClassStorageFull, true},
		{fmt.Errorf("x: %w", &objstore.Error{Op: "create", Kind: objstore.ErrDenied}), ClassStorage, true},
		{fmt.Errorf("x: %w", &objstore.Error{Op: "commit", Err: errors.New("input/output error")}), ClassStorage, true},
		{fmt.Errorf("x: %w", &objstore.ForeignOwnerError{}), ClassRefused, false},
		{fmt.Errorf("x: %w", hot.ErrNoTable), ClassMissingTable, false},
		{fmt.Errorf("x: %w", &segment.UnrepresentableError{Column: "c"}), ClassUnrepresentable, false},
		{Classified(ClassReplan, errors.New("x")), ClassReplan, false},
		{Classified(ClassStorage, pg("57P01")), ClassStorage, true}, // what we say goes before what PostgreSQL says
		{context.Canceled, ClassCancelled, false},
		{context.DeadlineExceeded, ClassConnection, true},
		{pgconn.ErrConnClosed, ClassConnection, true},
		{errors.New("something else"), ClassInternal, false},
	} {
		if got := ClassOf(c.err); got.Name != c.class || got.Retryable != c.retryable {
			t.Errorf("%v: %+v, want %s, retryable %v", c.err, got, c.class, c.retryable)
		}
	}
}
