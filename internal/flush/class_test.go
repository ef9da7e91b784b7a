package flush_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/spillwaydb/spillway/internal/flush"
	"github.com/spillwaydb/spillway/internal/hot"
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
		{&objstore.Error{Op: "create", URL: "file:///x", Err: errors.New("input/output error")}, flush.ClassStorage, true},
		{&objstore.Error{Op: "create", URL: "file:///x", Kind: objstore.ErrDenied, Err: errors.New("read-only")}, flush.ClassStorage, true},
		{&objstore.Error{Op: "commit", URL: "file:///x", Kind: objstore.ErrReplaced, Err: errors.New("mounted over")}, flush.ClassStorage, true},
		{&objstore.Error{Op: "commit", URL: "file:///x", Kind: objstore.ErrFull, Err: errors.New("no space")}, flush.ClassStorageFull, true},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Kind: objstore.ErrForbidden, Err: errors.New("AccessDenied")}, flush.ClassStorageDenied, false},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Kind: objstore.ErrNoBucket, Err: errors.New("NoSuchBucket")}, flush.ClassStorageDenied, false},
		{&objstore.Error{Op: "read", URL: "s3://b/x", Kind: objstore.ErrChanged, Err: errors.New("412")}, flush.ClassStorage, true},
		{&objstore.Error{Op: "create", URL: "s3://b/x", Err: errors.New("503 SlowDown")}, flush.ClassStorage, true},
		{&objstore.LocationError{Location: "ftp://…", Msg: "no"}, flush.ClassInvalid, false},
		{&objstore.OptionError{Option: "endpoint", Msg: "no"}, flush.ClassInvalid, false},
		{&objstore.KeyError{Key: "..", Msg: "climbs"}, flush.ClassInternal, false},
	} {
		class := flush.ClassOf(fmt.Errorf("chunk 3: %w", c.err))
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
		{&hot.ConnectError{Class: hot.ConnectUnreachable, Err: io.ErrUnexpectedEOF}, flush.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectTLS, Err: errors.New("tls: failed to verify certificate")}, flush.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectAuth, Err: errors.New("failed SASL auth")}, flush.ClassConnection, true},
		{&hot.ConnectError{Class: hot.ConnectAuth, Err: &pgconn.PgError{Code: "28P01"}}, flush.ClassInvalid, false},
		{&hot.ConnectError{Class: hot.ConnectUnreachable, Err: &pgconn.PgError{Code: "57P03"}}, flush.ClassShutdown, true},
	} {
		class := flush.ClassOf(fmt.Errorf("open session: %w", c.err))
		if class.Name != c.class || class.Retryable != c.retryable {
			t.Errorf("%s, %v: %+v", c.err.Class, c.err.Err, class)
		}
	}
}
