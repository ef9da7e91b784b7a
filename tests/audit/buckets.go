package audit

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var (
	bucketsMu sync.Mutex
	buckets   = map[string]string{} // folder by URL
)

// Bucket tells the audit in which folder a server of a test keeps the objects of a bucket, s3://name, until the test ends.
func Bucket(t testing.TB, url, dir string) {
	bucketsMu.Lock()
	defer bucketsMu.Unlock()
	buckets[url] = dir
	t.Cleanup(func() {
		bucketsMu.Lock()
		defer bucketsMu.Unlock()
		delete(buckets, url)
	})
}

// inBucket is the file of an object in a known bucket.
func inBucket(location string) (string, bool) {
	bucketsMu.Lock()
	defer bucketsMu.Unlock()
	for url, dir := range buckets {
		if key, ok := strings.CutPrefix(location, url+"/"); ok {
			return filepath.Join(dir, filepath.FromSlash(key)), true
		}
	}
	return "", false
}
