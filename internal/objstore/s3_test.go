package objstore_test

import (
	"testing"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/internal/objstore/objstoretest"
)

func openS3(t *testing.T, endpoint, location string, more ...string) objstore.Store {
	t.Helper()
	options := cloudtest.Options(endpoint)
	for i := 0; i < len(more); i += 2 {
		options[more[i]] = more[i+1]
	}
	s, err := objstore.OpenWith(t.Context(), location, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3Conformance(t *testing.T) {
	t.Parallel()
	server := cloudtest.Start(t)
	for name, prefix := range map[string]string{"Bucket": "", "Prefix": "/a prefix=1/b"} {
		t.Run(name, func(t *testing.T) {
			objstoretest.Run(t, objstoretest.Harness{
				New:  func(t *testing.T) objstore.Store { return openS3(t, server.Endpoint, "s3://"+server.Bucket(t)+prefix) },
				Full: func(*testing.T) (objstore.Store, string) { return nil, "a bucket has no end" },
				ReadOnly: func(t *testing.T) (objstore.Store, string) {
					location := "s3://" + server.Bucket(t) + prefix
					if err := openS3(t, server.Endpoint, location).PutIfAbsent(t.Context(), "there", []byte("old")); err != nil {
						t.Fatal(err)
					}
					return openS3(t, server.ReadOnly(t), location), ""
				},
			})
		})
	}
}
