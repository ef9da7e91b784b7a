package flush_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/spillwaydb/spillway/internal/flush"
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
