package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"google.golang.org/api/option"

	"github.com/spillwaydb/spillway/internal/objstore"
	"github.com/spillwaydb/spillway/internal/objstore/cloudtest"
	"github.com/spillwaydb/spillway/internal/objstore/objstoretest"
)

// Google Cloud Storage, as fake-gcs-server plays it.
func TestGCSConformance(t *testing.T) {
	t.Parallel()
	endpoint := cloudtest.StartGCS(t)
	client, err := storage.NewClient(t.Context(), option.WithEndpoint(endpoint+"/storage/v1/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	objstoretest.Run(t, objstoretest.Harness{
		New: func(t *testing.T) objstore.Store {
			name := bucketName(t)
			if err := client.Bucket(name).Create(t.Context(), "project", nil); err != nil {
				t.Fatal(err)
			}
			return openBucket(t, "gs://"+name+"/some/prefix", map[string]string{"endpoint": endpoint, "part_size": "5MB"})
		},
		Full:     func(*testing.T) (objstore.Store, string) { return nil, "a bucket has no end" },
		ReadOnly: func(*testing.T) (objstore.Store, string) { return nil, "the emulator lets everybody in" },
	})
}

// Azure Blob Storage, as Azurite plays it.
func TestAzureConformance(t *testing.T) {
	t.Parallel()
	a := cloudtest.StartAzure(t)
	credential, err := container.NewSharedKeyCredential(a.Account, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	objstoretest.Run(t, objstoretest.Harness{
		New: func(t *testing.T) objstore.Store {
			name := bucketName(t)
			c, err := container.NewClientWithSharedKeyCredential(a.Endpoint+"/"+name, credential, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Create(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			return openBucket(t, "az://"+name+"/some/prefix", map[string]string{
				"endpoint": a.Endpoint, "account": a.Account, "account_key_env": cloudtest.AzureKeyEnv, "part_size": "5MB"})
		},
		Slashes:  true,
		Full:     func(*testing.T) (objstore.Store, string) { return nil, "a container has no end" },
		ReadOnly: func(*testing.T) (objstore.Store, string) { return nil, "the emulator has one user, who may do all" },
	})
}

// bucketName makes a name of a test's, for a bucket of its own.
func bucketName(t *testing.T) string {
	name := strings.ToLower(t.Name())
	name = strings.NewReplacer("/", "-", "_", "-").Replace(name)
	return fmt.Sprintf("%.40s-%d", name, time.Now().UnixNano()%1e9)
}

func openBucket(t *testing.T, location string, options map[string]string) objstore.Store {
	t.Helper()
	s, err := objstore.OpenWith(t.Context(), location, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A bucket that is not there is an error of its own kind, in every cloud.
func TestNoBucketInOtherClouds(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) objstore.Store{
		"GCS": func(t *testing.T) objstore.Store {
			return openBucket(t, "gs://missing-bucket/x", map[string]string{"endpoint": cloudtest.StartGCS(t)})
		},
		"Azure": func(t *testing.T) objstore.Store {
			a := cloudtest.StartAzure(t)
			return openBucket(t, "az://missing/x", map[string]string{"endpoint": a.Endpoint, "account": a.Account, "account_key_env": cloudtest.AzureKeyEnv})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := s.PutIfAbsent(ctx, "k", []byte("x"))
			if !errors.Is(err, objstore.ErrNoBucket) && !errors.Is(err, objstore.ErrNotExist) {
				t.Errorf("put into a bucket that is not there: %v", err)
			}
		})
	}
}
