package jobstep_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/hot"
	"github.com/spillwaydb/spillway/internal/jobstep"
	"github.com/spillwaydb/spillway/internal/objstore"
)

// A31: whatever a store fails with is tried again, named or not.
func TestClassOfStorageErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		class     string
		retryable bool
	}{
		{&objstore.Error{Op: "create", URL: "file:///x", Err: errors.New("input/output error")}, jobstep.ClassStorage, true},
		{&objstore.Error{Op: "create", URL: "file:///x", Kind: objstore.ErrDenied, Err: errors.New("read-only")}, jobstep.ClassStorage, true},
		{&objstore.Error{Op: "commit", URL: "file:///x", Kind: objstore.ErrReplaced, Err: errors.New("mounted over")}, jobstep.ClassStorage, true},
		{&objstore.Error{Op: "commit", URL: "file:///x", Kind: objstore.ErrFull, Err: errors.New("no space")}, jobstep.ClassStorageFull, true},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Kind: objstore.ErrForbidden, Err: errors.New("AccessDenied")}, jobstep.ClassStorageDenied, false},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Kind: objstore.ErrNoBucket, Err: errors.New("NoSuchBucket")}, jobstep.ClassStorageDenied, false},
		{&objstore.Error{Op: "read", URL: "s3://b/x", Kind: objstore.ErrChanged, Err: errors.New("412")}, jobstep.ClassStorage, true},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Err: errors.New("503 SlowDown")}, jobstep.ClassStorage, true},
		{&objstore.LocationError{Location: "ftp://…", Msg: "no"}, jobstep.ClassInvalid, false},
		{&objstore.OptionError{Option: "endpoint", Msg: "no"}, jobstep.ClassInvalid, false},
		{&objstore.KeyError{Key: "..", Msg: "climbs"}, jobstep.ClassInternal, false},
	} {
		class := jobstep.ClassOf(fmt.Errorf("chunk 3: %w", c.err))
		if class.Name != c.class || class.Retryable != c.retryable {
			t.Errorf("%v: %+v", c.err, class)
		}
	}
}

// A31: no way in which a connection fails is taken for a fault of ours.
func TestClassOfConnectErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       *hot.ConnectError
		class     string
		retryable bool
	}{
		{&hot.ConnectError{Class: hot.ConnectUnreachable, Err: io.ErrUnexpectedEOF}, jobstep.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectTLS, Err: errors.New("tls: failed to verify certificate")}, jobstep.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectAuth, Err: errors.New("failed SASL auth")}, jobstep.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectAuth, Err: &pgconn.PgError{Code: "28P01"}}, jobstep.ClassInvalid, false},
		{&hot.ConnectError{Class: hot.ConnectUnreachable, Err: &pgconn.PgError{Code: "57P03"}}, jobstep.ClassShutdown, true},
	} {
		class := jobstep.ClassOf(fmt.Errorf("open session: %w", c.err))
		if class.Name != c.class || class.Retryable != c.retryable {
			t.Errorf("%s, %v: %+v", c.err.Class, c.err.Err, class)
		}
	}
}
